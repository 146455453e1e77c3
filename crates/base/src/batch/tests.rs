//! Stories about batches: what comes in comes out, and what is damaged is refused.
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{validate::*, *};
use crate::{ErrorCode, ProducerId};

const NOW: i64 = 1_700_000_000_000;

fn rules() -> ValidateRules<'static> {
    ValidateRules {
        topic: "flights",
        partition: 3,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: TIMESTAMP_BEFORE_MAX_MS_DEFAULT,
        timestamp_after_max_ms: TIMESTAMP_AFTER_MAX_MS_DEFAULT,
        max_message_bytes: 1_048_588,
        now_ms: NOW,
    }
}

fn producer(base_sequence: i32) -> BatchProducer {
    BatchProducer {
        id: ProducerId(9),
        epoch: 2,
        base_sequence,
    }
}

/// Three records, the second without a key.
fn three(codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(codec).producer(producer(10));
    builder.push(
        NOW,
        Some(b"k0"),
        Some(b"v0"),
        &[(b"h", Some(b"1")), (b"h", None)],
    );
    builder.push(NOW + 5, None, Some(b""), &[]);
    builder.push(NOW + 2, Some(b""), None, &[]);
    builder.build().unwrap()
}

fn records(batch: &Batch) -> Vec<Record> {
    batch.records().unwrap().map(Result::unwrap).collect()
}

/// `batch` with bytes replaced at `at`, and the CRC made right again.
fn tampered(batch: &Batch, at: usize, bytes: &[u8]) -> Bytes {
    let mut copy = batch.bytes().to_vec();
    copy[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&copy[21..]).to_be_bytes();
    copy[17..21].copy_from_slice(&crc);
    copy.into()
}

fn refused(batch: &Batch, rules: &ValidateRules) -> Invalid {
    batch.admit(rules).unwrap_err()
}

#[test]
fn null_and_empty_stay_different_under_every_codec() {
    for codec in Codec::ALL {
        let batch = Batch::parse(three(codec).bytes().clone()).unwrap();
        assert_eq!(batch.header().codec(), codec);
        let [first, second, third] = records(&batch).try_into().unwrap();
        let header = |value| Header {
            name: Bytes::from_static(b"h"),
            value,
        };
        assert_eq!(
            first.headers,
            [header(Some(Bytes::from_static(b"1"))), header(None)]
        );
        assert_eq!(
            (second.key, second.value.as_deref()),
            (None, Some(&b""[..]))
        );
        assert_eq!((third.key.as_deref(), third.value), (Some(&b""[..]), None));
        assert_eq!((third.offset_delta, third.timestamp), (2, NOW + 2));
        assert_eq!(batch.header().max_timestamp, NOW + 5);
    }
}

#[test]
fn a_batch_tells_its_producer_and_wraps_its_sequence() {
    let mut builder = BatchBuilder::new(Codec::None)
        .producer(producer(i32::MAX))
        .transactional();
    builder.push(NOW, None, None, &[]);
    builder.push(NOW, None, None, &[]);
    let header = *builder.build().unwrap().header();
    assert_eq!(header.producer, Some(producer(i32::MAX)));
    assert_eq!(header.last_sequence(), Some(0));
    assert!(header.is_transactional() && !header.is_control());
}

#[test]
fn the_prefix_is_patched_without_touching_the_checksum() {
    let batch = three(Codec::Lz4);
    let mut patched = batch.patched_prefix(4_000_000_000, 7).to_vec();
    patched.extend_from_slice(&batch.unpatched_rest());
    let read = Batch::parse(patched.into()).unwrap();
    assert_eq!(
        (read.base_offset(), read.leader_epoch()),
        (4_000_000_000, 7)
    );
    assert_eq!(read.header(), batch.header());
}

