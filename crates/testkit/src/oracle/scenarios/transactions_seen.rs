//! Transactions as others see them: readers of both isolation levels, and administrators.
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, ListTransactionsRequest,
    TransactionalId, WriteTxnMarkersRequest,
    describe_producers_request::TopicRequest,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
};

use super::{
    requests::{fetch, list_offsets, produce, text, wish},
    scenarios,
    transactions::{Producer, ask_end, ask_write, begin, end, id, settled, write},
};
use crate::oracle::{
    Peer, Topic,
    batch::{RawBatch, record},
};

scenarios! {
    txn_read: "what readers of both isolation levels see",
    txn_described: "transactions and producers, looked at",
    txn_markers: "markers that an administrator writes",
}

async fn txn_read(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (a, b) = (id(peer, "a"), id(peer, "b"));
    let (first, second) = (begin(peer, &a).await?, begin(peer, &b).await?);
    let steps = [(&a, first, 0), (&b, second, 0), (&a, first, 1)];
    for (tx, now, sequence) in steps {
        let request = write(peer, 12, &topic, (tx, 0), (now, sequence));
        ask_write(peer, "a batch", 12, request).await?;
    }
    look(peer, &topic, "two are open").await?;
    ask_end(peer, "the second is aborted", 5, end(&b, second, false)).await?;
    wait_for_end(peer, &topic, 4).await?;
    look(peer, &topic, "the first is open").await?;
    let plain = RawBatch::new(peer.base_ms(), vec![record("k", "plain")]).encode();
    ask_write(
        peer,
        "a batch without producer",
        9,
        produce(9, &topic, 0, plain),
    )
    .await?;
    ask_end(peer, "the first is committed", 5, end(&a, first, true)).await?;
    settled(peer, &topic, 0, 6).await?;
    let next = (first.0, first.1 + 1);
    let request = write(peer, 12, &topic, (&a, 0), (next, 0));
    ask_write(peer, "another", 12, request).await?;
    ask_end(peer, "it is aborted", 5, end(&a, next, false)).await?;
    settled(peer, &topic, 0, 8).await?;
    look(peer, &topic, "all are ended").await
}

