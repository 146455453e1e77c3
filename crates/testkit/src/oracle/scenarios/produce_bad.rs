//! Produce: batches that must not be stored.
use anyhow::Result;
use bytes::Bytes;

use super::{
    requests::{fetch, produce, produce_all, wish},
    scenarios,
};
use crate::oracle::{
    Peer,
    batch::{Codec, RawBatch, old_message, record},
};

scenarios! {
    produce_damaged: "bytes that are no good batch",
    produce_headers: "batch headers that contradict their records",
    produce_old_formats: "the message formats of before 0.11",
    produce_control: "control and transactional batches from an ordinary client",
    produce_codec_bits: "codecs that do not exist, and payloads that do not unpack",
    produce_refused_then_good: "a refused batch leaves nothing behind",
}

/// The versions at which the shape of an error differs.
const VERSIONS: [i16; 5] = [3, 7, 8, 9, 13];

fn good(peer: &Peer) -> RawBatch {
    RawBatch::new(
        peer.base_ms(),
        vec![record("k", "a"), record("k", "b"), record("k", "c")],
    )
}

/// Each batch goes to a partition of its own, so that one that is stored moves no other's offsets.
async fn try_all(
    peer: &mut Peer,
    configs: &[(&str, &str)],
    batches: &[(&str, Bytes)],
) -> Result<()> {
    let name = configs.first().map_or("t", |(_, value)| value);
    let topic = peer.topic(name, batches.len() as i32, configs).await?;
    for (partition, (what, batch)) in (0..).zip(batches) {
        for version in VERSIONS {
            peer.ask(
                what,
                version,
                &produce(version, &topic, partition, batch.clone()),
            )
            .await?;
        }
        let stored = format!("what was stored of {what}");
        peer.ask(&stored, 12, &fetch(12, &topic, &[wish(partition, 0)]))
            .await?;
    }
    Ok(())
}

