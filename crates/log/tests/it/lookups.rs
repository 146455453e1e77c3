//! ListOffsets, OffsetForLeaderEpoch and the rest that asks about a partition.
use sh_base::batch::{BatchBuilder, Codec};
use sh_log::Head;

use crate::world::{World, batch, batch_in, partition};

#[tokio::test]
async fn the_first_record_at_or_after_a_time_is_found_in_any_batch() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    assert_eq!(agent.reader.offset_at(tp, 0, i64::MAX).await, Ok(None));
    agent
        .write(&[(
            tp,
            vec![
                batch(100, &["0", "1"]),
                batch_in(Codec::Lz4, 200, &["2", "3", "4"]),
            ],
        )])
        .await;
    // Time went back: the first in the log counts, not the nearest in time.
    agent
        .write(&[(tp, vec![batch(150, &["5"]), batch(300, &["6"])])])
        .await;
    let at = async |t| agent.reader.offset_at(tp, t, i64::MAX).await.unwrap();
    assert_eq!(at(0).await, Some((0, 100, 0)));
    assert_eq!(at(101).await, Some((1, 101, 0)));
    assert_eq!(at(102).await, Some((2, 200, 0)));
    assert_eq!(at(150).await, Some((2, 200, 0)));
    assert_eq!(at(202).await, Some((4, 202, 0)));
    assert_eq!(at(203).await, Some((6, 300, 0)));
    assert_eq!(at(301).await, None);
    assert_eq!(
        agent.reader.offset_at(tp, 203, 6).await,
        Ok(None),
        "not before offset 6"
    );
    assert_eq!(agent.reader.max_timestamp(tp).await, Ok(Some((6, 300, 0))));
}

#[tokio::test]
async fn a_batch_with_log_append_time_has_one_time() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    let mut stamped = BatchBuilder::new(Codec::Zstd).log_append_time(500);
    stamped.push(3, None, Some(b"0"), &[]);
    stamped.push(4, None, Some(b"1"), &[]);
    agent.write(&[(tp, vec![stamped.build().unwrap()])]).await;
    assert_eq!(
        agent.reader.offset_at(tp, 5, i64::MAX).await,
        Ok(Some((0, 500, 0)))
    );
    assert_eq!(agent.reader.max_timestamp(tp).await, Ok(Some((0, 500, 0))));
    assert_eq!(agent.reader.offset_at(tp, 501, i64::MAX).await, Ok(None));
}

#[tokio::test]
async fn deleted_records_have_no_time() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent
        .write(&[(tp, vec![batch(900, &["0"]), batch(100, &["1", "2"])])])
        .await;
    sh_log::delete_records(&agent.lane, tp, 2).await.unwrap();
    assert_eq!(
        agent.reader.offset_at(tp, 0, i64::MAX).await,
        Ok(Some((2, 101, 0)))
    );
    assert_eq!(agent.reader.offset_at(tp, 500, i64::MAX).await, Ok(None));
}

#[tokio::test]
async fn the_greatest_time_is_that_of_a_record_that_is_still_there() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    assert_eq!(agent.reader.max_timestamp(tp).await, Ok(None));
    agent
        .write(&[(tp, vec![batch(900, &["0"]), batch(100, &["1"])])])
        .await;
    agent
        .write(&[(tp, vec![batch(300, &["2"]), batch(300, &["3"])])])
        .await;
    assert_eq!(agent.reader.max_timestamp(tp).await, Ok(Some((0, 900, 0))));
    sh_log::delete_records(&agent.lane, tp, 1).await.unwrap();
    assert_eq!(
        agent.reader.max_timestamp(tp).await,
        Ok(Some((2, 300, 0))),
        "the first of equals"
    );
}

#[tokio::test]
async fn many_extents_are_searched_page_by_page() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    for n in 0..2_100 {
        agent.write(&[(tp, vec![batch(n, &["v"])])]).await;
    }
    assert_eq!(
        agent.reader.offset_at(tp, 2_050, i64::MAX).await,
        Ok(Some((2_050, 2_050, 0)))
    );
    assert_eq!(
        agent.reader.max_timestamp(tp).await,
        Ok(Some((2_099, 2_099, 0)))
    );
    let size = batch(0, &["v"]).bytes().len() as u64;
    assert_eq!(agent.reader.size_bytes(tp).await, Ok(2_100 * size));
    let other = partition(tp.partition + 1);
    agent.write(&[(other, vec![batch(1, &["v"])])]).await;
    let sizes = agent.reader.sizes_bytes(tp.topic).await.unwrap();
    assert_eq!(sizes[&tp.partition], 2_100 * size);
    assert_eq!(sizes.len(), 2, "{sizes:?}");
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_one_begins() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    agent.write(&[(tp, vec![batch(1, &["0", "1", "2"])])]).await;
    assert_eq!(agent.reader.epoch_end(tp, 0).await, Ok((0, 3)));
    assert_eq!(agent.reader.epoch_end(tp, 1).await, Ok((-1, -1)));
    let raise = |head: &mut Head| {
        head.leader_epoch = 5;
        head.epochs = vec![(2, 1), (5, 3)];
    };
    agent.change(tp, vec![], raise).await;
    let ends = [
        (-1, (-1, -1)),
        (0, (0, 1)),
        (1, (0, 1)),
        (2, (2, 3)),
        (4, (2, 3)),
        (5, (5, 3)),
        (6, (-1, -1)),
    ];
    for (epoch, end) in ends {
        assert_eq!(
            agent.reader.epoch_end(tp, epoch).await,
            Ok(end),
            "epoch {epoch}"
        );
    }
}

#[tokio::test]
async fn a_partition_nobody_wrote_has_no_producers_and_no_bytes() {
    let agent = World::new().agent(0);
    assert_eq!(agent.reader.producers(partition(0)).await, Ok(vec![]));
    assert_eq!(agent.reader.size_bytes(partition(0)).await, Ok(0));
}
