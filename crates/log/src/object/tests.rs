use proptest::prelude::*;
use sh_base::{
    AgentId, Incarnation, ProducerId, TopicId,
    batch::{BatchBuilder, Codec},
};

use sh_blob::Bucket;

use super::*;
use crate::row::Answer;

fn object_id(seq: u64) -> ObjectId {
    let by = Incarnation {
        agent: AgentId(1),
        epoch: 2,
        nonce: 3,
    };
    ObjectId { by, seq }
}

fn partition(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(topic)), partition)
}

fn batch(records: usize, value: &[u8], producer: Option<i64>) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(id) = producer {
        builder = builder.producer(BatchProducer {
            id: ProducerId(id),
            epoch: 4,
            base_sequence: 5,
        });
    }
    for i in 0..records {
        builder.push(1_000 + i as i64, None, Some(value), &[]);
    }
    builder.build().unwrap()
}

fn whole(built: &BuiltObject) -> Bytes {
    built.parts.concat().into()
}

fn sample() -> BuiltObject {
    let answers = vec![RunAnswers {
        partition: partition(1, 0),
        answers: vec![Answer::Stored { base_offset: 7 }, Answer::Again],
    }];
    let mut builder = ObjectBuilder::new(
        object_id(9),
        vec![object_id(8)],
        vec![(object_id(7), answers)],
    );
    let acme = Org::try_from("acme").unwrap();
    builder.run(Org::default(), partition(2, 0), &[batch(1, b"a", None)]);
    builder.run(acme, partition(9, 1), &[batch(3, b"bb", Some(11))]);
    builder.run(
        Org::default(),
        partition(1, 5),
        &[batch(2, b"c", None), batch(1, b"d", Some(12))],
    );
    builder.finish()
}

#[test]
fn an_object_tells_where_its_batches_lie() {
    let built = sample();
    let object = whole(&built);
    assert_eq!(object.len() as u64, built.size);
    let footer = ObjectFooter::parse(&object, built.size).unwrap();
    assert_eq!(footer.id, object_id(9));
    assert_eq!(footer.replaces, [object_id(8)]);
    assert_eq!(footer.answers.len(), 1);
    let order: Vec<_> = footer
        .runs
        .iter()
        .map(|r| (r.org.as_str(), r.partition))
        .collect();
    assert_eq!(
        order,
        [
            ("acme", partition(9, 1)),
            ("default", partition(1, 5)),
            ("default", partition(2, 0))
        ]
    );
    for (run, entry) in built.runs.iter().zip(&footer.runs) {
        for (start, bytes) in run.starts.iter().zip(&run.batches) {
            let at = *start as usize;
            assert_eq!(object[at..at + bytes.len()], bytes[..]);
        }
        let place = entry.place(built.id, 0, entry.batches.len()).unwrap();
        assert_eq!(
            (place.start, u64::from(place.len)),
            (run.starts[0], run.len)
        );
    }
    assert_eq!(
        footer.runs[1].place(built.id, 1, 2).unwrap().start,
        built.runs[1].starts[1]
    );
    assert_eq!(footer.runs[1].place(built.id, 1, 3), None);
}

#[test]
fn building_copies_no_batch() {
    let one = batch(2, b"value", None);
    let mut builder = ObjectBuilder::new(object_id(1), vec![], vec![]);
    builder.run(Org::default(), partition(1, 0), std::slice::from_ref(&one));
    let built = builder.finish();
    assert_eq!(built.parts[1].as_ptr(), one.bytes().as_ptr());
}

#[test]
fn a_person_can_read_an_object_and_sees_a_damaged_batch() {
    let built = sample();
    let mut object = whole(&built).to_vec();
    let text = describe(&object.clone().into()).unwrap();
    assert!(text.contains("producer 11 epoch 4 sequence 5"), "{text}");
    assert!(text.contains("replaces 1/2-"), "{text}");
    assert!(!text.contains("DAMAGED"), "{text}");
    let last_byte = built.runs[0].starts[0] as usize + built.runs[0].batches[0].len() - 1;
    object[last_byte] ^= 1;
    assert!(describe(&object.into()).unwrap().contains("DAMAGED"));
}

#[test]
fn a_tail_that_is_too_short_says_how_much_is_needed() {
    let built = sample();
    let object = whole(&built);
    let tail = &object[object.len() - TRAILER_BYTES - 1..];
    let Err(ObjectError::Short(need)) = ObjectFooter::parse(tail, built.size) else {
        panic!("a cut footer was accepted");
    };
    let tail = &object[object.len() - need..];
    assert!(ObjectFooter::parse(tail, built.size).is_ok());
}

#[test]
fn an_object_of_another_size_is_refused() {
    let built = sample();
    assert!(ObjectFooter::parse(&whole(&built), built.size + 1).is_err());
}

#[tokio::test]
async fn a_footer_longer_than_the_first_read_is_read_whole() {
    let bucket = sh_blob::MemoryBucket::new(&crate::test_env::test_env());
    let mut builder = ObjectBuilder::new(object_id(1), vec![], vec![]);
    let batches = vec![batch(1, b"v", Some(1)); 3_000];
    builder.run(Org::default(), partition(1, 0), &batches);
    let built = builder.finish();
    bucket.put("l0/x", built.parts.clone()).await.unwrap();
    let footer = read_footer(&bucket, "l0/x").await.unwrap();
    assert_eq!(footer.runs[0].batches.len(), 3_000);
    assert!(matches!(
        read_footer(&bucket, "l0/y").await,
        Err(ObjectError::Blob(sh_blob::BlobError::NotFound(_)))
    ));
}

fn any_run() -> impl Strategy<Value = (u128, i32, Vec<(usize, Option<i64>)>)> {
    let batches = prop::collection::vec((1..4usize, prop::option::of(0..9i64)), 1..4);
    (0..3u128, 0..3i32, batches)
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(runs in prop::collection::vec(any_run(), 0..6)) {
        let mut builder = ObjectBuilder::new(object_id(1), vec![], vec![]);
        let mut count = 0;
        for (topic, p, batches) in &runs {
            let batches: Vec<_> = batches.iter().map(|(n, id)| batch(*n, b"v", *id)).collect();
            count += batches.len();
            builder.run(Org::default(), partition(*topic, *p), &batches);
        }
        let built = builder.finish();
        let footer = ObjectFooter::parse(&whole(&built), built.size).unwrap();
        prop_assert_eq!(footer.runs.iter().map(|r| r.batches.len()).sum::<usize>(), count);
        let tail = footer.encode();
        prop_assert_eq!(ObjectFooter::parse(&tail, built.size).unwrap(), footer);
    }

    #[test]
    fn mutated_bytes_never_panic(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut: usize) {
        let mut object = whole(&sample()).to_vec();
        for (at, with) in flips {
            let at = at % object.len();
            object[at] ^= with;
        }
        object.truncate(object.len() - cut % 16);
        let _ = describe(&object.clone().into());
        // A footer whose checksum was made to fit must be refused or read, too.
        let built = sample();
        let mut tail = built.parts.last().unwrap().to_vec();
        let footer_len = tail.len() - TRAILER_BYTES;
        tail[cut % footer_len] ^= 0x41;
        let crc = crc32c::crc32c(&tail[..footer_len]);
        tail[footer_len..footer_len + 4].copy_from_slice(&crc.to_be_bytes());
        let _ = ObjectFooter::parse(&tail, built.size);
    }
}