async fn produce_damaged(peer: &mut Peer) -> Result<()> {
    let good = good(peer);
    let bytes = good.encode();
    let two = [&bytes[..], &bytes[..]].concat();
    let batches = [
        (
            "a wrong CRC",
            RawBatch {
                crc: Some(1),
                ..good.clone()
            }
            .encode(),
        ),
        ("a batch cut short", bytes.slice(..bytes.len() - 3)),
        ("a header cut short", bytes.slice(..40)),
        ("ten bytes", bytes.slice(..10)),
        ("a byte too many", Bytes::from([&bytes[..], b"x"].concat())),
        ("no bytes", Bytes::new()),
        ("two batches", Bytes::from(two)),
        (
            "a length of 0",
            RawBatch {
                length: Some(0),
                ..good.clone()
            }
            .encode(),
        ),
        (
            "a length of -1",
            RawBatch {
                length: Some(-1),
                ..good.clone()
            }
            .encode(),
        ),
        (
            "a length of 2 GiB",
            RawBatch {
                length: Some(i32::MAX),
                ..good.clone()
            }
            .encode(),
        ),
        (
            "magic 3",
            RawBatch {
                magic: 3,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "magic -1",
            RawBatch {
                magic: -1,
                ..good.clone()
            }
            .encode(),
        ),
        ("100 zero bytes", Bytes::from(vec![0; 100])),
    ];
    try_all(peer, &[], &batches).await
}

async fn produce_headers(peer: &mut Peer) -> Result<()> {
    let good = good(peer);
    let mut gap = good.clone();
    gap.records[1].offset_delta = Some(5);
    let mut back = good.clone();
    back.records[2].offset_delta = Some(0);
    let batches = [
        (
            "a count of 2 for 3 records",
            RawBatch {
                count: Some(2),
                ..good.clone()
            },
        ),
        (
            "a count of 4 for 3 records",
            RawBatch {
                count: Some(4),
                ..good.clone()
            },
        ),
        (
            "a count and delta for 4, 3 records",
            RawBatch {
                count: Some(4),
                last_offset_delta: Some(3),
                ..good.clone()
            },
        ),
        (
            "a count and delta for 2, 3 records",
            RawBatch {
                count: Some(2),
                last_offset_delta: Some(1),
                ..good.clone()
            },
        ),
        (
            "a count of 0",
            RawBatch {
                count: Some(0),
                ..good.clone()
            },
        ),
        (
            "a count of -1",
            RawBatch {
                count: Some(-1),
                ..good.clone()
            },
        ),
        ("no records", RawBatch::new(peer.base_ms(), vec![])),
        (
            "a last offset delta of 7",
            RawBatch {
                last_offset_delta: Some(7),
                ..good.clone()
            },
        ),
        (
            "a last offset delta of 1",
            RawBatch {
                last_offset_delta: Some(1),
                ..good.clone()
            },
        ),
        (
            "a last offset delta of -1",
            RawBatch {
                last_offset_delta: Some(-1),
                ..good.clone()
            },
        ),
        ("a gap in the offset deltas", gap),
        ("an offset delta twice", back),
        (
            "a record length beyond the end",
            RawBatch {
                payload: Some(Bytes::from_static(b"\x7f\0\0\0\0\0\0")),
                ..good.clone()
            },
        ),
        (
            "a negative record length",
            RawBatch {
                payload: Some(Bytes::from_static(b"\x01\0\0\0\0\0\0")),
                ..good.clone()
            },
        ),
        (
            "attribute bits that mean nothing",
            RawBatch {
                attributes: 0x4000,
                ..good.clone()
            },
        ),
    ];
    let batches: Vec<_> = batches
        .iter()
        .flat_map(|(what, batch)| {
            [
                (what.to_string(), batch.encode()),
                (
                    format!("{what}, packed"),
                    batch.clone().codec(Codec::Gzip).encode(),
                ),
            ]
        })
        .collect();
    let batches: Vec<(&str, Bytes)> = batches
        .iter()
        .map(|(w, b)| (w.as_str(), b.clone()))
        .collect();
    try_all(peer, &[], &batches).await
}

async fn produce_old_formats(peer: &mut Peer) -> Result<()> {
    let batches = [
        ("magic 0", old_message(0, 0, "old")),
        ("magic 1", old_message(1, peer.base_ms(), "less old")),
    ];
    try_all(peer, &[], &batches).await?;
    try_all(peer, &[("cleanup.policy", "compact")], &batches).await
}

async fn produce_control(peer: &mut Peer) -> Result<()> {
    let marker = RawBatch::new(peer.base_ms(), vec![record("\0\0\0\u{1}", "\0\0\0\0\0\0")]);
    let good = good(peer);
    let batches = [
        (
            "a control batch",
            RawBatch {
                attributes: 0x20,
                ..marker.clone()
            }
            .encode(),
        ),
        (
            "a control batch of a producer",
            RawBatch {
                attributes: 0x20,
                ..marker.clone()
            }
            .producer(1, 0, -1)
            .encode(),
        ),
        (
            "a transactional control batch",
            RawBatch {
                attributes: 0x30,
                ..marker
            }
            .producer(1, 0, -1)
            .encode(),
        ),
        (
            "a transactional batch without producer",
            RawBatch {
                attributes: 0x10,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "a batch with a delete horizon",
            RawBatch {
                attributes: 0x40,
                ..good
            }
            .encode(),
        ),
    ];
    try_all(peer, &[], &batches).await
}

async fn produce_codec_bits(peer: &mut Peer) -> Result<()> {
    let good = good(peer);
    let garbage = |codec| {
        RawBatch {
            payload: Some(Bytes::from_static(b"this is not packed")),
            ..good.clone()
        }
        .codec(codec)
    };
    let nothing = |codec| {
        RawBatch {
            payload: Some(Bytes::new()),
            ..good.clone()
        }
        .codec(codec)
    };
    let mut batches = vec![
        (
            "codec 5".to_owned(),
            RawBatch {
                attributes: 5,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "codec 6".to_owned(),
            RawBatch {
                attributes: 6,
                ..good.clone()
            }
            .encode(),
        ),
        (
            "codec 7".to_owned(),
            RawBatch {
                attributes: 7,
                ..good.clone()
            }
            .encode(),
        ),
    ];
    for codec in Codec::ALL {
        batches.push((format!("garbage as {codec:?}"), garbage(codec).encode()));
        batches.push((format!("nothing as {codec:?}"), nothing(codec).encode()));
    }
    let batches: Vec<(&str, Bytes)> = batches
        .iter()
        .map(|(w, b)| (w.as_str(), b.clone()))
        .collect();
    try_all(peer, &[], &batches).await
}

async fn produce_refused_then_good(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let good = good(peer);
    let bad = RawBatch {
        crc: Some(1),
        ..good.clone()
    }
    .encode();
    for version in VERSIONS {
        let parts = [(0, Some(bad.clone())), (1, Some(good.encode()))];
        peer.ask(
            "one bad, one good partition",
            version,
            &produce_all(version, -1, &topic, &parts),
        )
        .await?;
    }
    for partition in 0..2 {
        peer.ask(
            "what was stored",
            12,
            &fetch(12, &topic, &[wish(partition, 0)]),
        )
        .await?;
    }
    Ok(())
}