#[test]
fn damaged_headers_are_named_and_carry_kafkas_codes() {
    let batch = three(Codec::None);
    let whole = batch.bytes();
    let magic = |m| Batch::parse(tampered(&batch, 16, &[m])).unwrap_err().code();
    assert_eq!(magic(0), ErrorCode::UnsupportedForMessageFormat);
    assert_eq!(magic(1), ErrorCode::UnsupportedForMessageFormat);
    assert_eq!(magic(3), ErrorCode::CorruptMessage);

    let mut flipped = whole.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Batch::parse(flipped.into()),
        Err(BatchError::Crc { .. })
    ));

    let codec = Batch::parse(tampered(&batch, 22, &[5])).unwrap_err();
    assert_eq!(codec, BatchError::Codec { id: 5 });
    let count = Batch::parse(tampered(&batch, 57, &(-1i32).to_be_bytes())).unwrap_err();
    assert_eq!(count, BatchError::Count { count: -1 });
    let length = Batch::parse(tampered(&batch, 8, &13i32.to_be_bytes())).unwrap_err();
    assert_eq!(length.code(), ErrorCode::CorruptMessage);
    for cut in 0..whole.len() {
        assert!(Batch::parse(whole.slice(..cut)).is_err(), "{cut} bytes");
    }
}

#[test]
fn a_partition_gets_exactly_one_batch() {
    let mut two = three(Codec::None).bytes().to_vec();
    two.extend_from_slice(three(Codec::Gzip).bytes());
    let two = Bytes::from(two);
    assert!(matches!(
        Batch::parse(two.clone()),
        Err(BatchError::TrailingBytes { .. })
    ));
    assert_eq!(
        Batch::parse_all(two).unwrap(),
        [three(Codec::None), three(Codec::Gzip)]
    );
}

#[test]
fn a_good_batch_is_admitted_as_it_is() {
    for codec in Codec::ALL {
        let batch = three(codec);
        let stored = batch.admit(&rules()).unwrap();
        assert_eq!(stored, batch);
        assert_eq!(
            stored.bytes().as_ptr(),
            batch.bytes().as_ptr(),
            "{codec}: not copied"
        );
    }
}

#[test]
fn keyless_records_are_refused_on_a_compacted_topic_one_by_one() {
    let compacted = ValidateRules {
        compacted: true,
        ..rules()
    };
    for codec in Codec::ALL {
        let invalid = refused(&three(codec), &compacted);
        assert_eq!(invalid.code, ErrorCode::InvalidRecord);
        let message =
            "Compacted topic cannot accept message without key in topic partition flights-3";
        assert_eq!(
            invalid.records,
            [RecordError {
                index: 1,
                message: message.into()
            }]
        );
        assert!(
            invalid.message.contains("due to 1 record errors in total"),
            "{invalid}"
        );
    }
}

#[test]
fn timestamps_outside_the_limits_are_refused_one_by_one() {
    let late = NOW + TIMESTAMP_AFTER_MAX_MS_DEFAULT + 1;
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        builder.push(NOW, None, None, &[]);
        builder.push(late, None, None, &[]);
        builder.push(NO_TIMESTAMP, None, None, &[]);
        let invalid = refused(&builder.build().unwrap(), &rules());
        assert_eq!(invalid.code, ErrorCode::InvalidTimestamp);
        assert_eq!(
            invalid.records.iter().map(|r| r.index).collect::<Vec<_>>(),
            [1]
        );
        let recent = ValidateRules {
            timestamp_before_max_ms: 1,
            now_ms: NOW + 4,
            ..rules()
        };
        let invalid = refused(&three(codec), &recent);
        assert_eq!(
            invalid.records.iter().map(|r| r.index).collect::<Vec<_>>(),
            [0, 2]
        );
    }
}

#[test]
fn a_wrong_maximum_timestamp_is_corrected_where_records_are_read() {
    let lying = tampered(&three(Codec::None), 35, &(NOW + 77).to_be_bytes());
    let lying = Batch::parse(lying).unwrap();
    let stored = lying.admit(&rules()).unwrap();
    assert_eq!(stored, three(Codec::None));
}

#[test]
fn a_topic_with_log_append_time_stamps_the_batch() {
    let stamped_topic = ValidateRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    for codec in Codec::ALL {
        let stored = three(codec).admit(&stamped_topic).unwrap();
        let read = Batch::parse(stored.bytes().clone()).unwrap();
        assert_eq!(read.header().timestamp_type(), TimestampType::LogAppendTime);
        assert!(records(&read).iter().all(|r| r.timestamp == NOW));
        let invalid = refused(&stored, &stamped_topic);
        assert_eq!(
            (invalid.code, invalid.records.len()),
            (ErrorCode::InvalidTimestamp, 3)
        );
    }
}

