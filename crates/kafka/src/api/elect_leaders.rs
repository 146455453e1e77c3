//! ElectLeaders (KIP-183, KIP-460). Any agent serves any partition: there is never an election to hold.
use kafka_protocol::messages::{
    ElectLeadersRequest, ElectLeadersResponse,
    elect_leaders_request::TopicPartitions,
    elect_leaders_response::{PartitionResult, ReplicaElectionResult},
};
use sh_base::{ErrorCode, Failure};
use sh_node::TopicChoice;

use super::shape::{message, topic_name};
use crate::{door::Ctx, errors::code};

/// Preferred and unclean.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let unknown_type = (!ELECTION_TYPES.contains(&request.election_type)).then(|| {
        let text = format!("Unknown election type {}", request.election_type);
        Failure::new(ErrorCode::InvalidRequest, text)
    });
    match (request.topic_partitions, unknown_type) {
        (Some(topics), _) if topics.is_empty() => ElectLeadersResponse::default(),
        (topics, Some(e)) => refused(topics.unwrap_or_default(), &e),
        (Some(topics), None) => some(ctx, topics).await,
        (None, None) => all(ctx).await,
    }
}

fn refused(topics: Vec<TopicPartitions>, e: &Failure) -> ElectLeadersResponse {
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| result(*p, e)).collect();
        ReplicaElectionResult::default()
            .with_topic(topic.topic)
            .with_partition_result(partitions)
    });
    ElectLeadersResponse::default()
        .with_error_code(code(e))
        .with_replica_election_results(results.collect())
}

async fn some(ctx: &Ctx, topics: Vec<TopicPartitions>) -> ElectLeadersResponse {
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        let partitions = elect(ctx, &topic.topic.to_string(), &topic.partitions).await;
        results.push(
            ReplicaElectionResult::default()
                .with_topic(topic.topic)
                .with_partition_result(partitions),
        );
    }
    ElectLeadersResponse::default().with_replica_election_results(results)
}

/// Partitions that need no election are left out of this answer: that is all of them.
async fn all(ctx: &Ctx) -> ElectLeadersResponse {
    match ctx.node().topics().list(&ctx.caller.org).await {
        Err(e) => ElectLeadersResponse::default().with_error_code(code(&e)),
        Ok(topics) => {
            let result = topics.iter().map(|topic| {
                ReplicaElectionResult::default().with_topic(topic_name(topic.name.as_str()))
            });
            ElectLeadersResponse::default().with_replica_election_results(result.collect())
        }
    }
}

async fn elect(ctx: &Ctx, name: &str, partitions: &[i32]) -> Vec<PartitionResult> {
    let found = ctx
        .node()
        .topic(&ctx.caller, &TopicChoice::Name(name.into()))
        .await;
    let outcome = |partition: i32| match &found {
        Ok(topic) if topic.has(partition) => Failure::new(
            ErrorCode::ElectionNotNeeded,
            "Leader election not needed for topic partition.",
        ),
        Ok(_) => unknown(format!("No such partition as {name}-{partition}")),
        Err(e) if e.code == ErrorCode::StorageUnavailable => e.clone(),
        Err(_) => unknown(format!("No such topic as {name}")),
    };
    partitions
        .iter()
        .map(|p| result(*p, &outcome(*p)))
        .collect()
}

fn unknown(text: String) -> Failure {
    Failure::new(ErrorCode::UnknownTopicOrPartition, text)
}

fn result(partition: i32, e: &Failure) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(partition)
        .with_error_code(code(e))
        .with_error_message(message(e))
}
