//! CreatePartitions (KIP-195).
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse,
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
    create_partitions_response::CreatePartitionsTopicResult,
};
use sh_base::{ErrorCode, Failure};
use sh_node::topics::NewPartitions;

use super::shape::{message, topic_name};
use crate::{door::Ctx, errors::code};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let topics = request.topics.into_iter().map(new_partitions).collect();
    let grown = ctx
        .node()
        .create_partitions(&ctx.caller, topics, request.validate_only)
        .await;
    CreatePartitionsResponse::default().with_results(grown.into_iter().map(result).collect())
}

fn new_partitions(t: CreatePartitionsTopic) -> NewPartitions {
    let brokers = |a: CreatePartitionsAssignment| a.broker_ids.into_iter().map(|b| b.0).collect();
    NewPartitions {
        name: t.name.to_string(),
        count: t.count,
        assignments: t
            .assignments
            .map(|list| list.into_iter().map(brokers).collect()),
    }
}

fn result((name, grown): (String, Result<(), Failure>)) -> CreatePartitionsTopicResult {
    let result = CreatePartitionsTopicResult::default().with_name(topic_name(name));
    match grown {
        Ok(()) => result.with_error_message(None),
        // Kafka says nothing more about a topic that it does not know.
        Err(e) if e.code == ErrorCode::UnknownTopicOrPartition => {
            result.with_error_code(code(&e)).with_error_message(None)
        }
        Err(e) => result
            .with_error_code(code(&e))
            .with_error_message(message(&e)),
    }
}
