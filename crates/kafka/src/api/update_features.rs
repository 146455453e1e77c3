//! UpdateFeatures (KIP-584, KIP-1022): turns features of the cluster on and off.
use kafka_protocol::messages::{
    UpdateFeaturesRequest, UpdateFeaturesResponse, update_features_request::FeatureUpdateKey,
    update_features_response::UpdatableFeatureResult,
};
use sh_node::features::{FeatureMove, FeatureUpdate};

use super::shape::{message, text};
use crate::{door::Ctx, errors::code};

/// The first version that says how a level may move, rather than whether it may go down.
const SAYS_HOW: i16 = 1;
/// The first version that is answered for all features together.
const ANSWERED_TOGETHER: i16 = 2;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let asked = request.feature_updates;
    let updates = asked.iter().map(|asked| update(version, asked)).collect();
    let outcome = ctx
        .node()
        .update_features(&ctx.caller, updates, request.validate_only)
        .await;
    let response = UpdateFeaturesResponse::default();
    match outcome {
        Err(e) => response
            .with_error_code(code(&e))
            .with_error_message(message(&e)),
        Ok(()) if version >= ANSWERED_TOGETHER => response.with_error_message(None),
        Ok(()) => response
            .with_error_message(None)
            .with_results(asked.iter().map(done).collect()),
    }
}

fn update(version: i16, asked: &FeatureUpdateKey) -> FeatureUpdate {
    let by = match (
        version >= SAYS_HOW,
        asked.allow_downgrade,
        asked.upgrade_type,
    ) {
        (false, false, _) | (true, _, 1) => FeatureMove::Upgrade,
        (false, true, _) | (true, _, 2) => FeatureMove::SafeDowngrade,
        (true, _, 3) => FeatureMove::UnsafeDowngrade,
        _ => FeatureMove::Unknown,
    };
    FeatureUpdate {
        name: asked.feature.to_string(),
        level: asked.max_version_level,
        by,
    }
}

/// Kafka says "NONE" where nothing is wrong.
fn done(asked: &FeatureUpdateKey) -> UpdatableFeatureResult {
    UpdatableFeatureResult::default()
        .with_feature(asked.feature.clone())
        .with_error_message(Some(text("NONE")))
}
