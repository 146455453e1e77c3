//! AddOffsetsToTxn (KIP-98): a group becomes part of the transaction.
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use sh_base::ProducerId;

use super::transactions::fenced_before;
use crate::{door::Ctx, errors};

const FENCED_SINCE: i16 = 2;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let producer = (ProducerId(request.producer_id.0), request.producer_epoch);
    let (id, group) = (&request.transactional_id, &request.group_id);
    let added = ctx
        .node()
        .add_group_to_transaction(&ctx.caller, id, producer, group)
        .await;
    let response = AddOffsetsToTxnResponse::default();
    match added {
        Ok(()) => response,
        Err(failure) => {
            response.with_error_code(errors::code(&fenced_before(FENCED_SINCE, version, failure)))
        }
    }
}
