//! ListOffsets, DeleteRecords and OffsetForLeaderEpoch.
use anyhow::Result;
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, OffsetForLeaderEpochRequest, TopicName,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};

use super::{
    requests::{list_offsets, named, produce},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{Codec, RawBatch, RawRecord, record},
};

scenarios! {
    list_offsets_special: "earliest, latest, largest timestamp and the others",
    list_offsets_by_time: "the first record at or after a moment",
    list_offsets_unknown: "topics, partitions and epochs that are not",
    list_offsets_append_time: "by the server's time",
    delete_records: "the log start is moved",
    offset_for_leader_epoch: "where an epoch ended",
}

/// Partition 0: batches at base+0 (3 records, 100 ms apart), base+1000, base+500 (out of order), a packed one at base+2000.
async fn filled(peer: &mut Peer) -> Result<Topic> {
    let topic = peer.topic("t", 2, &[]).await?;
    let record = |n: i64| RawRecord {
        timestamp_delta: n * 100,
        ..record("k", &n.to_string())
    };
    for (at, codec) in [
        (0, Codec::None),
        (1000, Codec::None),
        (500, Codec::None),
        (2000, Codec::Gzip),
    ] {
        let batch = RawBatch::new(peer.base_ms() + at, (0..3).map(record).collect()).codec(codec);
        peer.quietly(9, &produce(9, &topic, 0, batch.encode()))
            .await?;
    }
    Ok(topic)
}