/// Waits until the partition has so many offsets, of whatever kind.
async fn wait_for_end(peer: &mut Peer, topic: &Topic, offset: i64) -> Result<()> {
    for _ in 0..200 {
        let request = list_offsets(5, &topic.name, &[(0, -1, -1)]);
        let answer = peer.quietly(5, &request).await?;
        if answer.topics[0].partitions[0].offset >= offset {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("the partition does not reach {offset} within 5 s")
}

async fn look(peer: &mut Peer, topic: &Topic, when: &str) -> Result<()> {
    for (isolation, name) in [(0, "uncommitted"), (1, "committed")] {
        for offset in [0, 1, 3, 5, 6] {
            let request = fetch(12, topic, &[wish(0, offset)]).with_isolation_level(isolation);
            peer.ask(&format!("{when}: {name} from {offset}"), 12, &request)
                .await?;
        }
        for timestamp in [-1, -2, -3] {
            let asked = list_offsets(7, &topic.name, &[(0, timestamp, -1)]);
            let asked = asked.with_isolation_level(isolation);
            if timestamp != -3 {
                peer.ask(&format!("{when}: {name} offset of {timestamp}"), 7, &asked)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn txn_described(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let now = begin(peer, &tx).await?;
    let describe = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![tx.clone(), id(peer, "other")]);
    let topics = vec![
        TopicRequest::default()
            .with_name(topic.name.clone())
            .with_partition_indexes(vec![0, 1]),
    ];
    let producers = DescribeProducersRequest::default().with_topics(topics);
    peer.ask("no transaction yet", 0, &describe).await?;
    listed(peer, "no transaction yet", now).await?;
    for sequence in [0, 1] {
        let request = write(peer, 12, &topic, (&tx, 1), (now, sequence));
        ask_write(peer, "a batch", 12, request).await?;
    }
    peer.ask("an open one", 0, &describe).await?;
    listed(peer, "an open one", now).await?;
    peer.ask("an open one: producers", 0, &producers).await?;
    ask_end(peer, "an end", 5, end(&tx, now, true)).await?;
    settled(peer, &topic, 1, 3).await?;
    // Kafka completes it a little later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.ask("an ended one", 0, &describe).await?;
    listed(peer, "an ended one", now).await?;
    let mut known = peer.quietly(0, &producers).await?;
    for partition in &mut known.topics[0].partitions {
        for producer in &mut partition.active_producers {
            // A marker's time is the server's.
            producer.last_timestamp = 0;
        }
    }
    peer.write_down("an ended one: producers", 0, &known);
    let empty = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![TransactionalId(text(""))]);
    peer.ask("an empty id", 0, &empty).await.map(drop)
}

async fn listed(peer: &mut Peer, when: &str, (producer, _): Producer) -> Result<()> {
    let ask = ListTransactionsRequest::default()
        .with_producer_id_filters(vec![producer.into()])
        .with_duration_filter(-1);
    let state = |names: &[&str]| {
        ask.clone()
            .with_state_filters(names.iter().map(|n| text(n)).collect())
    };
    for (what, version, request) in [
        ("by producer", 0, ask.clone()),
        ("by producer", 1, ask.clone()),
        ("by producer", 2, ask.clone()),
        ("ongoing", 0, state(&["Ongoing"])),
        ("empty or ongoing", 0, state(&["Empty", "Ongoing"])),
        ("committed", 0, state(&["CompleteCommit"])),
        ("an unknown state", 0, state(&["Odd"])),
        (
            "an unknown state among others",
            0,
            state(&["Odd", "Ongoing", "CompleteCommit"]),
        ),
        ("a state in passing", 0, state(&["PrepareEpochFence"])),
        (
            "for an hour",
            1,
            ask.clone().with_duration_filter(3_600_000),
        ),
        (
            "a pattern of none",
            2,
            ask.clone()
                .with_transactional_id_pattern(Some(text("x[0-9]+"))),
        ),
        (
            "a pattern of all",
            2,
            ask.clone()
                .with_transactional_id_pattern(Some(text("txn_.*"))),
        ),
        (
            "an empty pattern",
            2,
            ask.clone().with_transactional_id_pattern(Some(text(""))),
        ),
        (
            "no pattern at all",
            2,
            ask.clone().with_transactional_id_pattern(Some(text("("))),
        ),
    ] {
        peer.ask(&format!("{when}: {what}"), version, &request)
            .await?;
    }
    Ok(())
}

async fn txn_markers(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    begin(peer, &tx).await?;
    let now = begin(peer, &tx).await?;
    let request = write(peer, 12, &topic, (&tx, 0), (now, 0));
    ask_write(peer, "a batch", 12, request).await?;
    let markers = |name, epoch, coordinator, partitions: &[i32]| {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(name)
            .with_partition_indexes(partitions.to_vec());
        let marker = WritableTxnMarker::default()
            .with_producer_id(now.0.into())
            .with_producer_epoch(epoch)
            .with_coordinator_epoch(coordinator)
            .with_topics(vec![topic]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    };
    let name = || topic.name.clone();
    for (what, request) in [
        ("an old epoch", markers(name(), now.1 - 1, 0, &[0])),
        ("partitions that are not", markers(name(), now.1, 0, &[7])),
        (
            "an unknown topic",
            markers(super::requests::named("nobody.made.this"), now.1, 0, &[0]),
        ),
        ("the transaction", markers(name(), now.1, 3, &[0])),
        ("an older coordinator", markers(name(), now.1, 2, &[0])),
        (
            "a partition without records",
            markers(name(), now.1, 3, &[1]),
        ),
        ("nothing", WriteTxnMarkersRequest::default()),
    ] {
        peer.ask(what, 1, &request).await?;
    }
    settled(peer, &topic, 0, 2).await?;
    let request = fetch(12, &topic, &[wish(0, 0), wish(1, 0)]).with_isolation_level(1);
    peer.ask("what is read", 12, &request).await?;
    ask_end(peer, "an end", 5, end(&tx, now, false)).await
}
