//! ListConfigResources (KIP-1142). Version 0 lists client metrics only, of which there are none.
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

const CLIENT_METRICS: i8 = 16;
/// Kinds that are listed, in Kafka's order.
const KINDS: [ResourceKind; 4] = [
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
    let known = |t: &i8| kind_of(*t).is_some() || *t == CLIENT_METRICS;
    if !types.iter().all(known) {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let mut listed = Vec::new();
    let wanted = |kind| version > 0 && (types.is_empty() || types.contains(&type_of(kind)));
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
