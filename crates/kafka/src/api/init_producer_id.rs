//! InitProducerId (KIP-98, KIP-360) for idempotent producers. Each call gives a new id at epoch 0, as with Apache Kafka: without a
//! transactional id there is nothing by which a former id could be known again.
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use sh_base::{ErrorCode, Failure, ProducerEpoch};

use crate::{door::Ctx, errors};

/// The wire's "none".
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match init(ctx, request).await {
        Ok((id, epoch)) => response
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch),
        Err(failure) => response
            .with_error_code(errors::code(&failure))
            .with_producer_id(ProducerId(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    }
}

async fn init(ctx: &Ctx, request: InitProducerIdRequest) -> Result<(i64, ProducerEpoch), Failure> {
    check(&request)?;
    let (id, epoch) = ctx.node().init_producer_id(&ctx.caller).await?;
    Ok((id.0, epoch))
}

fn check(request: &InitProducerIdRequest) -> Result<(), Failure> {
    if (request.producer_id.0 == NO_ID) != (request.producer_epoch == NO_EPOCH) {
        let text = "producer id and producer epoch come together, or not at all";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    }
    match request.transactional_id.as_ref().map(|id| id.0.as_str()) {
        None => Ok(()),
        Some("") => Err(Failure::new(
            ErrorCode::InvalidRequest,
            "the transactional id is empty",
        )),
        // Clients take this code as final, where the codes of a coordinator make them ask again and again.
        Some(_) => Err(Failure::new(
            ErrorCode::UnsupportedVersion,
            "no transactions are begun here",
        )),
    }
}
