//! FindCoordinator (KIP-699): which agent a group or a transactional id is asked for; several at once from version 4 on.
use kafka_protocol::{
    messages::{
        BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
        find_coordinator_response::Coordinator,
    },
    protocol::StrBytes,
};
use sh_base::{ErrorCode, Failure};
use sh_node::{Agent, CoordinatorKind};

use super::shape::{broker, text};
use crate::{door::Ctx, errors};

/// The first version that asks for several.
const SEVERAL: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// Kafka's words for INVALID_REQUEST.
const MALFORMED: &str = "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let kind = kind_of(version, request.key_type);
    if version < SEVERAL {
        return one(version, find(ctx, &kind, &request.key).await);
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let found = find(ctx, &kind, &key).await;
        coordinators.push(one_of_several(key, found));
    }
    FindCoordinatorResponse::default()
        .with_error_message(Some(text("")))
        .with_coordinators(coordinators)
}

/// What is coordinated. Share groups have no coordinator here; a batch that asks for theirs is told without a sentence.
fn kind_of(version: i16, key_type: i8) -> Result<CoordinatorKind, Failure> {
    match key_type {
        GROUP => Ok(CoordinatorKind::Group),
        TRANSACTION => Ok(CoordinatorKind::Transaction),
        SHARE if version >= SEVERAL => Err(ErrorCode::InvalidRequest.into()),
        _ => Err(Failure::new(ErrorCode::InvalidRequest, MALFORMED)),
    }
}

async fn find(
    ctx: &Ctx,
    kind: &Result<CoordinatorKind, Failure>,
    key: &StrBytes,
) -> Result<Agent, Failure> {
    let kind = kind.clone()?;
    ctx.node().coordinator(&ctx.caller, kind, key).await
}

fn one(version: i16, found: Result<Agent, Failure>) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(agent) => response
            // Version 0 has no message; after that Kafka says "NONE" where nothing is wrong.
            .with_error_message(Some(text(if version == 0 { "" } else { "NONE" })))
            .with_node_id(broker(agent.id))
            .with_host(text(agent.host))
            .with_port(i32::from(agent.port)),
        Err(failure) => response
            .with_error_code(errors::code(&failure))
            .with_error_message(Some(text(failure.message)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn one_of_several(key: StrBytes, found: Result<Agent, Failure>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match found {
        Ok(agent) => coordinator
            .with_error_message(Some(text("")))
            .with_node_id(broker(agent.id))
            .with_host(text(agent.host))
            .with_port(i32::from(agent.port)),
        Err(failure) => coordinator
            .with_error_code(errors::code(&failure))
            .with_error_message(Some(text(failure.message)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}
