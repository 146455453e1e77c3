//! TxnOffsetCommit (KIP-98, KIP-447, KIP-890): offsets that become committed when their transaction does.
use kafka_protocol::messages::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
};
use sh_base::ProducerId;
use sh_coord::{
    GroupError,
    command::{OffsetCommit, Transaction},
    reply::OffsetsReply,
};

use super::{
    commits::{ask_commit, commit_response, commit_topics},
    groups::optional,
};
use crate::door::Ctx;

/// Generation and member came with this version (KIP-447).
const MEMBER_SINCE: i16 = 3;
/// TRANSACTION_ABORTABLE came with this version (KIP-890).
const ABORTABLE_SINCE: i16 = 4;
/// From here on the commit adds its group to the transaction (KIP-890).
const ADDS_GROUP_SINCE: i16 = 5;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let group = request.group_id.to_string();
    let reply = ask_commit(ctx, &group, commit(version, request)).await;
    response(version, reply)
}

fn commit(version: i16, request: TxnOffsetCommitRequest) -> OffsetCommit {
    let transaction = Transaction {
        transactional_id: request.transactional_id.to_string(),
        producer_id: ProducerId(request.producer_id.0),
        producer_epoch: request.producer_epoch,
        adds_group: version >= ADDS_GROUP_SINCE,
    };
    let generation = Some(request.generation_id).filter(|_| version >= MEMBER_SINCE);
    OffsetCommit {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation_or_epoch: generation.unwrap_or(-1),
        retention_ms: None,
        knows_member_epochs: false,
        transaction: Some(transaction),
        topics: commit_topics!(request.topics),
    }
}

fn response(version: i16, mut reply: OffsetsReply) -> TxnOffsetCommitResponse {
    for (_, error) in reply
        .topics
        .iter_mut()
        .flat_map(|(_, partitions)| partitions)
    {
        *error = error.map(|error| known_to(version, error));
    }
    commit_response!(reply => TxnOffsetCommitResponse, TxnOffsetCommitResponseTopic, TxnOffsetCommitResponsePartition)
}

/// Clients of older versions do not know that a transaction may be aborted and begun again.
fn known_to(version: i16, error: GroupError) -> GroupError {
    match error {
        GroupError::TransactionAbortable if version < ABORTABLE_SINCE => {
            GroupError::InvalidTxnState
        }
        error => error,
    }
}
