//! Whatever a client calls a record batch: parsed, validated under each kind of rule, read and written anew.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sh_base::batch::{Batch, Codec, TimestampType, ValidateRules, validate};

const NOW: i64 = 1_700_000_000_000;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = Batch::parse_all(bytes.clone());
    // Without the CRC, which the fuzzer would hardly ever find.
    if let Ok((batch, _)) = Batch::split_trusted(bytes) {
        read(&batch);
    }
});

fn read(batch: &Batch) {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let rules = ValidateRules {
            topic: "fuzz",
            partition: 0,
            compacted: true,
            timestamp_type,
            timestamp_before_max_ms: validate::TIMESTAMP_BEFORE_MAX_MS_DEFAULT,
            timestamp_after_max_ms: validate::TIMESTAMP_AFTER_MAX_MS_DEFAULT,
            max_message_bytes: 1 << 20,
            now_ms: NOW,
        };
        if let Ok(stored) = batch.admit(&rules) {
            let stored =
                Batch::parse(stored.bytes().clone()).map(|b| b.records().map(Iterator::count));
            assert_eq!(
                stored,
                Ok(Ok(batch.header().count as usize)),
                "an admitted batch is readable"
            );
        }
    }
    let read = batch
        .records()
        .map(|records| records.filter(Result::is_ok).count());
    let plain = batch.recompress(Codec::None);
    assert!(read.is_ok() == plain.is_ok() || batch.header().is_control());
    let _ = batch.marker();
}
