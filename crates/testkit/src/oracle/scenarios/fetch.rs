//! Fetch: every kind of offset and limit.
use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::messages::{
    DeleteRecordsRequest, FetchRequest,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
};

use super::{
    requests::{Wish, fetch, produce, unknown, wish},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{Codec, RawBatch, record},
};

scenarios! {
    fetch_offsets: "from the start, the middle of a batch, the end, and where nothing is",
    fetch_limits: "max_bytes, partition_max_bytes and who gets how much",
    fetch_waiting: "min_bytes and max_wait",
    fetch_isolation: "isolation levels without transactions",
    fetch_unknown: "topics, ids and partitions that do not exist",
    fetch_epochs: "leader epochs of the client that are older or newer",
    fetch_after_delete: "the log start moves with DeleteRecords",
    fetch_codecs_and_versions: "zstd is for versions from 10 on",
}

/// Three batches of 3 records, then one packed batch of 5: offsets 0-2, 3-5, 6-8, 9-13.
async fn filled(peer: &mut Peer, name: &str) -> Result<Topic> {
    let topic = peer.topic(name, 2, &[]).await?;
    for batch in batches(peer) {
        peer.quietly(9, &produce(9, &topic, 0, batch)).await?;
    }
    Ok(topic)
}

fn batches(peer: &Peer) -> Vec<Bytes> {
    let batch = |n: i64, count: usize| {
        let records = (0..count)
            .map(|r| record("k", &format!("batch {n} record {r}")))
            .collect();
        RawBatch::new(peer.base_ms() + n * 1000, records)
    };
    let plain = (0..3).map(|n| batch(n, 3).encode());
    plain
        .chain([batch(3, 5).codec(Codec::Lz4).encode()])
        .collect()
}

async fn fetch_offsets(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    for version in 4..=18 {
        for offset in [0, 1, 3, 8, 9, 11, 13, 14, 15, 1000, -1, -2, i64::MAX] {
            peer.ask(
                &format!("offset {offset}"),
                version,
                &fetch(version, &topic, &[wish(0, offset)]),
            )
            .await?;
        }
        peer.ask(
            "an empty partition",
            version,
            &fetch(version, &topic, &[wish(1, 0)]),
        )
        .await?;
        peer.ask(
            "beyond an empty partition",
            version,
            &fetch(version, &topic, &[wish(1, 1)]),
        )
        .await?;
        peer.ask(
            "both partitions",
            version,
            &fetch(version, &topic, &[wish(1, 0), wish(0, 9)]),
        )
        .await?;
        peer.ask("no partitions", version, &fetch(version, &topic, &[]))
            .await?;
    }
    Ok(())
}

async fn fetch_limits(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    let second = filled(peer, "u").await?;
    let size = batches(peer)[0].len() as i32;
    let limited = |bytes| Wish {
        max_bytes: bytes,
        ..wish(0, 0)
    };
    for version in [4, 11, 12, 13, 18] {
        for bytes in [0, 1, size - 1, size, size + 1, 2 * size, 1 << 20, -1] {
            let request = fetch(version, &topic, &[limited(bytes)]);
            peer.ask(
                &format!("partition_max_bytes of {bytes}"),
                version,
                &request,
            )
            .await?;
            let request = fetch(version, &topic, &[wish(0, 0)]).with_max_bytes(bytes);
            peer.ask(&format!("max_bytes of {bytes}"), version, &request)
                .await?;
            let request = fetch(
                version,
                &topic,
                &[Wish {
                    offset: 7,
                    ..limited(bytes)
                }],
            );
            peer.ask(
                &format!("partition_max_bytes of {bytes} from offset 7"),
                version,
                &request,
            )
            .await?;
        }
        let two = |bytes: i32| {
            let mut request = fetch(version, &topic, &[wish(0, 0)]).with_max_bytes(bytes);
            request
                .topics
                .extend(fetch(version, &second, &[wish(0, 0)]).topics);
            request
        };
        for bytes in [1, size, size * 4] {
            peer.ask(
                &format!("two topics, max_bytes of {bytes}"),
                version,
                &two(bytes),
            )
            .await?;
        }
    }
    Ok(())
}

async fn fetch_waiting(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    let waits = |offset, wait, bytes| {
        fetch(12, &topic, &[wish(0, offset)])
            .with_max_wait_ms(wait)
            .with_min_bytes(bytes)
    };
    for (what, request, least, most) in [
        ("data is there", waits(0, 3000, 1), 0, 1500),
        ("nothing there, 300 ms", waits(14, 300, 1), 280, 2500),
        (
            "nothing there, but min_bytes is 0",
            waits(14, 3000, 0),
            0,
            1500,
        ),
        ("nothing there, no wait", waits(14, 0, 1), 0, 1500),
        (
            "less than min_bytes there",
            waits(0, 300, 1 << 20),
            280,
            2500,
        ),
        (
            "an offset out of range does not wait",
            waits(99, 3000, 1),
            0,
            1500,
        ),
    ] {
        let began = tokio::time::Instant::now();
        peer.ask(what, 12, &request).await?;
        let took = began.elapsed().as_millis();
        peer.write_down(
            &format!("{what}: between {least} and {most} ms"),
            12,
            &(least..=most).contains(&took),
        );
    }
    Ok(())
}

