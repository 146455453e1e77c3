//! DescribeQuorum (KIP-595, KIP-836, KIP-853). There is no Raft quorum: the metadata store decides. Tools that ask are shown the
//! agents as voters that are all caught up.
use kafka_protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse,
    describe_quorum_request::TopicData as AskedTopic,
    describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData},
};
use sh_base::{ErrorCode, Failure};
use sh_node::{Agent, Cluster};

use super::shape::{broker, broker_or_none, message, text};
use crate::{door::Ctx, errors::code};

const METADATA_TOPIC: &str = "__cluster_metadata";
/// There is one epoch, and the log of the quorum is shown as one record long.
const EPOCH: i32 = 1;
const LOG_END: i64 = 1;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let cluster = match ctx.node().cluster().await {
        Ok(cluster) => cluster,
        Err(e) => {
            return DescribeQuorumResponse::default()
                .with_error_code(code(&e))
                .with_error_message(message(&e));
        }
    };
    let now_ms = ctx.node().env().wall_ms();
    let known = is_quorum(&request.topics);
    let topic = |t: &AskedTopic| {
        let partitions = t.partitions.iter().map(|p| match known {
            true => quorum(&cluster, now_ms),
            false => unknown(p.partition_index),
        });
        let partitions = partitions.map(|p| match version {
            0 | 1 => p.with_error_message(None),
            _ => p,
        });
        TopicData::default()
            .with_topic_name(t.topic_name.clone())
            .with_partitions(partitions.collect())
    };
    let response = DescribeQuorumResponse::default()
        .with_error_message((version >= 2).then(Default::default))
        .with_topics(request.topics.iter().map(topic).collect());
    match known && version >= 2 {
        true => response.with_nodes(cluster.agents.iter().map(node).collect()),
        false => response,
    }
}

/// The one thing that can be asked for: partition 0 of the metadata topic.
fn is_quorum(topics: &[AskedTopic]) -> bool {
    let is_metadata = |t: &AskedTopic| {
        &*t.topic_name.0 == METADATA_TOPIC && t.partitions.iter().all(|p| p.partition_index == 0)
    };
    !topics.is_empty() && topics.iter().all(is_metadata)
}

fn quorum(cluster: &Cluster, now_ms: i64) -> PartitionData {
    let voter = |agent: &Agent| {
        ReplicaState::default()
            .with_replica_id(broker(agent.id))
            .with_log_end_offset(LOG_END)
            .with_last_fetch_timestamp(now_ms)
            .with_last_caught_up_timestamp(now_ms)
    };
    PartitionData::default()
        .with_error_message(Some(Default::default()))
        .with_leader_id(broker_or_none(cluster.controller()))
        .with_leader_epoch(EPOCH)
        .with_high_watermark(LOG_END)
        .with_current_voters(cluster.agents.iter().map(voter).collect())
}

fn unknown(partition: i32) -> PartitionData {
    let e = Failure::new(
        ErrorCode::UnknownTopicOrPartition,
        "This server does not host this topic-partition.",
    );
    PartitionData::default()
        .with_partition_index(partition)
        .with_error_code(code(&e))
        .with_error_message(message(&e))
}

fn node(agent: &Agent) -> Node {
    let listener = Listener::default()
        .with_name(text("CONTROLLER"))
        .with_host(text(&agent.host))
        .with_port(agent.port);
    Node::default()
        .with_node_id(broker(agent.id))
        .with_listeners(vec![listener])
}