async fn list_offsets_special(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer).await?;
    for version in 1..=10 {
        for (what, timestamp) in [
            ("latest", -1),
            ("earliest", -2),
            ("max timestamp", -3),
            ("earliest local", -4),
            ("latest tiered", -5),
            ("-6", -6),
            ("-7", -7),
        ] {
            let asks = [(0, timestamp, -1), (1, timestamp, -1)];
            peer.ask(what, version, &list_offsets(version, &topic.name, &asks))
                .await?;
            if version >= 2 {
                let committed = list_offsets(version, &topic.name, &asks).with_isolation_level(1);
                peer.ask(&format!("{what}, read committed"), version, &committed)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn list_offsets_by_time(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer).await?;
    let base = peer.base_ms();
    for version in 1..=10 {
        for delta in [
            -1_000_000, 0, 1, 100, 150, 200, 201, 500, 700, 701, 1000, 1200, 1201, 2000, 2050,
            2100, 2200, 2201,
        ] {
            let request = list_offsets(version, &topic.name, &[(0, base + delta, -1)]);
            peer.ask(&format!("base {delta:+}"), version, &request)
                .await?;
        }
        for at in [0, i64::MAX] {
            peer.ask(
                &format!("time {at}"),
                version,
                &list_offsets(version, &topic.name, &[(0, at, -1)]),
            )
            .await?;
        }
        peer.ask(
            "in an empty partition",
            version,
            &list_offsets(version, &topic.name, &[(1, base, -1)]),
        )
        .await?;
    }
    delete(peer, &topic.name, &[(0, 5)]).await?;
    for delta in [0, 500, 1000, 1201, 2201] {
        let request = list_offsets(7, &topic.name, &[(0, base + delta, -1), (0, -2, -1)]);
        peer.ask(
            &format!("after DeleteRecords to 5, base {delta:+}"),
            7,
            &request,
        )
        .await?;
    }
    for what in [-1, -2, -3, -4] {
        peer.ask(
            &format!("after DeleteRecords to 5, {what}"),
            8,
            &list_offsets(8, &topic.name, &[(0, what, -1)]),
        )
        .await?;
    }
    Ok(())
}

async fn list_offsets_unknown(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer).await?;
    for version in 1..=10 {
        let nobody = named("nobody.made.this");
        peer.ask(
            "an unknown topic",
            version,
            &list_offsets(version, &nobody, &[(0, -1, -1)]),
        )
        .await?;
        peer.ask(
            "an impossible name",
            version,
            &list_offsets(version, &named("a b"), &[(0, -1, -1)]),
        )
        .await?;
        peer.ask(
            "partitions 2 and -1",
            version,
            &list_offsets(version, &topic.name, &[(2, -1, -1), (-1, -1, -1)]),
        )
        .await?;
        peer.ask(
            "a partition twice",
            version,
            &list_offsets(version, &topic.name, &[(0, -1, -1), (0, -2, -1)]),
        )
        .await?;
        peer.ask(
            "no partitions",
            version,
            &list_offsets(version, &topic.name, &[]),
        )
        .await?;
        if version >= 4 {
            for epoch in [0, 1, 99] {
                let request = list_offsets(version, &topic.name, &[(0, -1, epoch)]);
                peer.ask(&format!("current leader epoch {epoch}"), version, &request)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn list_offsets_append_time(peer: &mut Peer) -> Result<()> {
    let topic = peer
        .topic("t", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "a"), record("k", "b")]).encode();
    for _ in 0..2 {
        peer.quietly(9, &produce(9, &topic, 0, batch.clone()))
            .await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for (what, at) in [
        ("the records' own time", peer.base_ms()),
        ("tomorrow", peer.now_ms() + 86_400_000),
        ("max timestamp", -3),
    ] {
        peer.ask(what, 7, &list_offsets(7, &topic.name, &[(0, at, -1)]))
            .await?;
    }
    Ok(())
}

fn deletion(name: &TopicName, parts: &[(i32, i64)]) -> DeleteRecordsRequest {
    let part = |&(index, offset): &(i32, i64)| {
        DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(offset)
    };
    let topic = DeleteRecordsTopic::default()
        .with_name(name.clone())
        .with_partitions(parts.iter().map(part).collect());
    DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(5000)
}

async fn delete(peer: &mut Peer, name: &TopicName, parts: &[(i32, i64)]) -> Result<()> {
    peer.quietly(2, &deletion(name, parts)).await.map(drop)
}

async fn delete_records(peer: &mut Peer) -> Result<()> {
    for version in 0..=2 {
        let name = format!("v{version}");
        let topic = peer.topic(&name, 2, &[]).await?;
        let batch = RawBatch::new(
            peer.base_ms(),
            (0..10).map(|n| record("k", &n.to_string())).collect(),
        )
        .encode();
        peer.quietly(9, &produce(9, &topic, 0, batch)).await?;
        let name = &topic.name;
        for (what, parts) in [
            ("to 0", vec![(0, 0)]),
            ("to 4", vec![(0, 4)]),
            ("back to 2", vec![(0, 2)]),
            ("to 4 again", vec![(0, 4)]),
            ("beyond the end", vec![(0, 11)]),
            ("to -2", vec![(0, -2)]),
            ("to the high watermark", vec![(0, -1)]),
            ("to the high watermark again", vec![(0, 10)]),
            ("an empty partition", vec![(1, -1)]),
            ("an empty partition to 0", vec![(1, 0)]),
            ("an empty partition to 1", vec![(1, 1)]),
            ("partitions that are not", vec![(2, 0), (-1, 0)]),
            ("no partitions", vec![]),
        ] {
            peer.ask(what, version, &deletion(name, &parts)).await?;
            peer.ask(
                &format!("log start after: {what}"),
                7,
                &list_offsets(7, name, &[(0, -2, -1), (1, -2, -1)]),
            )
            .await?;
        }
        peer.ask(
            "an unknown topic",
            version,
            &deletion(&named("nobody.made.this"), &[(0, 0)]),
        )
        .await?;
        peer.ask(
            "an impossible name",
            version,
            &deletion(&named("a b"), &[(0, 0)]),
        )
        .await?;
        peer.ask(
            "nothing",
            version,
            &DeleteRecordsRequest::default().with_timeout_ms(100),
        )
        .await?;
        let compacted = peer
            .topic(
                &format!("compacted.v{version}"),
                1,
                &[("cleanup.policy", "compact")],
            )
            .await?;
        peer.ask(
            "a compacted topic",
            version,
            &deletion(&compacted.name, &[(0, 0)]),
        )
        .await?;
    }
    Ok(())
}

async fn offset_for_leader_epoch(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer).await?;
    let ask = |version: i16, name: &TopicName, parts: &[(i32, i32, i32)]| {
        let part = |&(index, current, epoch): &(i32, i32, i32)| {
            OffsetForLeaderPartition::default()
                .with_partition(index)
                .with_current_leader_epoch(current)
                .with_leader_epoch(epoch)
        };
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name.clone())
            .with_partitions(parts.iter().map(part).collect());
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        if version >= 3 {
            request.with_replica_id(BrokerId(-1))
        } else {
            request
        }
    };
    for version in 2..=4 {
        for epoch in [-1, 0, 1, 99, -2] {
            peer.ask(
                &format!("leader epoch {epoch}"),
                version,
                &ask(version, &topic.name, &[(0, -1, epoch)]),
            )
            .await?;
            peer.ask(
                &format!("leader epoch {epoch}, empty"),
                version,
                &ask(version, &topic.name, &[(1, -1, epoch)]),
            )
            .await?;
        }
        for current in [0, 1, 99] {
            let request = ask(version, &topic.name, &[(0, current, 0)]);
            peer.ask(
                &format!("current leader epoch {current}"),
                version,
                &request,
            )
            .await?;
        }
        peer.ask(
            "partitions that are not",
            version,
            &ask(version, &topic.name, &[(2, -1, 0), (-1, -1, 0)]),
        )
        .await?;
        peer.ask(
            "an unknown topic",
            version,
            &ask(version, &named("nobody.made.this"), &[(0, -1, 0)]),
        )
        .await?;
        peer.ask(
            "an impossible name",
            version,
            &ask(version, &named("a b"), &[(0, -1, 0)]),
        )
        .await?;
    }
    Ok(())
}
