//! The rules of committed offsets: what a row holds, what may be committed, what is too old. Pure functions.
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::{Offset, PartitionIndex, TopicId};

use crate::{
    command::{CommitPartition, OffsetCommit, RequestId},
    error::GroupError,
    outbox::OffsetChange,
    reply::OffsetsReply,
    row::{self, UnreadableRow},
    settings::GroupSettings,
};

/// A committed offset, under (group, topic id, partition).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRow {
    /// The next offset to read.
    pub offset: Offset,
    /// Of the last record that was read; -1: unknown.
    pub leader_epoch: i32,
    /// The committer's own words.
    pub metadata: String,
    /// Wall clock of the commit.
    pub committed_ms: i64,
    /// The committer's own expiry (OffsetCommit 2 to 4); else the server's retention counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

impl OffsetRow {
    pub fn encode(&self) -> Bytes {
        row::encode(self)
    }
    pub fn decode(value: &[u8]) -> Result<Self, UnreadableRow> {
        row::decode(value)
    }
}

/// A committed offset as a job has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    pub topic: String,
    /// Names may have been given anew; the row is under the id.
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub row: OffsetRow,
    /// An open transaction holds an offset of the same partition: it does not expire meanwhile.
    pub in_transaction: bool,
}

/// From when on an offset's retention counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionStart {
    /// Never: the group uses its offsets.
    Never,
    /// The commit itself.
    Commit,
    /// When the group became empty.
    Emptied { wall_ms: i64 },
}

/// Whether an offset is past its retention (KIP-211).
pub fn is_expired(row: &OffsetRow, start: RetentionStart, now_ms: i64, retention_ms: i64) -> bool {
    let from = match start {
        RetentionStart::Never => return false,
        RetentionStart::Commit => row.committed_ms,
        // A group that was emptied long ago may still get commits from a consumer that works alone.
        RetentionStart::Emptied { wall_ms } => wall_ms.max(row.committed_ms),
    };
    match row.expires_ms {
        Some(at) => now_ms >= at,
        None => now_ms.saturating_sub(from) >= retention_ms,
    }
}

/// What a commit's partition is refused for, if the group itself agrees.
fn check_partition(partition: &CommitPartition, settings: &GroupSettings) -> Option<GroupError> {
    (partition.metadata.len() > settings.offset_metadata_bytes_max)
        .then_some(GroupError::OffsetMetadataTooLarge)
}

/// Splits a commit that the group has accepted into the rows to store and the codes to answer. `stale` tells what the group
/// holds against one partition.
pub(crate) fn accept(
    request: RequestId,
    commit: OffsetCommit,
    settings: &GroupSettings,
    now_ms: i64,
    stale: impl Fn(&str, PartitionIndex) -> Option<GroupError>,
) -> (Option<OffsetChange>, OffsetsReply) {
    let expires_ms = commit
        .retention_ms
        .map(|retention| now_ms.saturating_add(retention));
    let mut rows = Vec::new();
    let mut reply = OffsetsReply::default();
    for topic in commit.topics {
        let mut codes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let refused = check_partition(&partition, settings)
                .or_else(|| stale(&topic.topic, partition.partition));
            codes.push((partition.partition, refused));
            if refused.is_none() {
                let row = OffsetRow {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata: partition.metadata,
                    committed_ms: now_ms,
                    expires_ms,
                };
                rows.push((topic.topic.clone(), partition.partition, row));
            }
        }
        reply.topics.push((topic.topic, codes));
    }
    let change = OffsetChange::Commit {
        request,
        transaction: commit.transaction,
        rows,
    };
    let stores = matches!(&change, OffsetChange::Commit { rows, .. } if !rows.is_empty());
    (stores.then_some(change), reply)
}

/// The answer to a commit that the group refuses as a whole.
pub(crate) fn refuse(commit: &OffsetCommit, code: GroupError) -> OffsetsReply {
    let topics = commit.topics.iter().map(|topic| {
        let codes = topic
            .partitions
            .iter()
            .map(|p| (p.partition, Some(code)))
            .collect();
        (topic.topic.clone(), codes)
    });
    OffsetsReply {
        error: Some(code),
        topics: topics.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000;

    fn committed_at(committed_ms: i64) -> OffsetRow {
        OffsetRow {
            offset: 5,
            leader_epoch: -1,
            metadata: String::new(),
            committed_ms,
            expires_ms: None,
        }
    }

    #[test]
    fn the_offsets_of_a_group_in_use_never_expire() {
        assert!(!is_expired(
            &committed_at(0),
            RetentionStart::Never,
            i64::MAX,
            DAY
        ));
    }

    #[test]
    fn retention_counts_from_when_the_group_became_empty() {
        let start = RetentionStart::Emptied { wall_ms: 10 * DAY };
        assert!(!is_expired(&committed_at(0), start, 11 * DAY - 1, DAY));
        assert!(is_expired(&committed_at(0), start, 11 * DAY, DAY));
    }

    #[test]
    fn a_commit_to_an_empty_group_counts_from_the_commit() {
        let start = RetentionStart::Emptied { wall_ms: 0 };
        assert!(!is_expired(
            &committed_at(10 * DAY),
            start,
            10 * DAY + 1,
            DAY
        ));
    }

    #[test]
    fn a_committers_own_expiry_counts_instead_of_the_retention() {
        let row = OffsetRow {
            expires_ms: Some(50),
            ..committed_at(0)
        };
        assert!(!is_expired(&row, RetentionStart::Commit, 49, 1));
        assert!(is_expired(&row, RetentionStart::Commit, 50, DAY));
    }

    #[test]
    fn an_offset_reads_back_from_its_row() {
        let row = OffsetRow {
            metadata: "läuft".into(),
            expires_ms: Some(7),
            ..committed_at(3)
        };
        assert_eq!(OffsetRow::decode(&row.encode()).unwrap(), row);
    }
}
