//! Produce: what is stored, and what the answer says of it.
use anyhow::Result;
use bytes::Bytes;

use super::{
    requests::{fetch, metadata, named, produce, produce_all, unknown, wish},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{Codec, RawBatch, RawRecord, keyless, record},
};

scenarios! {
    produce_versions: "one record at every version",
    produce_codecs: "every codec, read back as it was written",
    produce_log_append_time: "the server's time replaces the client's",
    produce_acks: "none, leader, all, and numbers that are none of them",
    produce_shapes: "null and empty keys and values, headers, many records, several partitions",
    produce_unknown: "topics and partitions that do not exist",
    produce_timestamps: "record times far from now",
    produce_compacted: "a compacted topic wants keys",
    produce_size: "batches larger than max.message.bytes",
    produce_recompressed: "a topic with a codec of its own",
    produce_together: "five requests at once are answered in order",
}

/// Everything a partition holds, batch by batch.
async fn read_back(peer: &mut Peer, topic: &Topic, partition: i32) -> Result<()> {
    peer.ask("read back", 12, &fetch(12, topic, &[wish(partition, 0)]))
        .await
        .map(drop)
}

async fn produce_versions(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    for version in 3..=13 {
        let batch = RawBatch::new(peer.base_ms(), vec![record("k", &format!("v{version}"))]);
        peer.ask(
            "one record",
            version,
            &produce(version, &topic, 0, batch.encode()),
        )
        .await?;
    }
    read_back(peer, &topic, 0).await
}

async fn produce_codecs(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let words = "the same words again and again ".repeat(20);
    for codec in Codec::ALL {
        for version in [3, 6, 7, 8, 13] {
            let batch = RawBatch::new(
                peer.base_ms(),
                vec![record("k", &words), record("l", &words)],
            )
            .codec(codec);
            peer.ask(
                &format!("{codec:?}"),
                version,
                &produce(version, &topic, 0, batch.encode()),
            )
            .await?;
        }
    }
    read_back(peer, &topic, 0).await
}

async fn produce_log_append_time(peer: &mut Peer) -> Result<()> {
    let topic = peer
        .topic("t", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await?;
    for version in [3, 7, 8, 13] {
        let batch = RawBatch::new(peer.base_ms(), vec![record("k", "a"), record("k", "b")]);
        peer.ask(
            "client time",
            version,
            &produce(version, &topic, 0, batch.encode()),
        )
        .await?;
        let packed = batch.codec(Codec::Gzip).encode();
        peer.ask(
            "client time, packed",
            version,
            &produce(version, &topic, 0, packed),
        )
        .await?;
        let odd = RawBatch {
            attributes: 8,
            ..RawBatch::new(peer.base_ms(), vec![record("k", "c")])
        };
        peer.ask(
            "a batch that says it has log append time",
            version,
            &produce(version, &topic, 0, odd.encode()),
        )
        .await?;
    }
    read_back(peer, &topic, 0).await?;
    let plain = peer.topic("plain", 1, &[]).await?;
    let odd = RawBatch {
        attributes: 8,
        ..RawBatch::new(peer.base_ms(), vec![record("k", "c")])
    };
    peer.ask(
        "log append time from a client",
        9,
        &produce(9, &plain, 0, odd.encode()),
    )
    .await?;
    read_back(peer, &plain, 0).await
}

async fn produce_acks(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    for version in [3, 8, 13] {
        for acks in [1, -1, 2, -2, 100] {
            let request = produce_all(version, acks, &topic, &[(0, Some(batch.clone()))]);
            peer.ask(&format!("acks={acks}"), version, &request).await?;
        }
        peer.tell(
            version,
            &produce_all(version, 0, &topic, &[(0, Some(batch.clone()))]),
        )
        .await?;
        peer.ask("after acks=0, on the same connection", 7, &metadata(&[]))
            .await?;
        peer.ask(
            "after acks=0",
            version,
            &produce(version, &topic, 0, batch.clone()),
        )
        .await?;
        let none = produce_all(version, -1, &topic, &[]);
        peer.ask("a topic without partitions", version, &none)
            .await?;
        peer.ask("no topics at all", version, &none.with_topic_data(vec![]))
            .await?;
    }
    let few = peer
        .topic("few", 1, &[("min.insync.replicas", "2")])
        .await?;
    for acks in [1, -1] {
        let request = produce_all(9, acks, &few, &[(0, Some(batch.clone()))]);
        peer.ask(&format!("min.insync.replicas=2, acks={acks}"), 9, &request)
            .await?;
    }
    Ok(())
}

async fn produce_shapes(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 4, &[]).await?;
    let bytes = |s: &'static str| Some(Bytes::from_static(s.as_bytes()));
    let tombstone = RawRecord {
        key: bytes("k"),
        value: None,
        ..RawRecord::default()
    };
    let empty = RawRecord {
        key: bytes(""),
        value: bytes(""),
        ..RawRecord::default()
    };
    let nothing = RawRecord::default();
    let name = |s: &'static str| Bytes::from_static(s.as_bytes());
    let headers = vec![
        (name("a"), bytes("1")),
        (name("a"), None),
        (name(""), bytes("")),
    ];
    let headed = RawRecord {
        headers,
        ..record("k", "v")
    };
    let late = RawRecord {
        timestamp_delta: 5_000,
        ..record("k", "late")
    };
    let early = RawRecord {
        timestamp_delta: -5_000,
        ..record("k", "early")
    };
    let marked = RawRecord {
        attributes: 0x7f,
        ..record("k", "attributes")
    };
    let many: Vec<RawRecord> = (0..500)
        .map(|n| record("k", &format!("value {n}")))
        .collect();
    let shapes = [
        ("a tombstone", vec![tombstone]),
        ("empty key and value", vec![empty]),
        ("null key and value", vec![nothing]),
        ("headers", vec![headed]),
        ("times out of order", vec![record("k", "now"), late, early]),
        ("record attributes", vec![marked]),
        ("500 records", many),
    ];
    for (what, records) in shapes {
        let batch = RawBatch::new(peer.base_ms(), records).encode();
        peer.ask(what, 9, &produce(9, &topic, 0, batch)).await?;
    }
    read_back(peer, &topic, 0).await?;
    let batch = |base| Some(RawBatch::new(base, vec![record("k", "v")]).encode());
    let base = peer.base_ms();
    for version in [3, 9, 13] {
        let parts = [(3, batch(base)), (1, batch(base)), (9, batch(base))];
        peer.ask(
            "two partitions and one that is not",
            version,
            &produce_all(version, -1, &topic, &parts),
        )
        .await?;
        let twice = [(2, batch(base)), (2, batch(base + 1))];
        peer.ask(
            "the same partition twice",
            version,
            &produce_all(version, -1, &topic, &twice),
        )
        .await?;
    }
    read_back(peer, &topic, 2).await?;
    let odd = RawBatch {
        base_offset: 77,
        leader_epoch: 12,
        ..RawBatch::new(base, vec![record("k", "v")])
    };
    peer.ask(
        "base offset 77 and leader epoch 12 from a client",
        9,
        &produce(9, &topic, 3, odd.encode()),
    )
    .await?;
    read_back(peer, &topic, 3).await
}

