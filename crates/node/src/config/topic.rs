//! The configs of topics, in the order in which Kafka lists them.
use std::collections::BTreeMap;

use super::{Check, Definition, Kind};

/// One topic config, and the broker config that is its default (`None`: it has none).
#[derive(Clone, Copy, Debug)]
pub struct TopicDefinition {
    pub def: Definition,
    pub broker: Option<&'static str>,
}

const MAX: &str = "9223372036854775807";

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    broker: Option<&'static str>,
    doc: &'static str,
) -> TopicDefinition {
    TopicDefinition {
        def: Definition {
            name,
            kind,
            default: Some(default),
            check,
            doc,
        },
        broker,
    }
}

use Check::{Any, AtLeast, Between, GzipLevel, ListOf, OneOf, Ratio, ThrottledReplicas};
use Kind::{Boolean, Double, Int, List, Long, String as Text};

const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// Every topic config. Those that speak of segments, files and replicas are kept and shown, and change nothing here.
#[rustfmt::skip]
pub static TABLE: &[TopicDefinition] = &[
    row("compression.type", Text, "producer", OneOf(CODECS), Some("compression.type"), "The codec in which batches are stored. 'producer' keeps each batch as it came; 'uncompressed' stores it plain."),
    row("remote.log.delete.on.disable", Boolean, "false", Any, None, "Kept for tools. The log of every topic lives in the bucket."),
    row("leader.replication.throttled.replicas", List, "", ThrottledReplicas, None, "Kept for tools: '*' or [partition]:[broker],... There is no replication to throttle."),
    row("remote.storage.enable", Boolean, "false", Any, None, "Kept for tools; cannot be enabled. The log of every topic lives in the bucket."),
    row("min.insync.replicas", Int, "1", AtLeast(1), Some("min.insync.replicas"), "Accepted and shown. The bucket replicates: an acks=all record is as durable with any value."),
    row("segment.jitter.ms", Long, "0", AtLeast(0), Some("log.roll.jitter.ms"), "Kept for tools. There are no segment files to roll."),
    row("remote.log.copy.disable", Boolean, "false", Any, None, "Kept for tools. The log of every topic lives in the bucket."),
    row("local.retention.ms", Long, "-2", AtLeast(-2), Some("log.local.retention.ms"), "Kept for tools. There are no local segments to remove."),
    row("cleanup.policy", List, "delete", ListOf(&["compact", "delete"]), Some("log.cleanup.policy"), "What happens to old records: 'delete' removes them by age and size, 'compact' keeps the last one of each key. Both may be named; with none, nothing is removed."),
    row("flush.ms", Long, MAX, AtLeast(0), Some("log.flush.interval.ms"), "Kept for tools. What is acknowledged is flushed already."),
    row("follower.replication.throttled.replicas", List, "", ThrottledReplicas, None, "Kept for tools: '*' or [partition]:[broker],... There is no replication to throttle."),
    row("compression.lz4.level", Int, "9", Between(1, 17), Some("compression.lz4.level"), "The level for compression.type=lz4."),
    row("segment.bytes", Int, "1073741824", AtLeast(1_048_576), Some("log.segment.bytes"), "Kept for tools. There are no segment files."),
    row("retention.ms", Long, "604800000", AtLeast(-1), Some("log.retention.ms"), "How long a record is kept under the 'delete' policy, milliseconds by its timestamp. -1: for ever."),
    row("compression.gzip.level", Int, "-1", GzipLevel, Some("compression.gzip.level"), "The level for compression.type=gzip, 1 to 9; -1 is the codec's own default."),
    row("flush.messages", Long, MAX, AtLeast(1), Some("log.flush.interval.messages"), "Kept for tools. What is acknowledged is flushed already."),
    row("compression.zstd.level", Int, "3", Between(-131_072, 22), Some("compression.zstd.level"), "The level for compression.type=zstd."),
    row("max.compaction.lag.ms", Long, MAX, AtLeast(1), Some("log.cleaner.max.compaction.lag.ms"), "The longest time a record of a compacted topic may wait for compaction, milliseconds."),
    row("file.delete.delay.ms", Long, "60000", AtLeast(0), Some("log.segment.delete.delay.ms"), "Kept for tools. Objects are deleted after the server's own grace period."),
    row("max.message.bytes", Int, "1048588", AtLeast(0), Some("message.max.bytes"), "The largest record batch that is taken, bytes, as the producer compressed it."),
    row("min.compaction.lag.ms", Long, "0", AtLeast(0), Some("log.cleaner.min.compaction.lag.ms"), "How long a record of a compacted topic is left alone, milliseconds."),
    row("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Some("log.message.timestamp.type"), "Whose timestamp records carry: the producer's (CreateTime) or the server's (LogAppendTime)."),
    row("local.retention.bytes", Long, "-2", AtLeast(-2), Some("log.local.retention.bytes"), "Kept for tools. There are no local segments to remove."),
    row("preallocate", Boolean, "false", Any, Some("log.preallocate"), "Kept for tools. There are no segment files."),
    row("index.interval.bytes", Int, "4096", AtLeast(0), Some("log.index.interval.bytes"), "Kept for tools. The index has one entry for each run of batches."),
    row("min.cleanable.dirty.ratio", Double, "0.5", Ratio, Some("log.cleaner.min.cleanable.ratio"), "The share of a compacted log that must be new before it is compacted again."),
    row("unclean.leader.election.enable", Boolean, "false", Any, Some("unclean.leader.election.enable"), "Kept for tools. There are no leader elections."),
    row("retention.bytes", Long, "-1", Any, Some("log.retention.bytes"), "How many bytes of a partition are kept under the 'delete' policy. -1: no limit."),
    row("delete.retention.ms", Long, "86400000", AtLeast(0), Some("log.cleaner.delete.retention.ms"), "How long a tombstone of a compacted topic is kept after compaction, milliseconds."),
    row("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), Some("log.message.timestamp.after.max.ms"), "How far a record's timestamp may lie ahead of the server's clock, milliseconds. Ignored with LogAppendTime."),
    row("message.timestamp.before.max.ms", Long, MAX, AtLeast(0), Some("log.message.timestamp.before.max.ms"), "How far a record's timestamp may lie behind the server's clock, milliseconds. Ignored with LogAppendTime."),
    row("segment.ms", Long, "604800000", AtLeast(1), Some("log.roll.ms"), "Kept for tools. There are no segment files to roll."),
    row("segment.index.bytes", Int, "10485760", AtLeast(4), Some("log.index.size.max.bytes"), "Kept for tools. There are no index files."),
];

pub fn definition(name: &str) -> Option<&'static Definition> {
    entry(name).map(|t| &t.def)
}

pub(super) fn entry(name: &str) -> Option<&'static TopicDefinition> {
    TABLE.iter().find(|t| t.def.name == name)
}

/// The first thing that is wrong with the overrides of a topic, in Kafka's words. They are stored as they were given.
pub fn validate(configs: &BTreeMap<String, String>) -> Result<(), String> {
    let mut parsed = BTreeMap::new();
    for name in configs.keys() {
        definition(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    }
    for (name, value) in configs {
        if let Some(def) = definition(name) {
            parsed.insert(name.clone(), def.parse(value)?);
        }
    }
    relations(&parsed)
}

/// What must hold between several values.
fn relations(configs: &BTreeMap<String, String>) -> Result<(), String> {
    let number = |name: &str| -> Option<i64> {
        let default = definition(name).and_then(|d| d.default);
        configs
            .get(name)
            .map(String::as_str)
            .or(default)?
            .parse()
            .ok()
    };
    if let (Some(min), Some(max)) = (
        number("min.compaction.lag.ms"),
        number("max.compaction.lag.ms"),
    ) && min > max
    {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    if configs
        .get("remote.storage.enable")
        .is_some_and(|v| v == "true")
    {
        return Err("Tiered Storage functionality is disabled in the broker. \
                    Topic cannot be configured with remote log storage."
            .into());
    }
    Ok(())
}
