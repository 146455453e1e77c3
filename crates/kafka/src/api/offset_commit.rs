//! OffsetCommit (both protocols).
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse,
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
};
use sh_coord::command::OffsetCommit;

use super::{
    commits::{ask_commit, commit_response, commit_topics},
    groups::optional,
};
use crate::door::Ctx;

/// The last version in which the committer says how long its offsets are kept.
const LAST_WITH_RETENTION: i16 = 4;
/// The first version whose clients know the codes of KIP-848.
const MEMBER_EPOCHS: i16 = 9;

pub async fn handle(ctx: &Ctx, version: i16, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
    let reply = ask_commit(ctx, &group, commit(version, request)).await;
    commit_response!(reply => OffsetCommitResponse, OffsetCommitResponseTopic, OffsetCommitResponsePartition)
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
        topics: commit_topics!(request.topics),
    }
}