async fn produce_unknown(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    let long = "x".repeat(250);
    for version in 3..=13 {
        peer.ask(
            "an unknown topic",
            version,
            &produce(version, &unknown("nobody.made.this"), 0, batch.clone()),
        )
        .await?;
        peer.ask(
            "partition 1 of 1",
            version,
            &produce(version, &topic, 1, batch.clone()),
        )
        .await?;
        peer.ask(
            "partition -1",
            version,
            &produce(version, &topic, -1, batch.clone()),
        )
        .await?;
        for name in ["", "..", "a b", &long]
            .into_iter()
            .filter(|_| version <= 12)
        {
            let impossible = Topic {
                name: named(name),
                ..unknown("")
            };
            let what = format!("the name {:?}", name.get(..9).unwrap_or(name));
            peer.ask(
                &what,
                version,
                &produce(version, &impossible, 0, batch.clone()),
            )
            .await?;
        }
    }
    let nil = Topic {
        id: uuid::Uuid::nil(),
        ..topic
    };
    peer.ask("the nil id", 13, &produce(13, &nil, 0, batch))
        .await?;
    Ok(())
}

async fn produce_timestamps(peer: &mut Peer) -> Result<()> {
    const HOUR: i64 = 3_600_000;
    let free = peer.topic("free", 1, &[]).await?;
    let limits = [
        ("message.timestamp.before.max.ms", "3600000"),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    let strict = peer.topic("strict", 1, &limits).await?;
    let append = [
        ("message.timestamp.type", "LogAppendTime"),
        limits[0],
        limits[1],
    ];
    let append = peer.topic("append", 1, &append).await?;
    let now = peer.now_ms();
    let times = [
        ("now", now),
        ("two hours ago", now - 2 * HOUR),
        ("in two hours", now + 2 * HOUR),
        ("in 50 minutes", now + HOUR * 5 / 6),
        ("no time (-1)", -1),
        ("-2", -2),
        ("the beginning of time", 0),
        ("the end of time", i64::MAX),
    ];
    for (what, time) in times {
        for (kind, topic) in [("free", &free), ("strict", &strict), ("append", &append)] {
            for version in [7, 8, 13] {
                let batch = RawBatch::new(time, vec![record("k", what)]).encode();
                peer.ask(
                    &format!("{what}, {kind} topic"),
                    version,
                    &produce(version, topic, 0, batch),
                )
                .await?;
            }
        }
    }
    let one_late = RawRecord {
        timestamp_delta: 2 * HOUR,
        ..record("k", "late")
    };
    let mixed = RawBatch::new(
        now,
        vec![record("k", "now"), one_late.clone(), record("k", "now")],
    );
    peer.ask(
        "one record of three in two hours",
        9,
        &produce(9, &strict, 0, mixed.encode()),
    )
    .await?;
    let lying = RawBatch {
        max_timestamp: Some(now),
        ..mixed.clone()
    };
    peer.ask(
        "the same, with a header that hides it",
        9,
        &produce(9, &strict, 0, lying.encode()),
    )
    .await?;
    let lying = RawBatch {
        max_timestamp: Some(now - 5 * HOUR),
        ..RawBatch::new(now - 5 * HOUR, vec![one_late])
    };
    peer.ask(
        "a wrong maximum in the header",
        9,
        &produce(9, &free, 0, lying.encode()),
    )
    .await?;
    peer.ask(
        "a wrong maximum in the header, packed",
        9,
        &produce(9, &free, 0, lying.codec(Codec::Gzip).encode()),
    )
    .await?;
    for topic in [&free, &strict] {
        read_back(peer, topic, 0).await?;
    }
    Ok(())
}

async fn produce_compacted(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[("cleanup.policy", "compact")]).await?;
    let both = peer
        .topic("both", 1, &[("cleanup.policy", "compact,delete")])
        .await?;
    let base = peer.base_ms();
    for version in [3, 7, 8, 9, 13] {
        let batches = [
            ("a keyed record", vec![record("k", "v")]),
            (
                "one keyless of three",
                vec![record("k", "v"), keyless("v"), record("k", "w")],
            ),
            (
                "three keyless",
                vec![keyless("a"), keyless("b"), keyless("c")],
            ),
            ("an empty key", vec![record("", "v")]),
        ];
        for (what, records) in batches {
            let batch = RawBatch::new(base, records);
            peer.ask(what, version, &produce(version, &topic, 0, batch.encode()))
                .await?;
            peer.ask(
                what,
                version,
                &produce(version, &both, 0, batch.clone().codec(Codec::Lz4).encode()),
            )
            .await?;
        }
    }
    Ok(())
}

