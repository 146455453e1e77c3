//! One agent: which batches come, and what it costs.
use futures::future::join_all;
use sh_log::{Extent, Head, OpenTransaction, ReadConfig, ReadError, ReadRequest};

use crate::world::{Agent, World, bases, batch, partition, records, request, values};

#[tokio::test]
async fn what_an_agent_wrote_is_read_without_asking_the_bucket() {
    let agent = World::new().agent(0);
    let (a, b) = (partition(0), partition(1));
    agent
        .write(&[
            (a, vec![batch(1, &["a0", "a1"]), batch(2, &["a2"])]),
            (b, vec![batch(1, &["b0"])]),
        ])
        .await;
    agent.write(&[(a, vec![batch(3, &["a3"])])]).await;
    let answer = agent.read(a, 0).await.unwrap();
    assert_eq!(values(&answer), ["a0", "a1", "a2", "a3"]);
    assert_eq!(bases(&answer), [0, 2, 3]);
    assert_eq!(
        (
            answer.ends.log_start,
            answer.ends.next,
            answer.ends.last_stable
        ),
        (0, 4, 4)
    );
    assert_eq!(values(&agent.read(b, 0).await.unwrap()), ["b0"]);
    assert_eq!(agent.world.bucket.gets(), 0);
}

#[tokio::test]
async fn a_fetch_in_the_middle_of_a_batch_returns_that_batch() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent
        .write(&[(
            tp,
            vec![
                batch(1, &["0", "1"]),
                batch(2, &["2", "3", "4"]),
                batch(3, &["5"]),
            ],
        )])
        .await;
    let from = async |offset| bases(&agent.read(tp, offset).await.unwrap());
    assert_eq!(from(1).await, [0, 2, 5]);
    assert_eq!(from(3).await, [2, 5]);
    assert_eq!(from(5).await, [5]);
    assert_eq!(from(6).await, [] as [i64; 0]);
}

#[tokio::test]
async fn max_bytes_counts_whole_batches_and_one_always_fits() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    let batches = [batch(1, &["0"]), batch(2, &["1"]), batch(3, &["2"])];
    let size = batches[0].bytes().len();
    agent.write(&[(tp, batches[..2].to_vec())]).await;
    agent.write(&[(tp, batches[2..].to_vec())]).await;
    let read = async |max_bytes, at_least_one| {
        let request = ReadRequest {
            max_bytes,
            at_least_one,
            ..request(tp, 0)
        };
        bases(&agent.reader.read(request).await.unwrap())
    };
    assert_eq!(read(0, true).await, [0]);
    assert_eq!(read(size - 1, true).await, [0]);
    assert_eq!(read(size - 1, false).await, [] as [i64; 0]);
    assert_eq!(read(2 * size - 1, false).await, [0]);
    assert_eq!(read(2 * size, true).await, [0, 1]);
    assert_eq!(read(3 * size, false).await, [0, 1, 2]);
}

#[tokio::test]
async fn out_of_range_is_said_with_the_bounds_and_an_empty_partition_has_offset_zero() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    assert!(agent.read(tp, 0).await.unwrap().batches.is_empty());
    agent.write(&[(tp, vec![batch(1, &["0"])])]).await;
    for offset in [-1, 2] {
        match agent.read(tp, offset).await {
            Err(ReadError::OutOfRange(ends)) => assert_eq!((ends.log_start, ends.next), (0, 1)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn read_committed_stops_before_the_first_open_transaction() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent
        .write(&[(tp, vec![batch(1, &["0", "1"]), batch(2, &["2"])])])
        .await;
    let open = |head: &mut Head| {
        let producer = sh_base::ProducerId(5);
        head.open.push(OpenTransaction {
            producer,
            first_offset: 2,
        });
    };
    agent.change(tp, vec![], open).await;
    let committed = ReadRequest {
        read_committed: true,
        ..request(tp, 0)
    };
    let answer = agent.reader.read(committed).await.unwrap();
    assert_eq!(
        (values(&answer), answer.ends.last_stable),
        (vec!["0".into(), "1".into()], 2)
    );
    let past = ReadRequest {
        offset: 3,
        ..committed
    };
    assert!(
        agent.reader.read(past).await.unwrap().batches.is_empty(),
        "not out of range"
    );
    assert_eq!(values(&agent.read(tp, 0).await.unwrap()), ["0", "1", "2"]);
}

fn gap(end: i64) -> Option<Extent> {
    Some(Extent {
        end,
        place: None,
        marker: None,
        leader_epoch: 0,
        min_timestamp: -1,
        max_timestamp: -1,
    })
}

#[tokio::test]
async fn gaps_are_stepped_over_however_many_there_are() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent.write(&[(tp, vec![batch(1, &["0"])])]).await;
    let gaps = (1..=600).map(|base| (base, gap(base + 1))).collect();
    agent.change(tp, gaps, |head| head.next_offset = 601).await;
    agent.write(&[(tp, vec![batch(1, &["601"])])]).await;
    assert_eq!(bases(&agent.read(tp, 0).await.unwrap())[0], 0);
    assert_eq!(bases(&agent.read(tp, 1).await.unwrap()), [601]);
    assert_eq!(bases(&agent.read(tp, 300).await.unwrap()), [601]);
}

#[tokio::test]
async fn a_deleted_topic_is_not_read() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent.write(&[(tp, vec![batch(1, &["0"])])]).await;
    agent.read(tp, 0).await.unwrap();
    agent.change(tp, vec![], |head| head.deleted = true).await;
    assert!(matches!(agent.read(tp, 0).await, Err(ReadError::Deleted)));
    let other = agent.world.agent(1);
    assert!(matches!(other.read(tp, 0).await, Err(ReadError::Deleted)));
}

