//! ApiVersions (KIP-35, KIP-511, KIP-584): what is spoken here.
//!
//! The header of its answer is version 0 at every version, because the client does not know yet what we speak. An unknown version
//! gets a version-0 answer with the versions of ApiVersions itself.
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, ApiVersionsResponse,
        api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    },
    protocol::{Request, StrBytes},
};
use sh_base::ErrorCode;
use sh_wire::{RequestHeader, encode_response};

use super::served;
use crate::{door::Ctx, errors::code_of, frames::Closing};

/// A feature of the cluster (KIP-584): what we can do, and the level that is on.
struct Feature {
    name: &'static str,
    min: i16,
    max: i16,
    level: i16,
}

/// `metadata.version` is a number of Apache Kafka's releases; 7 is 3.3-IV3 and 30 is 4.3-IV0. Tools and Streams read it to learn how
/// modern the cluster is. The features of groups and transactions come with them.
const FEATURES: &[Feature] = &[
    Feature {
        name: "metadata.version",
        min: 7,
        max: 30,
        level: 30,
    },
    // Level 2: each transaction has an epoch of its own (KIP-890).
    Feature {
        name: "transaction.version",
        min: 0,
        max: 2,
        level: 2,
    },
];

pub async fn handle(_ctx: &Ctx, version: i16, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if version >= 3 && !names_are_legal(&request) {
        return ApiVersionsResponse::default().with_error_code(code_of(ErrorCode::InvalidRequest));
    }
    let response = ApiVersionsResponse::default().with_api_keys(api_keys());
    if version < 3 {
        response
    } else {
        with_features(response)
    }
}

/// The answer to a version that nobody speaks here.
pub fn downgrade(header: &RequestHeader) -> Result<Vec<Bytes>, Closing> {
    let own = api_keys()
        .into_iter()
        .filter(|api| api.api_key == ApiVersionsRequest::KEY);
    let response = ApiVersionsResponse::default()
        .with_error_code(code_of(ErrorCode::UnsupportedVersion))
        .with_api_keys(own.collect());
    Ok(vec![encode_response(header.correlation_id, 0, &response)?])
}

/// KIP-511: letters and digits, with dots and dashes inside.
fn names_are_legal(request: &ApiVersionsRequest) -> bool {
    [
        &request.client_software_name,
        &request.client_software_version,
    ]
    .into_iter()
    .all(|name| {
        let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        alphanumeric(bytes.first()) && alphanumeric(bytes.last()) && bytes.iter().all(legal)
    })
}

fn api_keys() -> Vec<ApiVersion> {
    let entry = |api: super::Api| {
        ApiVersion::default()
            .with_api_key(api.key)
            .with_min_version(api.min)
            .with_max_version(api.max)
    };
    served().into_iter().map(entry).collect()
}

fn with_features(response: ApiVersionsResponse) -> ApiVersionsResponse {
    let supported = |f: &Feature| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(f.name))
            .with_min_version(f.min)
            .with_max_version(f.max)
    };
    let finalized = |f: &Feature| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(f.name))
            .with_min_version_level(f.level)
            .with_max_version_level(f.level)
    };
    response
        .with_supported_features(FEATURES.iter().map(supported).collect())
        .with_finalized_features_epoch(1)
        .with_finalized_features(FEATURES.iter().map(finalized).collect())
}
