//! AlterConfigs: replaces everything that is set for a resource (KIP-133).
use kafka_protocol::{
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, alter_configs_request::AlterConfigsResource,
        alter_configs_response::AlterConfigsResourceResponse,
    },
    protocol::StrBytes,
};
use sh_base::{ErrorCode, Failure};
use sh_node::{ConfigResource, config::Changes};

use super::{
    describe_configs::{kind_of, type_of},
    shape::message,
};
use crate::{door::Ctx, errors::code};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let asked = request.resources.into_iter().map(|r| {
        let (kind, name, changes) = (r.resource_type, r.resource_name.clone(), replacement(r));
        (kind, name, Ok(changes))
    });
    let outcomes = alter(ctx, asked.collect(), request.validate_only).await;
    AlterConfigsResponse::default().with_responses(outcomes.into_iter().map(response).collect())
}

fn replacement(resource: AlterConfigsResource) -> Changes {
    let pair = |c: kafka_protocol::messages::alter_configs_request::AlterableConfig| {
        (c.name.to_string(), c.value.map(|v| v.to_string()))
    };
    Changes::Replace(resource.configs.into_iter().map(pair).collect())
}

/// A resource by its number and name, and how it shall change (or why that cannot be understood).
pub type Asked = (i8, StrBytes, Result<Changes, Failure>);
/// A resource, and what became of it.
pub type Outcome = (i8, StrBytes, Result<(), Failure>);

/// Alters what can be understood; the rest is answered with its error. Shared with IncrementalAlterConfigs.
pub async fn alter(ctx: &Ctx, asked: Vec<Asked>, validate_only: bool) -> Vec<Outcome> {
    let (mut good, mut outcomes) = (Vec::new(), Vec::new());
    for (number, name, changes) in asked {
        match (kind_of(number), changes) {
            (Some(kind), Ok(changes)) => {
                good.push((
                    ConfigResource {
                        kind,
                        name: name.to_string(),
                    },
                    changes,
                ));
            }
            (Some(_), Err(e)) => outcomes.push((number, name, Err(e))),
            (None, _) => outcomes.push((number, name, Err(unknown_type(number)))),
        }
    }
    let altered = ctx
        .node()
        .alter_configs(&ctx.caller, good, validate_only)
        .await;
    let outcome = |(resource, altered): (ConfigResource, Result<(), Failure>)| {
        (
            type_of(resource.kind),
            StrBytes::from_string(resource.name),
            altered,
        )
    };
    outcomes.extend(altered.into_iter().map(outcome));
    outcomes
}

fn unknown_type(number: i8) -> Failure {
    Failure::new(
        ErrorCode::InvalidRequest,
        format!("Unknown resource type {number}"),
    )
}

fn response((number, name, altered): Outcome) -> AlterConfigsResourceResponse {
    let response = AlterConfigsResourceResponse::default()
        .with_resource_type(number)
        .with_resource_name(name)
        .with_error_message(None);
    match altered {
        Ok(()) => response,
        Err(e) => response
            .with_error_code(code(&e))
            .with_error_message(message(&e)),
    }
}
