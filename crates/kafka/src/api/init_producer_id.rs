//! InitProducerId (KIP-98, KIP-360). Without a transactional id each call gives a new id at epoch 0, as with Apache Kafka: there
//! is nothing by which a former id could be known again. With one, the session before is fenced.
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use sh_base::{ErrorCode, Failure, ProducerEpoch};

use super::transactions::fenced_before;
use crate::{door::Ctx, errors};

/// The wire's "none".
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;
/// PRODUCER_FENCED came with this version (KIP-588).
const FENCED_SINCE: i16 = 4;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match init(ctx, request).await {
        Ok((id, epoch)) => response
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch),
        Err(failure) => response
            .with_error_code(errors::code(&fenced_before(FENCED_SINCE, version, failure)))
            .with_producer_id(ProducerId(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    }
}

async fn init(ctx: &Ctx, request: InitProducerIdRequest) -> Result<(i64, ProducerEpoch), Failure> {
    let (id, epoch) = (request.producer_id.0, request.producer_epoch);
    if (id == NO_ID) != (epoch == NO_EPOCH) {
        let text = "producer id and producer epoch come together, or not at all";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    }
    let expected = (id != NO_ID).then_some((sh_base::ProducerId(id), epoch));
    let node = ctx.node();
    let begun = match &request.transactional_id {
        None => node.init_producer_id(&ctx.caller).await?,
        Some(transactional_id) => {
            let timeout_ms = request.transaction_timeout_ms;
            node.init_transactional_id(&ctx.caller, transactional_id, timeout_ms, expected)
                .await?
        }
    };
    Ok((begun.0.0, begun.1))
}