async fn produce_size(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[("max.message.bytes", "1000")]).await?;
    let batch =
        |bytes: usize| RawBatch::new(peer.base_ms(), vec![keyless(&"x".repeat(bytes))]).encode();
    let sized = |total: usize| batch(900 + total - batch(900).len());
    let batches = [
        ("1000 bytes", sized(1000)),
        ("1001 bytes", sized(1001)),
        ("5000 bytes", sized(5000)),
    ];
    let shrinks = RawBatch::new(peer.base_ms(), vec![keyless(&"x".repeat(5000))])
        .codec(Codec::Gzip)
        .encode();
    let default = peer.topic("default", 1, &[]).await?;
    let big = RawBatch::new(peer.base_ms(), vec![keyless(&"x".repeat(1_048_588))]).encode();
    for version in [3, 7, 8, 13] {
        for (what, batch) in &batches {
            peer.ask(what, version, &produce(version, &topic, 0, batch.clone()))
                .await?;
        }
        peer.ask(
            "5000 bytes packed to fewer",
            version,
            &produce(version, &topic, 0, shrinks.clone()),
        )
        .await?;
        peer.ask(
            "more than the default allows",
            version,
            &produce(version, &default, 0, big.clone()),
        )
        .await?;
    }
    Ok(())
}

async fn produce_recompressed(peer: &mut Peer) -> Result<()> {
    let base = peer.base_ms();
    for codec in ["gzip", "uncompressed", "producer"] {
        let topic = peer.topic(codec, 1, &[("compression.type", codec)]).await?;
        for from in [Codec::None, Codec::Gzip, Codec::Zstd] {
            let batch = RawBatch::new(base, vec![record("k", "v"), record("k", "w")]).codec(from);
            peer.ask(
                &format!("{from:?} to a topic of {codec}"),
                9,
                &produce(9, &topic, 0, batch.encode()),
            )
            .await?;
        }
        read_back(peer, &topic, 0).await?;
    }
    Ok(())
}

async fn produce_together(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let base = peer.base_ms();
    let one = |n: i32| {
        produce(
            9,
            &topic,
            0,
            RawBatch::new(base, vec![record("k", &n.to_string())]).encode(),
        )
    };
    let requests: Vec<_> = (0..5).map(one).collect();
    peer.ask_together("five in flight", 9, &requests).await?;
    read_back(peer, &topic, 0).await
}
