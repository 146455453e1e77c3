//! ListConfigResources (KIP-1142). Version 0 lists subscriptions to metrics of clients only.
use kafka_protocol::messages::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
    list_config_resources_response::ConfigResource,
};
use sh_base::{ErrorCode, Failure};
use sh_node::ResourceKind;

use super::{
    describe_configs::{kind_of, type_of},
    shape::text,
};
use crate::{door::Ctx, errors::code};

/// Kinds that are listed, in Kafka's order.
const KINDS: [ResourceKind; 5] = [
    ResourceKind::ClientMetrics,
    ResourceKind::Group,
    ResourceKind::BrokerLogger,
    ResourceKind::Broker,
    ResourceKind::Topic,
];

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let response = ListConfigResourcesResponse::default();
    match list(ctx, version, &request.resource_types).await {
        Ok(resources) => response.with_config_resources(resources),
        Err(e) => response.with_error_code(code(&e)),
    }
}

/// No types: all of them.
async fn list(ctx: &Ctx, version: i16, types: &[i8]) -> Result<Vec<ConfigResource>, Failure> {
    if types.iter().any(|t| kind_of(*t).is_none()) {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let mut listed = Vec::new();
    let wanted = |kind| match version {
        0 => kind == ResourceKind::ClientMetrics,
        _ => types.is_empty() || types.contains(&type_of(kind)),
    };
    for kind in KINDS.into_iter().filter(|kind| wanted(*kind)) {
        let resources = ctx.node().list_config_resources(&ctx.caller, kind).await?;
        listed.extend(resources.into_iter().map(|r| {
            ConfigResource::default()
                .with_resource_name(text(r.name))
                .with_resource_type(type_of(r.kind))
        }));
    }
    Ok(listed)
}
