//! UpdateFeatures (KIP-584): what may be turned on and off.
use anyhow::Result;
use kafka_protocol::messages::{UpdateFeaturesRequest, update_features_request::FeatureUpdateKey};

use super::{requests::text, scenarios};
use crate::oracle::Peer;

scenarios! {
    update_features: "levels of features that are asked for",
}

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Nothing here changes anything: what could is only checked.
async fn update_features(peer: &mut Peer) -> Result<()> {
    let cases: &[(&str, i16, i8)] = &[
        ("transaction.version", 2, UPGRADE),
        ("transaction.version", 3, UPGRADE),
        ("transaction.version", 1, UPGRADE),
        ("transaction.version", 1, SAFE_DOWNGRADE),
        ("transaction.version", 0, SAFE_DOWNGRADE),
        ("transaction.version", 1, UNSAFE_DOWNGRADE),
        ("transaction.version", -1, SAFE_DOWNGRADE),
        ("transaction.version", 2, 0),
        ("transaction.version", 2, 9),
        ("group.version", 1, UPGRADE),
        ("group.version", 2, UPGRADE),
        ("group.version", 0, SAFE_DOWNGRADE),
        ("group.version", 0, UPGRADE),
        ("metadata.version", 30, UPGRADE),
        ("metadata.version", 31, UPGRADE),
        ("metadata.version", 29, UPGRADE),
        ("metadata.version", 29, SAFE_DOWNGRADE),
        ("metadata.version", 6, UNSAFE_DOWNGRADE),
        ("metadata.version", 0, SAFE_DOWNGRADE),
        ("no.such.feature", 1, UPGRADE),
        ("no.such.feature", 0, SAFE_DOWNGRADE),
        ("", 1, UPGRADE),
    ];
    let update = |(name, level, kind): (&str, i16, i8)| {
        FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(level)
            .with_upgrade_type(kind)
    };
    let request = |updates: Vec<FeatureUpdateKey>| {
        UpdateFeaturesRequest::default()
            .with_feature_updates(updates)
            .with_timeout_ms(10_000)
    };
    for version in [1, 2] {
        for case in cases {
            let (name, level, kind) = case;
            let what = format!("{name} at {level}, type {kind}, only checked");
            let checked = request(vec![update(*case)]).with_validate_only(true);
            peer.ask(&what, version, &checked).await?;
        }
        let none = request(vec![]);
        peer.ask("nothing", version, &none).await?;
        let same = update(("transaction.version", 2, UPGRADE));
        let twice = request(vec![same.clone(), same.clone()]);
        peer.ask("one twice", version, &twice).await?;
        let bad = update(("no.such.feature", 1, UPGRADE));
        let mixed = request(vec![same.clone(), bad]);
        peer.ask("a good one and a bad one", version, &mixed)
            .await?;
        peer.ask("what is so already", version, &request(vec![same]))
            .await?;
    }
    let down = |allow| {
        let update = FeatureUpdateKey::default()
            .with_feature(text("transaction.version"))
            .with_max_version_level(3)
            .with_allow_downgrade(allow);
        request(vec![update])
    };
    peer.ask("too high", 0, &down(false)).await?;
    peer.ask("too high, downgrade allowed", 0, &down(true))
        .await?;
    Ok(())
}
