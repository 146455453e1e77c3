//! DescribeCluster (KIP-700, KIP-919, KIP-1073).
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse,
    describe_cluster_response::DescribeClusterBroker,
};
use sh_node::{Agent, Resource};

use super::shape::{NO_OPERATIONS, broker, broker_or_none, message, operation_bits, text};
use crate::{door::Ctx, errors::code};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    match request.endpoint_type {
        BROKERS => describe(ctx, &request).await,
        CONTROLLERS => refused(
            MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        other => refused(
            UNSUPPORTED_ENDPOINT_TYPE,
            &format!("Unsupported endpoint type {other}"),
        ),
    }
}

async fn describe(ctx: &Ctx, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let node = ctx.node();
    let cluster = match node.cluster().await {
        Ok(cluster) => cluster,
        Err(e) => {
            return empty()
                .with_error_code(code(&e))
                .with_error_message(message(&e));
        }
    };
    let operations = match request.include_cluster_authorized_operations {
        true => operation_bits(node, &ctx.caller, Resource::Cluster),
        false => NO_OPERATIONS,
    };
    DescribeClusterResponse::default()
        .with_error_message(None)
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&cluster.id))
        .with_controller_id(broker_or_none(cluster.controller()))
        .with_brokers(cluster.agents.iter().map(describe_broker).collect())
        .with_cluster_authorized_operations(operations)
}

fn describe_broker(agent: &Agent) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(broker(agent.id))
        .with_host(text(&agent.host))
        .with_port(i32::from(agent.port))
        .with_rack(agent.zone.as_ref().map(text))
}

fn empty() -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_controller_id(BrokerId(-1))
        .with_cluster_authorized_operations(NO_OPERATIONS)
}

fn refused(error_code: i16, why: &str) -> DescribeClusterResponse {
    empty()
        .with_error_code(error_code)
        .with_error_message(Some(text(why)))
}
