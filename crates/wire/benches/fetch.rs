//! A fetch answer of a megabyte: headers patched, record bytes shared.
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::protocol::StrBytes;
use sh_base::batch::{BatchBuilder, Codec};
use sh_wire::{FetchResponse, FetchedBatch, FetchedPartition, FetchedTopic, TopicRef};

const BATCHES: i64 = 64;
const BATCH_BYTES: usize = 16 * 1024;

fn fetch_encode(c: &mut Criterion) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, Some(&vec![7; BATCH_BYTES]), &[]);
    let batch = builder.build().expect("a valid batch");
    let mut group = c.benchmark_group("fetch encode");
    group.throughput(Throughput::Bytes(
        batch.bytes().len() as u64 * BATCHES as u64,
    ));
    group.bench_function(format!("{BATCHES} batches of 16 KiB"), |b| {
        b.iter(|| {
            let records = (0..BATCHES).map(|offset| FetchedBatch::new(&batch, offset, 3));
            let response = FetchResponse {
                topics: vec![FetchedTopic {
                    topic: TopicRef::Name(StrBytes::from_static_str("bench")),
                    partitions: vec![FetchedPartition {
                        records: records.collect(),
                        ..FetchedPartition::empty(0, 0)
                    }],
                }],
                ..FetchResponse::default()
            };
            black_box(response.encode(1, 11).expect("it fits into a frame"))
        });
    });
    group.finish();
}

criterion_group!(benches, fetch_encode);
criterion_main!(benches);
