//! GetTelemetrySubscriptions (KIP-714): which of its own metrics a client should push.
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use sh_base::{Failure, batch::Codec};
use sh_node::telemetry::Subscribed;

use super::shape::text;
use crate::{door::Ctx, errors::code};

/// What pushes may be packed with, the best first.
const CODECS: [Codec; 4] = [Codec::Zstd, Codec::Lz4, Codec::Gzip, Codec::Snappy];

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: GetTelemetrySubscriptionsRequest,
) -> GetTelemetrySubscriptionsResponse {
    let (node, client) = (ctx.node(), ctx.software.telemetry());
    let instance = request.client_instance_id;
    let told = node.telemetry_subscription(&ctx.caller, &client, instance);
    response(told.await)
}

fn response(told: Result<Subscribed, Failure>) -> GetTelemetrySubscriptionsResponse {
    let response = GetTelemetrySubscriptionsResponse::default();
    match told {
        Ok(told) => response
            .with_client_instance_id(told.instance)
            .with_subscription_id(told.id)
            .with_accepted_compression_types(CODECS.iter().map(|c| c.id() as i8).collect())
            .with_push_interval_ms(told.interval_ms)
            .with_telemetry_max_bytes(told.bytes_max)
            .with_delta_temporality(true)
            .with_requested_metrics(told.metrics.into_iter().map(text).collect()),
        Err(e) => response.with_error_code(code(&e)),
    }
}
