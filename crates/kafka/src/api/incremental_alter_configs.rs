//! IncrementalAlterConfigs: sets, deletes, appends, subtracts (KIP-339).
use kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    incremental_alter_configs_request::AlterableConfig,
    incremental_alter_configs_response::AlterConfigsResourceResponse,
};
use sh_base::{ErrorCode, Failure};
use sh_node::config::{AlterOp, Changes, ConfigOp};

use super::{
    alter_configs::{Outcome, alter},
    shape::message,
};
use crate::{door::Ctx, errors::code};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.into_iter().map(|r| {
        let ops: Result<Vec<ConfigOp>, Failure> = r.configs.into_iter().map(op).collect();
        (r.resource_type, r.resource_name, ops.map(Changes::Ops))
    });
    let outcomes = alter(ctx, asked.collect(), request.validate_only).await;
    let responses = outcomes.into_iter().map(response).collect();
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn op(config: AlterableConfig) -> Result<ConfigOp, Failure> {
    let op = match config.config_operation {
        0 => AlterOp::Set,
        1 => AlterOp::Delete,
        2 => AlterOp::Append,
        3 => AlterOp::Subtract,
        n => {
            let text = format!("Unknown operation type {n} for config {}", config.name);
            return Err(Failure::new(ErrorCode::InvalidRequest, text));
        }
    };
    Ok(ConfigOp {
        name: config.name.to_string(),
        op,
        value: config.value.map(|v| v.to_string()),
    })
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
