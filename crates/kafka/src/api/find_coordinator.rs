//! FindCoordinator (KIP-699): the agent that groups and transactional ids are looked after by.
use kafka_protocol::{
    messages::{
        BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
        find_coordinator_response::Coordinator,
    },
    protocol::StrBytes,
};
use sh_base::{ErrorCode, Failure};
use sh_node::{Agent, CoordinatorKind};

use super::names;
use crate::{
    door::Ctx,
    errors::{self, NONE},
};

/// Many keys in one request.
const BATCHED_SINCE: i16 = 4;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    if version >= BATCHED_SINCE {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            coordinators.push(coordinator(ctx, request.key_type, key).await);
        }
        return response.with_coordinators(coordinators);
    }
    let found = coordinator(ctx, request.key_type, request.key).await;
    let message = match found.error_code {
        NONE => Some(StrBytes::from_static_str("NONE")),
        _ => found.error_message,
    };
    response
        .with_error_code(found.error_code)
        .with_error_message(message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

async fn coordinator(ctx: &Ctx, kind: i8, key: StrBytes) -> Coordinator {
    let found = find(ctx, kind, &key).await;
    let answer = Coordinator::default().with_key(key);
    match found {
        Ok(agent) => answer
            .with_error_message(None)
            .with_node_id(BrokerId(agent.id.0 as i32))
            .with_host(StrBytes::from_string(agent.host))
            .with_port(agent.port.into()),
        Err(failure) => answer
            .with_error_code(errors::code(&failure))
            .with_error_message(names::message(failure.message))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

async fn find(ctx: &Ctx, kind: i8, key: &str) -> Result<Agent, Failure> {
    let kind = match kind {
        0 => CoordinatorKind::Group,
        1 => CoordinatorKind::Transaction,
        _ => {
            let text = format!(
                "there are coordinators of groups (0) and transactions (1), not of kind {kind}"
            );
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
    };
    ctx.node().coordinator(&ctx.caller, kind, key).await
}
