//! EndTxn (KIP-98, KIP-890): commits or aborts. From version 5 on the client speaks transactions of version 2, and is told the
//! producer id and epoch of its next transaction.
use kafka_protocol::messages::{self, EndTxnRequest, EndTxnResponse};
use sh_base::ProducerId;
use sh_node::EndTransaction;

use super::transactions::fenced_before;
use crate::{door::Ctx, errors};

const VERSION2_SINCE: i16 = 5;
const FENCED_SINCE: i16 = 2;

pub async fn handle(ctx: &Ctx, version: i16, request: EndTxnRequest) -> EndTxnResponse {
    let version2 = version >= VERSION2_SINCE;
    let asked = EndTransaction {
        producer: ProducerId(request.producer_id.0),
        epoch: request.producer_epoch,
        commit: request.committed,
        version2,
    };
    let id = &request.transactional_id;
    let ended = ctx.node().end_transaction(&ctx.caller, id, asked).await;
    let response = EndTxnResponse::default();
    match ended {
        Ok((producer, epoch)) if version2 => response
            .with_producer_id(messages::ProducerId(producer.0))
            .with_producer_epoch(epoch),
        Ok(_) => response,
        Err(failure) => {
            response.with_error_code(errors::code(&fenced_before(FENCED_SINCE, version, failure)))
        }
    }
}
