//! What a client pushes as its own metrics: the first byte says how it is packed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use sh_base::batch::Codec;
use sh_kafka::otlp;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fuzz_target!(|data: &[u8]| {
    let Some((first, payload)) = data.split_first() else {
        return;
    };
    let codec = CODECS[usize::from(*first) % CODECS.len()];
    if let Ok(samples) = otlp::decode(codec, payload) {
        assert!(samples.len() <= otlp::SAMPLES_MAX);
        let labels = samples.iter().map(|sample| sample.labels.len()).max();
        assert!(labels.unwrap_or(0) <= 2 * otlp::LABELS_MAX);
    }
});