#[test]
fn what_only_servers_write_is_refused_from_clients() {
    let marker = BatchBuilder::marker(Marker::Commit, ProducerId(9), 2, 1, NOW);
    assert_eq!(marker.marker(), Some(Marker::Commit));
    assert_eq!(refused(&marker, &rules()).code, ErrorCode::InvalidRecord);
    let mut placed = BatchBuilder::new(Codec::None).placed(5, 0);
    placed.push(NOW, None, None, &[]);
    assert!(
        refused(&placed.build().unwrap(), &rules())
            .message
            .contains("should be 0")
    );
}

#[test]
fn counts_offsets_sequences_and_sizes_must_agree() {
    let batch = three(Codec::None);
    let with = |at, bytes: &[u8]| Batch::parse(tampered(&batch, at, bytes)).unwrap();
    let bad = [
        with(57, &2i32.to_be_bytes()),
        with(57, &0i32.to_be_bytes()),
        with(53, &(-1i32).to_be_bytes()),
        with(51, &(-1i16).to_be_bytes()),
        // The second record (its offset delta follows length, attributes and a one-byte timestamp delta).
        with(61 + 18 + 3, &[4]),
    ];
    for batch in bad {
        assert_eq!(
            refused(&batch, &rules()).code,
            ErrorCode::InvalidRecord,
            "{batch:?}"
        );
    }
    let small = ValidateRules {
        max_message_bytes: 80,
        ..rules()
    };
    assert_eq!(refused(&batch, &small).code, ErrorCode::MessageTooLarge);
}

#[test]
fn a_compressed_batch_is_read_only_where_its_records_matter() {
    let damaged = tampered(&three(Codec::Zstd), 65, &[0; 8]);
    let damaged = Batch::parse(damaged).unwrap();
    assert!(damaged.admit(&rules()).is_ok(), "not looked at");
    let compacted = ValidateRules {
        compacted: true,
        ..rules()
    };
    assert_eq!(
        refused(&damaged, &compacted).code,
        ErrorCode::CorruptMessage
    );
}

#[test]
fn a_compacted_batch_keeps_its_offsets() {
    let mut builder = BatchBuilder::new(Codec::Lz4).producer(producer(0));
    builder.push_at(3, NOW, Some(b"k"), None, &[]);
    let batch = builder.extend_to(9).build().unwrap();
    let read = Batch::parse(batch.bytes().clone()).unwrap();
    assert_eq!((read.offsets(), read.header().count), (10, 1));
    assert_eq!(read.header().last_sequence(), Some(9));
    let empty = BatchBuilder::new(Codec::Zstd).extend_to(9).build().unwrap();
    assert_eq!((empty.offsets(), records(&empty).len()), (10, 0));
}

#[test]
fn a_bomb_does_not_go_off() {
    let zeros = vec![0; 1 << 20];
    for codec in Codec::ALL.into_iter().filter(|c| *c != Codec::None) {
        let packed = compression::compress_into(codec, &zeros, Vec::new()).unwrap();
        let plain = compression::decompress(codec, &packed, zeros.len()).unwrap();
        assert_eq!(plain.len(), zeros.len());
        let bomb = compression::decompress(codec, &packed, zeros.len() - 1);
        assert_eq!(
            bomb,
            Err(BatchError::Bomb {
                max: zeros.len() - 1
            }),
            "{codec}"
        );
    }
    // A raw snappy block that claims 4 GiB - 1.
    let bomb = compression::decompress(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0xf], 1000);
    assert!(bomb.is_err());
}

#[test]
fn snappy_is_read_raw_too() {
    let raw = snap::raw::Encoder::new().compress_vec(b"records").unwrap();
    assert_eq!(
        compression::decompress(Codec::Snappy, &raw, 100).unwrap(),
        b"records"
    );
}