async fn fetch_isolation(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    for version in 4..=18 {
        for level in [0, 1] {
            let request = fetch(version, &topic, &[wish(0, 9)]).with_isolation_level(level);
            peer.ask(&format!("isolation level {level}"), version, &request)
                .await?;
        }
    }
    peer.ask(
        "isolation level 7",
        12,
        &fetch(12, &topic, &[wish(0, 9)]).with_isolation_level(7),
    )
    .await
    .map(drop)
}

async fn fetch_unknown(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    for version in 4..=18 {
        peer.ask(
            "partition 7 of 2",
            version,
            &fetch(version, &topic, &[wish(7, 0)]),
        )
        .await?;
        peer.ask(
            "partition -1",
            version,
            &fetch(version, &topic, &[wish(-1, 0)]),
        )
        .await?;
        let other = unknown("nobody.made.this");
        peer.ask(
            "an unknown topic",
            version,
            &fetch(version, &other, &[wish(0, 0)]),
        )
        .await?;
        let mut both: FetchRequest = fetch(version, &other, &[wish(0, 0)]);
        both.topics
            .extend(fetch(version, &topic, &[wish(0, 12)]).topics);
        peer.ask("an unknown topic and a known one", version, &both)
            .await?;
        let nil = Topic {
            id: uuid::Uuid::nil(),
            ..unknown("a b")
        };
        peer.ask(
            "an impossible topic",
            version,
            &fetch(version, &nil, &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            "the same partition twice",
            version,
            &fetch(version, &topic, &[wish(0, 9), wish(0, 12)]),
        )
        .await?;
    }
    Ok(())
}

async fn fetch_epochs(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    for version in [9, 11, 12, 13, 18] {
        for epoch in [-1, 0, 1, 99, -2] {
            let request = fetch(
                version,
                &topic,
                &[Wish {
                    leader_epoch: epoch,
                    ..wish(0, 9)
                }],
            );
            peer.ask(&format!("current leader epoch {epoch}"), version, &request)
                .await?;
        }
        for epoch in [0, 1, 7].into_iter().filter(|_| version >= 12) {
            for offset in [9, 14, 15] {
                let request = fetch(
                    version,
                    &topic,
                    &[Wish {
                        last_fetched_epoch: epoch,
                        ..wish(0, offset)
                    }],
                );
                peer.ask(
                    &format!("last fetched epoch {epoch} at offset {offset}"),
                    version,
                    &request,
                )
                .await?;
            }
        }
    }
    Ok(())
}

async fn fetch_after_delete(peer: &mut Peer) -> Result<()> {
    let topic = filled(peer, "t").await?;
    for before in [3, 7, 14] {
        let part = DeleteRecordsPartition::default()
            .with_partition_index(0)
            .with_offset(before);
        let wanted = DeleteRecordsTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(vec![part]);
        peer.quietly(
            2,
            &DeleteRecordsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(5000),
        )
        .await?;
        for version in [4, 5, 11, 12, 18] {
            for offset in [0, 2, 3, 6, 7, 8, 14, 15] {
                let what = format!("log start {before}, offset {offset}");
                peer.ask(&what, version, &fetch(version, &topic, &[wish(0, offset)]))
                    .await?;
            }
        }
    }
    Ok(())
}

async fn fetch_codecs_and_versions(peer: &mut Peer) -> Result<()> {
    for codec in [Codec::Zstd, Codec::Gzip] {
        let topic = peer.topic(&format!("{codec:?}"), 1, &[]).await?;
        let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")])
            .codec(codec)
            .encode();
        peer.quietly(9, &produce(9, &topic, 0, batch)).await?;
        for version in 4..=18 {
            peer.ask(
                &format!("a {codec:?} batch"),
                version,
                &fetch(version, &topic, &[wish(0, 0)]),
            )
            .await?;
        }
    }
    let topic = peer
        .topic("configured", 1, &[("compression.type", "zstd")])
        .await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    peer.quietly(9, &produce(9, &topic, 0, batch)).await?;
    for version in [4, 9, 10, 12] {
        let answer = peer
            .quietly(version, &fetch(version, &topic, &[wish(0, 0)]))
            .await?;
        let codes: Vec<i16> = answer
            .responses
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| p.error_code)
            .collect();
        peer.write_down(
            "Fetch: a topic whose codec is zstd, error codes",
            version,
            &codes,
        );
    }
    Ok(())
}
