//! TxnOffsetCommit (KIP-98, KIP-447, KIP-890): offsets that become committed when their transaction does.
use kafka_protocol::messages::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
};
use sh_base::ProducerId;
use sh_coord::{
    Command, GroupError,
    command::{CommitPartition, CommitTopic, OffsetCommit, Transaction},
    reply::OffsetsReply,
};

use super::groups::{ask, codes_by_topic, optional};
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
    let commit = commit(version, request);
    let reply = ask!(ctx, &group, Command::OffsetCommit(commit) => OffsetCommit);
    response(version, reply.unwrap_or_default())
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
        topics: request.topics.into_iter().map(topic).collect(),
    }
}

fn topic(topic: TxnOffsetCommitRequestTopic) -> CommitTopic {
    CommitTopic {
        topic: topic.name.to_string(),
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}

fn partition(partition: TxnOffsetCommitRequestPartition) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: optional(partition.committed_metadata).unwrap_or_default(),
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
    let partition = |index, code| {
        TxnOffsetCommitResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(code)
    };
    let topics = codes_by_topic(reply, partition).map(|(name, partitions)| {
        TxnOffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
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