type Plain = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn any_record() -> impl Strategy<Value = Plain> {
    let bytes = || vec(any::<u8>(), 0..40);
    let headers = vec((bytes(), option::of(bytes())), 0..3);
    (
        any::<i64>(),
        option::of(bytes()),
        option::of(bytes()),
        headers,
    )
}

fn built(codec: Codec, plain: &[Plain]) -> Batch {
    let mut builder = BatchBuilder::new(codec).producer(producer(0));
    for (timestamp, key, value, headers) in plain {
        let headers: Vec<_> = headers
            .iter()
            .map(|(n, v)| (&n[..], v.as_deref()))
            .collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().unwrap()
}

fn plain(record: Record) -> Plain {
    let vec = |b: Option<Bytes>| b.map(|b| b.to_vec());
    let headers = record
        .headers
        .into_iter()
        .map(|h| (h.name.to_vec(), vec(h.value)))
        .collect();
    (
        record.timestamp,
        vec(record.key),
        vec(record.value),
        headers,
    )
}

proptest! {
    #[test]
    fn records_read_back_under_every_codec_and_after_recompression(
        written in vec(any_record(), 1..20),
        first in select(&Codec::ALL[..]),
        second in select(&Codec::ALL[..]),
    ) {
        let batch = Batch::parse(built(first, &written).bytes().clone()).unwrap();
        let again = batch.recompress(second).unwrap();
        let again = Batch::parse(again.bytes().clone()).unwrap();
        prop_assert_eq!(again.header().codec(), second);
        prop_assert_eq!(records(&batch), records(&again));
        prop_assert_eq!(records(&again).into_iter().map(plain).collect::<Vec<_>>(), written);
    }

    #[test]
    fn damaged_bytes_never_panic(
        written in vec(any_record(), 1..6),
        codec in select(&Codec::ALL[..]),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        compacted: bool,
    ) {
        let batch = built(codec, &written);
        let mut bytes = batch.bytes().to_vec();
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Batch::parse(Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]));
        if let Ok(batch) = Batch::parse_trusted(bytes.into()) {
            let rules = ValidateRules { compacted, ..rules() };
            let _ = (batch.admit(&rules), batch.marker(), batch.recompress(Codec::None));
            let _ = batch.records().map(|records| records.count());
        }
    }
}

/// Batches that the Java client 4.3.1 wrote, in hex, by name: three records (those of [`three`], sequence 12), and in the
/// compressed ones a fourth whose value is long enough for several blocks.
fn java_batch(wanted: &str) -> Batch {
    let mut lines = include_str!("vectors/java-client-4.3.1.txt").lines();
    let hex = lines
        .find_map(|l| l.strip_prefix(wanted))
        .unwrap()
        .trim()
        .as_bytes();
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    let bytes: Vec<u8> = hex
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect();
    Batch::parse(bytes.into()).unwrap()
}

#[test]
fn what_the_java_client_writes_is_read() {
    for codec in Codec::ALL {
        let batch = java_batch(codec.name());
        assert_eq!(batch.header().codec(), codec);
        let java = BatchProducer {
            id: ProducerId(4711),
            epoch: 3,
            base_sequence: 12,
        };
        assert_eq!(batch.header().producer, Some(java));
        let found = records(&batch);
        assert_eq!(found[..3], records(&three(Codec::None)));
        assert!(batch.admit(&rules()).is_ok());
        if let Some(long) = found.get(3) {
            let pattern = b"streamhouse".iter().copied().cycle().take(70_000);
            assert!(
                long.value.as_ref().unwrap().iter().copied().eq(pattern),
                "{codec}"
            );
        }
    }
}

#[test]
fn plain_batches_and_markers_equal_those_of_the_java_client() {
    let java = java_batch("none");
    let mut builder = BatchBuilder::new(Codec::None).producer(java.header().producer.unwrap());
    records(&java)
        .iter()
        .for_each(|record| builder.push_record(record));
    assert_eq!(builder.build().unwrap(), java);
    let marker = BatchBuilder::marker(Marker::Commit, ProducerId(4711), 3, 8, NOW);
    assert_eq!(marker, java_batch("marker"));
}
