//! What a client's batch costs before it is stored: parsed, its CRC computed, its records walked over.
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sh_base::batch::{
    Batch, BatchBuilder, Codec, TimestampType, ValidateRules,
    validate::{TIMESTAMP_AFTER_MAX_MS_DEFAULT, TIMESTAMP_BEFORE_MAX_MS_DEFAULT},
};

const RULES: ValidateRules = ValidateRules {
    topic: "bench",
    partition: 0,
    compacted: false,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: TIMESTAMP_BEFORE_MAX_MS_DEFAULT,
    timestamp_after_max_ms: TIMESTAMP_AFTER_MAX_MS_DEFAULT,
    max_message_bytes: 1024 * 1024,
    now_ms: 1_700_000_000_000,
};

fn batch_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch check, 16 KiB");
    for record_bytes in [100, 1024] {
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..16 * 1024 / record_bytes {
            builder.push(RULES.now_ms, None, Some(&vec![7; record_bytes]), &[]);
        }
        let bytes = builder.build().expect("a valid batch").bytes().clone();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("records of {record_bytes} bytes"), |b| {
            b.iter(|| {
                let batch = Batch::parse(black_box(bytes.clone())).expect("a valid batch");
                black_box(batch.admit(&RULES).expect("an admissible batch"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, batch_check);
criterion_main!(benches);
