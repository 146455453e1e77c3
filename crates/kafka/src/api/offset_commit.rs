//! OffsetCommit (both protocols).
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
};
use sh_coord::{
    Command, GroupError,
    command::{CommitPartition, CommitTopic, OffsetCommit},
    reply::OffsetsReply,
};

use super::groups::{ask, codes_by_topic, optional};
use crate::door::Ctx;

/// The last version in which the committer says how long its offsets are kept.
const LAST_WITH_RETENTION: i16 = 4;
/// The first version whose clients know the codes of KIP-848.
const MEMBER_EPOCHS: i16 = 9;

pub async fn handle(ctx: &Ctx, version: i16, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
    let commit = commit(version, request);
    let named = named(&commit);
    let reply = ask!(ctx, &group, Command::OffsetCommit(commit) => OffsetCommit);
    response(reply.unwrap_or_else(|error| refused(named, error)))
}

fn commit(version: i16, request: OffsetCommitRequest) -> OffsetCommit {
    let retention = Some(request.retention_time_ms);
    let told = |ms: &i64| version <= LAST_WITH_RETENTION && *ms != -1;
    OffsetCommit {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation_or_epoch: request.generation_id_or_member_epoch,
        retention_ms: retention.filter(told),
        knows_member_epochs: version >= MEMBER_EPOCHS,
        transaction: None,
        topics: request.topics.into_iter().map(topic).collect(),
    }
}

fn topic(topic: OffsetCommitRequestTopic) -> CommitTopic {
    CommitTopic {
        topic: topic.name.to_string(),
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}

fn partition(partition: OffsetCommitRequestPartition) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: optional(partition.committed_metadata).unwrap_or_default(),
    }
}

type Named = Vec<(String, Vec<i32>)>;

fn named(commit: &OffsetCommit) -> Named {
    let partitions = |topic: &CommitTopic| topic.partitions.iter().map(|p| p.partition).collect();
    let topics = commit.topics.iter();
    topics.map(|t| (t.topic.clone(), partitions(t))).collect()
}

fn refused(named: Named, error: GroupError) -> OffsetsReply {
    let all = |partitions: Vec<i32>| partitions.into_iter().map(|p| (p, Some(error))).collect();
    OffsetsReply {
        error: Some(error),
        topics: named.into_iter().map(|(t, p)| (t, all(p))).collect(),
    }
}

fn response(reply: OffsetsReply) -> OffsetCommitResponse {
    let partition = |index, code| {
        OffsetCommitResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(code)
    };
    let topics = codes_by_topic(reply, partition).map(|(name, partitions)| {
        OffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
