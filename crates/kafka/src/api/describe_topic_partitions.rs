//! DescribeTopicPartitions (KIP-966): topics in pages of partitions.
use std::collections::BTreeSet;

use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    describe_topic_partitions_response::{
        Cursor, DescribeTopicPartitionsResponsePartition as Partition,
        DescribeTopicPartitionsResponseTopic as Topic,
    },
};
use sh_base::{ErrorCode, Failure};
use sh_node::{Cluster, TopicChoice, TopicView, topics::is_internal};

use super::{
    metadata::topic_operations,
    shape::{NO_OPERATIONS, broker, broker_or_none, topic_name},
};
use crate::{door::Ctx, errors::code};

/// The most partitions of one page, as with Kafka (`max.request.partition.size.limit`).
const PAGE_MAX: i32 = 2_000;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    if !points_into_the_request(&request) {
        return all_failed(&request, &ErrorCode::InvalidRequest.into());
    }
    match describe(ctx, &request).await {
        Ok(response) => response,
        Err(e) => all_failed(&request, &e),
    }
}

async fn describe(
    ctx: &Ctx,
    request: &DescribeTopicPartitionsRequest,
) -> Result<DescribeTopicPartitionsResponse, Failure> {
    let cluster = ctx.node().cluster().await?;
    let names = names(ctx, request).await?;
    Ok(page(ctx, &cluster, request, names).await)
}

/// A cursor stands at one of the topics that are asked for.
fn points_into_the_request(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else {
        return true;
    };
    let asked = request.topics.iter().any(|t| t.name == cursor.topic_name);
    cursor.partition_index >= 0 && (asked || request.topics.is_empty())
}

/// The names that are asked for (none: all), from the cursor on, sorted.
async fn names(
    ctx: &Ctx,
    request: &DescribeTopicPartitionsRequest,
) -> Result<BTreeSet<String>, Failure> {
    let from = request.cursor.as_ref().map_or("", |c| &*c.topic_name.0);
    let mut names: BTreeSet<String> = request.topics.iter().map(|t| t.name.to_string()).collect();
    if names.is_empty() {
        let topics = ctx.node().topics().list(&ctx.caller.org).await?;
        names = topics.iter().map(|t| t.name.to_string()).collect();
    }
    names.retain(|name| name.as_str() >= from);
    Ok(names)
}

async fn page(
    ctx: &Ctx,
    cluster: &Cluster,
    request: &DescribeTopicPartitionsRequest,
    names: BTreeSet<String>,
) -> DescribeTopicPartitionsResponse {
    let limit = request.response_partition_limit.clamp(1, PAGE_MAX);
    let mut room = limit;
    let mut topics = Vec::new();
    for name in names {
        if room == 0 {
            return response(topics, Some((&name, 0)));
        }
        let choice = TopicChoice::Name(name.clone());
        let mut found = ctx.node().view_topics(&ctx.caller, &[choice], false).await;
        let first = match &request.cursor {
            Some(c) if *c.topic_name.0 == *name => c.partition_index,
            _ => 0,
        };
        let view = match found
            .pop()
            .unwrap_or_else(|| Err(ErrorCode::Internal.into()))
        {
            Ok(view) => view,
            Err(e) => {
                topics.push(failed(&name, &e, topic_operations(ctx, Some(&name))));
                continue;
            }
        };
        let last = view.topic.partitions.min(first.saturating_add(room));
        room -= (last - first).max(0);
        let partitions = (first..last)
            .map(|p| partition(ctx, cluster, &view, p))
            .collect();
        topics.push(described(ctx, &view).with_partitions(partitions));
        if last < view.topic.partitions {
            return response(topics, Some((&name, last)));
        }
    }
    response(topics, None)
}

fn response(topics: Vec<Topic>, next: Option<(&str, i32)>) -> DescribeTopicPartitionsResponse {
    let cursor = next.map(|(name, partition)| {
        Cursor::default()
            .with_topic_name(topic_name(name))
            .with_partition_index(partition)
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics)
        .with_next_cursor(cursor)
}

fn described(ctx: &Ctx, view: &TopicView) -> Topic {
    let name = view.topic.name.as_str();
    Topic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(view.topic.id.0)
        .with_is_internal(view.internal)
        .with_topic_authorized_operations(topic_operations(ctx, Some(name)))
}

fn partition(ctx: &Ctx, cluster: &Cluster, view: &TopicView, index: i32) -> Partition {
    let leader = cluster.leader(view.topic.partition(index), ctx.caller.zone());
    let replicas: Vec<_> = leader.map(broker).into_iter().collect();
    let epoch = usize::try_from(index)
        .ok()
        .and_then(|i| view.leader_epochs.get(i));
    Partition::default()
        .with_partition_index(index)
        .with_leader_id(broker_or_none(leader))
        .with_leader_epoch(epoch.copied().unwrap_or_default())
        .with_replica_nodes(replicas.clone())
        .with_isr_nodes(replicas)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn failed(name: &str, e: &Failure, operations: i32) -> Topic {
    Topic::default()
        .with_error_code(code(e))
        .with_name(Some(topic_name(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(operations)
}

fn all_failed(
    request: &DescribeTopicPartitionsRequest,
    e: &Failure,
) -> DescribeTopicPartitionsResponse {
    let topics = request
        .topics
        .iter()
        .map(|t| failed(&t.name.0, e, NO_OPERATIONS));
    response(topics.collect(), None)
}
