//! PushTelemetry (KIP-714): a client's own metrics.
use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use sh_base::{ErrorCode, Failure, batch::Codec};
use sh_node::telemetry::Push;

use crate::{door::Ctx, errors::code, otlp};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: PushTelemetryRequest,
) -> PushTelemetryResponse {
    let taken = take(ctx, request).await;
    let outcome = if taken.is_ok() { "taken" } else { "refused" };
    metrics::counter!("streamhouse_client_telemetry_pushes_total", "outcome" => outcome)
        .increment(1);
    let response = PushTelemetryResponse::default();
    match taken {
        Ok(()) => response,
        Err(e) => response.with_error_code(code(&e)),
    }
}

async fn take(ctx: &Ctx, request: PushTelemetryRequest) -> Result<(), Failure> {
    let codec = codec(request.compression_type);
    let push = Push {
        instance: request.client_instance_id,
        subscription: request.subscription_id,
        terminating: request.terminating,
        compression: codec.map(drop).ok_or(request.compression_type),
        bytes: request.metrics.len(),
    };
    let client = ctx.software.telemetry();
    ctx.node().check_push(&ctx.caller, &client, push).await?;
    let Some(codec) = codec.filter(|_| !request.metrics.is_empty()) else {
        return Ok(());
    };
    let samples = otlp::decode(codec, &request.metrics)
        .map_err(|why| Failure::new(ErrorCode::InvalidRecord, why))?;
    ctx.node()
        .record_telemetry(&ctx.caller, push.instance, samples);
    Ok(())
}

fn codec(number: i8) -> Option<Codec> {
    Some(match number {
        0 => Codec::None,
        1 => Codec::Gzip,
        2 => Codec::Snappy,
        3 => Codec::Lz4,
        4 => Codec::Zstd,
        _ => return None,
    })
}
