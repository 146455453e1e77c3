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
use sh_node::features::{FEATURES, Feature, FeatureLevels};
use sh_wire::{RequestHeader, encode_response};

use super::served;
use crate::{door::Ctx, errors::code_of, frames::Closing};

pub async fn handle(ctx: &Ctx, version: i16, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if version >= 3 && !names_are_legal(&request) {
        return ApiVersionsResponse::default().with_error_code(code_of(ErrorCode::InvalidRequest));
    }
    let response = ApiVersionsResponse::default().with_api_keys(api_keys());
    if version < 3 {
        response
    } else {
        ctx.software.says(
            &request.client_software_name,
            &request.client_software_version,
        );
        with_features(response, version, &ctx.node().features())
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

/// The first version whose readers can do with a feature that may be off.
const FROM_ZERO: i16 = 4;

fn with_features(
    response: ApiVersionsResponse,
    version: i16,
    levels: &FeatureLevels,
) -> ApiVersionsResponse {
    let supported = |f: &Feature| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(f.name))
            .with_min_version(f.min)
            .with_max_version(f.max)
    };
    // A feature at level 0 is off, and not told.
    let finalized = |f: &Feature| {
        let level = levels.level(f);
        (level > 0).then(|| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(f.name))
                .with_min_version_level(level)
                .with_max_version_level(level)
        })
    };
    let shown = FEATURES
        .iter()
        .filter(|f| version >= FROM_ZERO || f.min > 0);
    response
        .with_supported_features(shown.map(supported).collect())
        .with_finalized_features_epoch(levels.epoch)
        .with_finalized_features(FEATURES.iter().filter_map(finalized).collect())
}
