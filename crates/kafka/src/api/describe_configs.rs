//! DescribeConfigs (KIP-133, KIP-226, KIP-569).
use kafka_protocol::{
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
    },
    protocol::StrBytes,
};
use sh_base::{ErrorCode, Failure};
use sh_node::{
    ConfigResource, ResourceKind,
    config::{ConfigEntry, Kind, Synonym},
};

use super::shape::text;
use crate::{door::Ctx, errors::code};

/// What Kafka says of a request that it does not understand.
const MALFORMED: &str = "This most likely occurs because of a request being malformed by the client library or \
    the message was sent to an incompatible broker. See the broker logs for more details.";

/// Which of the optional parts of an answer were asked for.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

/// The kind of a resource by its number in the protocol.
pub fn kind_of(resource_type: i8) -> Option<ResourceKind> {
    Some(match resource_type {
        2 => ResourceKind::Topic,
        4 => ResourceKind::Broker,
        8 => ResourceKind::BrokerLogger,
        16 => ResourceKind::ClientMetrics,
        32 => ResourceKind::Group,
        _ => return None,
    })
}

/// The number of a kind of resource in the protocol.
pub fn type_of(kind: ResourceKind) -> i8 {
    match kind {
        ResourceKind::Topic => 2,
        ResourceKind::Broker => 4,
        ResourceKind::BrokerLogger => 8,
        ResourceKind::ClientMetrics => 16,
        ResourceKind::Group => 32,
    }
}

/// One resource of an unknown type spoils the whole request, as with Kafka.
pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail = Detail {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let malformed = request
        .resources
        .iter()
        .any(|r| kind_of(r.resource_type).is_none());
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let described = match malformed {
            true => Err(Failure::new(ErrorCode::InvalidRequest, MALFORMED)),
            false => describe(ctx, &resource).await,
        };
        results.push(result(resource, described, detail));
    }
    DescribeConfigsResponse::default().with_results(results)
}

async fn describe(
    ctx: &Ctx,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, Failure> {
    let kind = kind_of(resource.resource_type)
        .ok_or_else(|| Failure::new(ErrorCode::InvalidRequest, MALFORMED))?;
    let name = resource.resource_name.to_string();
    let names: Option<Vec<String>> = resource
        .configuration_keys
        .as_ref()
        .map(|keys| keys.iter().map(|key| key.to_string()).collect());
    let resource = ConfigResource { kind, name };
    ctx.node()
        .describe_configs(&ctx.caller, &resource, names.as_deref())
        .await
}

fn result(
    resource: DescribeConfigsResource,
    described: Result<Vec<ConfigEntry>, Failure>,
    detail: Detail,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name)
        .with_error_message(Some(StrBytes::default()));
    match described {
        Ok(entries) => {
            result.with_configs(entries.into_iter().map(|e| config(e, detail)).collect())
        }
        // Kafka says nothing more about a topic that it does not know.
        Err(e) if e.code == ErrorCode::UnknownTopicOrPartition => result.with_error_code(code(&e)),
        Err(e) => result
            .with_error_code(code(&e))
            .with_error_message(Some(text(&e.message))),
    }
}

fn config(entry: ConfigEntry, detail: Detail) -> DescribeConfigsResourceResult {
    let synonyms = if detail.synonyms {
        entry.synonyms
    } else {
        Vec::new()
    };
    // A logger's documentation is empty, whether it was asked for or not.
    let shown = |doc: &&str| detail.documentation || doc.is_empty();
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_is_sensitive(entry.sensitive)
        .with_synonyms(synonyms.into_iter().map(synonym).collect())
        .with_config_type(entry.kind.map_or(0, number_of))
        .with_documentation(entry.doc.filter(shown).map(StrBytes::from_static_str))
}

fn synonym(s: Synonym) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(text(s.name))
        .with_value(s.value.map(text))
        .with_source(s.source as i8)
}

/// Kafka's number of a type (KIP-569).
fn number_of(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}