/// Ten partitions, and `windows` windows of one record for each.
async fn ten_partitions(agent: &Agent, windows: usize) {
    for n in 0..windows {
        let value = n.to_string();
        let runs: Vec<_> = (0..10)
            .map(|p| (partition(p), vec![batch(n as i64, &[&value])]))
            .collect();
        agent.write(&runs).await;
    }
}

#[tokio::test]
async fn a_log_longer_than_the_index_is_read_whole_from_its_beginning() {
    let world = World::new();
    ten_partitions(&world.agent(0), 700).await;
    let late = world.agent(1);
    for p in [0, 1, 2, 9] {
        let values = late.read_all(partition(p), 0).await;
        assert_eq!(values.len(), 700);
        assert!((0..700).all(|n| values[&n] == n.to_string()));
    }
    assert!(
        world.bucket.gets() <= 3 * 700,
        "several runs of an object are worth its whole"
    );
}

/// The first objects are read as they were always, two parts and then the whole; from then on one GET an object.
#[tokio::test]
async fn who_catches_up_in_many_partitions_pays_one_get_an_object() {
    const OBJECTS: i64 = 30;
    let world = World::new();
    let (writer, large) = (world.agent(0), "x".repeat(100_000));
    for _ in 0..OBJECTS {
        let runs: Vec<_> = (0..10)
            .map(|p| (partition(p), vec![batch(1, &[&large])]))
            .collect();
        writer.write(&runs).await;
    }
    let config = ReadConfig {
        cache_bytes: 16_000_000,
        ..ReadConfig::default()
    };
    let late = world.agent_with(1, config);
    for offset in 0..OBJECTS {
        for p in 0..10 {
            let one = ReadRequest {
                max_bytes: 1,
                ..request(partition(p), offset)
            };
            let answer = late.reader.read(one).await.unwrap();
            assert_eq!(bases(&answer), [offset]);
        }
    }
    let gets = world.bucket.gets();
    assert!(gets <= 50, "{gets} GETs of {OBJECTS} objects");
}

#[tokio::test]
async fn those_who_read_history_do_not_push_the_tail_out() {
    let world = World::new();
    let (old, new) = (partition(0), partition(1));
    let large = "x".repeat(100_000);
    let writer = world.agent(0);
    for _ in 0..20 {
        writer.write(&[(old, vec![batch(1, &[&large])])]).await;
    }
    let config = ReadConfig {
        cache_bytes: 1_000_000,
        ..ReadConfig::default()
    };
    let agent = world.agent_with(1, config);
    agent.write(&[(new, vec![batch(1, &[&large])])]).await;
    assert_eq!(agent.read_all(old, 0).await.len(), 20);
    let gets = world.bucket.gets();
    assert_eq!(agent.read_all(new, 0).await.len(), 1);
    assert_eq!(world.bucket.gets(), gets);
}

#[tokio::test]
async fn a_large_extent_of_history_is_read_in_blocks_and_each_block_once() {
    let world = World::new();
    let tp = partition(0);
    let values: Vec<String> = (0..40).map(|n| format!("{n:0>50000}").repeat(2)).collect();
    let batches: Vec<_> = values.iter().map(|v| batch(1, &[v])).collect();
    world.agent(0).write(&[(tp, batches)]).await;
    let late = world.agent(1);
    let read = late.read_all(tp, 0).await;
    assert!((0..40).all(|n| read[&n] == values[n as usize]));
    assert_eq!(world.bucket.gets(), 4, "four MiB in blocks of one");
    let jumped = world.agent(2).read(tp, 25).await.unwrap();
    assert_eq!(bases(&jumped)[0], 25);
}

#[tokio::test]
async fn readers_that_ask_for_one_block_at_once_make_one_get() {
    let world = World::new();
    let tp = partition(0);
    world.agent(0).write(&[(tp, vec![batch(1, &["0"])])]).await;
    let late = world.agent(1);
    let answers = join_all((0..50).map(|_| late.read(tp, 0))).await;
    assert!(answers.iter().all(|a| values(a.as_ref().unwrap()) == ["0"]));
    assert_eq!(world.bucket.gets(), 1);
}

#[tokio::test]
async fn a_read_only_pins_or_copies_what_it_returns_as_it_is_stored() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    let stored = batch(1, &["0", "1"]);
    agent.write(&[(tp, vec![stored.clone()])]).await;
    let answer = agent.read(tp, 0).await.unwrap();
    assert_eq!(
        answer.batches[0].bytes.as_ptr(),
        stored.bytes().as_ptr(),
        "the frame it came in"
    );
    assert_eq!(records(&answer).len(), 2);
}
