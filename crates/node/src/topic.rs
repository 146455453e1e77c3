//! A topic: its row in the metadata store, and what follows from it.
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::{
    Failure, Org, PartitionIndex, TopicId, TopicName, TopicPartition,
    batch::{Codec, TimestampType},
};
use sh_meta::{Key, View};

use crate::{config::Effective, control::damaged};

/// The value of `Key::Topic`, JSON. Written by topic creation, alteration and deletion; purged some time after deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRow {
    pub org: String,
    pub name: String,
    pub partitions: i32,
    /// What its creator asked for. The store replicates; this is remembered only to be shown.
    pub replication_factor: i16,
    /// Overrides only: what was set for this topic.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// Wall clock, milliseconds.
    pub created_ms: i64,
    /// Deleted, and to be purged some time later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// How far the deletion of a topic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was deleted. Wall clock, milliseconds.
    pub at_ms: i64,
    pub stage: DeletionStage,
}

/// Heads are many rows, so that a deletion takes several updates; the stage says where to go on after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletionStage {
    /// Its name is gone; not every head refuses writes yet.
    Fencing,
    /// Every head refuses writes. It can be brought back.
    Kept,
    /// Too late: its rows are being removed.
    Purging,
}

impl TopicRow {
    pub fn decode(bytes: &[u8]) -> Result<TopicRow, Failure> {
        serde_json::from_slice(bytes).map_err(|e| damaged("topic row", e))
    }
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .unwrap_or_default()
    }
}

/// The row of a topic that is locked, unless it is deleted.
pub(crate) fn living_row(view: &View, id: TopicId) -> Option<TopicRow> {
    locked_row(view, id).filter(|row| row.deletion.is_none())
}

/// The row of a topic that is locked.
pub(crate) fn locked_row(view: &View, id: TopicId) -> Option<TopicRow> {
    view.value(&Key::Topic(id))
        .and_then(|bytes| TopicRow::decode(bytes).ok())
}

/// A living topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub id: TopicId,
    pub org: Org,
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: i32,
    pub replication_factor: i16,
    /// Overrides only.
    pub configs: BTreeMap<String, String>,
    pub created_ms: i64,
    /// The configs in force, with the broker's defaults.
    pub settings: Arc<TopicSettings>,
    /// Version of the row that this was read from.
    pub version: u64,
}

impl Topic {
    pub fn has(&self, partition: PartitionIndex) -> bool {
        (0..self.partitions).contains(&partition)
    }
    pub fn partition(&self, partition: PartitionIndex) -> TopicPartition {
        TopicPartition::new(self.id, partition)
    }
}

/// The effective configs that the data path looks at, in types that cannot be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy` contains `compact`.
    pub compacted: bool,
    /// `cleanup.policy` contains `delete`.
    pub deletes: bool,
    /// `max.message.bytes`: the largest batch, bytes.
    pub max_message_bytes: i32,
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie behind the clock, milliseconds.
    pub timestamp_before_max_ms: i64,
    /// How far a record's timestamp may lie ahead of the clock, milliseconds.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None` keeps the producer's codec.
    pub compression: Option<Codec>,
    /// -1: no limit.
    pub retention_ms: i64,
    /// -1: no limit.
    pub retention_bytes: i64,
    /// Kept, shown and ignored: there are no replicas to be in sync.
    pub min_insync_replicas: i32,
}

impl TopicSettings {
    /// From effective values, all of which passed their checks when they were set.
    pub fn of(values: &Effective<'_>) -> TopicSettings {
        let policy = values.text("cleanup.policy");
        let policies = || policy.as_ref().split(',').map(str::trim);
        TopicSettings {
            compacted: policies().any(|p| p == "compact"),
            deletes: policies().any(|p| p == "delete"),
            max_message_bytes: values.number("max.message.bytes") as i32,
            timestamp_type: match values.text("message.timestamp.type").as_ref() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: values.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: values.number("message.timestamp.after.max.ms"),
            compression: codec(&values.text("compression.type")),
            retention_ms: values.number("retention.ms"),
            retention_bytes: values.number("retention.bytes"),
            min_insync_replicas: values.number("min.insync.replicas") as i32,
        }
    }
}

/// `compression.type` as a codec; `producer` is none of them.
fn codec(name: &str) -> Option<Codec> {
    Some(match name {
        "uncompressed" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => return None,
    })
}
