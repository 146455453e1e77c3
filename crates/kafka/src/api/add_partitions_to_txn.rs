//! AddPartitionsToTxn (KIP-98, KIP-890). Clients speak versions 0 to 3, with one transaction; brokers speak later ones among each
//! other, with many, and may only ask whether the partitions are in it.
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
    add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
    },
};
use sh_base::{Failure, ProducerId};
use sh_node::{Operation, Resource, TransactionPartitions};

use super::transactions::fenced_before;
use crate::{
    door::Ctx,
    errors::{self, NONE},
};

/// Many transactions in one request, for brokers.
const BATCHED_SINCE: i16 = 4;
const FENCED_SINCE: i16 = 2;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let response = AddPartitionsToTxnResponse::default();
    if version < BATCHED_SINCE {
        let asked = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        let results = one(ctx, version, asked).await;
        return response.with_results_by_topic_v3_and_below(results);
    }
    let allowed = ctx
        .node()
        .authorize(&ctx.caller, Operation::ClusterAction, Resource::Cluster);
    if let Err(failure) = allowed {
        return response.with_error_code(errors::code(&failure));
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for asked in request.transactions {
        let id = asked.transactional_id.clone();
        let topics = one(ctx, version, asked).await;
        results.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(id)
                .with_topic_results(topics),
        );
    }
    response.with_results_by_transaction(results)
}

async fn one(
    ctx: &Ctx,
    version: i16,
    asked: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topic = |t: &AddPartitionsToTxnTopic| TransactionPartitions {
        topic: t.name.to_string(),
        partitions: t.partitions.clone(),
    };
    let topics: Vec<TransactionPartitions> = asked.topics.iter().map(topic).collect();
    let producer = (ProducerId(asked.producer_id.0), asked.producer_epoch);
    let id = &asked.transactional_id;
    let added = ctx
        .node()
        .add_partitions_to_transaction(&ctx.caller, id, producer, &topics, asked.verify_only)
        .await;
    let code = |outcome: Result<(), Failure>| match outcome {
        Ok(()) => NONE,
        Err(failure) => errors::code(&fenced_before(FENCED_SINCE, version, failure)),
    };
    let told = |(i, topic): (usize, AddPartitionsToTxnTopic)| {
        let partition = |(j, index): (usize, &i32)| {
            let outcome = match &added {
                Ok(outcomes) => outcomes[i][j].clone(),
                Err(failure) => Err(failure.clone()),
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code(outcome))
        };
        let results = topic.partitions.iter().enumerate().map(partition).collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(results)
    };
    asked.topics.into_iter().enumerate().map(told).collect()
}
