//! DeleteRecords.
use sh_base::ErrorCode;
use sh_log::{ReadError, delete_records};

use crate::world::{World, bases, batch, partition};

#[tokio::test]
async fn the_log_start_moves_and_whole_extents_before_it_are_gone() {
    let world = World::new();
    let (agent, other) = (world.agent(0), world.agent(1));
    let tp = partition(0);
    for value in ["0", "1", "2"] {
        agent.write(&[(tp, vec![batch(1, &[value, "."])])]).await;
    }
    assert_eq!(bases(&other.read(tp, 0).await.unwrap()), [0, 2, 4]);
    assert_eq!(delete_records(&agent.lane, tp, 3).await, Ok(3));
    for agent in [&agent, &other] {
        agent.reader.poll_feed().await.unwrap();
        assert!(
            matches!(agent.read(tp, 2).await, Err(ReadError::OutOfRange(e)) if e.log_start == 3)
        );
        let answer = agent.read(tp, 3).await.unwrap();
        assert_eq!(
            bases(&answer),
            [2, 4],
            "the batch that holds offset 3 stays whole"
        );
        assert_eq!(answer.ends.log_start, 3);
    }
    let size = batch(1, &["0", "."]).bytes().len() as u64;
    assert_eq!(agent.reader.size_bytes(tp).await, Ok(2 * size));
    assert_eq!(
        delete_records(&agent.lane, tp, 1).await,
        Ok(3),
        "it never goes back"
    );
}

#[tokio::test]
async fn everything_up_to_the_high_watermark_and_nothing_beyond() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent.write(&[(tp, vec![batch(1, &["0", "1"])])]).await;
    for beyond in [3, -2, i64::MIN, i64::MAX] {
        let refused = delete_records(&agent.lane, tp, beyond).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::OffsetOutOfRange);
        assert_eq!(agent.reader.ends(tp).await.unwrap().log_start, 0);
    }
    assert_eq!(delete_records(&agent.lane, tp, -1).await, Ok(2));
    assert!(agent.read(tp, 2).await.unwrap().batches.is_empty());
    agent.write(&[(tp, vec![batch(1, &["2"])])]).await;
    assert_eq!(bases(&agent.read(tp, 2).await.unwrap()), [2]);
    let late = agent.world.agent(1);
    assert_eq!(bases(&late.read(tp, 2).await.unwrap()), [2]);
}

#[tokio::test]
async fn many_extents_are_deleted_in_steps() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    for _ in 0..1_200 {
        agent.write(&[(tp, vec![batch(1, &["v"])])]).await;
    }
    assert_eq!(delete_records(&agent.lane, tp, 1_100).await, Ok(1_100));
    let size = batch(1, &["v"]).bytes().len() as u64;
    assert_eq!(agent.reader.size_bytes(tp).await, Ok(100 * size));
    assert_eq!(agent.read_all(tp, 1_100).await.len(), 100);
    assert_eq!(agent.world.agent(1).read_all(tp, 1_100).await.len(), 100);
}

#[tokio::test]
async fn a_deleted_topic_is_unknown() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent.change(tp, vec![], |head| head.deleted = true).await;
    let refused = delete_records(&agent.lane, tp, -1).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnknownTopicOrPartition);
}
