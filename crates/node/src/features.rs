//! Features of the cluster (KIP-584): what this version can do, and the levels that are on.
use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use sh_base::{ErrorCode, Failure, Org};
use sh_meta::{Change, Key, Row, View};

use crate::{
    Caller, Node, Operation, Resource,
    control::{damaged, put},
    group_configs::configs_of,
};

/// The kind of the one `Key::Config` row (with an empty name) that holds the levels that were set.
const FEATURES_ROW: &str = "features";

/// What can be turned on and off, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

/// Consumer groups on the server (KIP-848) from level 1 on.
pub const GROUP_VERSION: &str = "group.version";
/// A number of Apache Kafka's releases; 7 is 3.3-IV3 and 30 is 4.3-IV0. Tools and Streams read it to learn how modern the cluster is.
const METADATA_VERSION: &str = "metadata.version";
/// Level 2: each transaction has an epoch of its own (KIP-890). Clients read it and choose their flow; both are always served.
const TRANSACTION_VERSION: &str = "transaction.version";

/// By name. A level that was never set is the highest.
pub const FEATURES: [Feature; 3] = [
    Feature {
        name: GROUP_VERSION,
        min: 0,
        max: 1,
    },
    Feature {
        name: METADATA_VERSION,
        min: 7,
        max: 30,
    },
    Feature {
        name: TRANSACTION_VERSION,
        min: 0,
        max: 2,
    },
];

/// How a level may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureMove {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
    /// A way that nobody knows.
    Unknown,
}

/// A level that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    pub name: String,
    pub level: i16,
    pub by: FeatureMove,
}

type Configs = BTreeMap<String, String>;

/// The levels that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLevels {
    /// Grows with every change.
    pub epoch: i64,
    set: BTreeMap<String, i16>,
}

impl FeatureLevels {
    /// As of a version of the row.
    fn of(version: u64, configs: &Configs) -> FeatureLevels {
        let level = |(name, level): (&String, &String)| Some((name.clone(), level.parse().ok()?));
        FeatureLevels {
            epoch: i64::try_from(version).unwrap_or(i64::MAX).saturating_add(1),
            set: configs.iter().filter_map(level).collect(),
        }
    }

    pub fn level(&self, feature: &Feature) -> i16 {
        let set = self.set.get(feature.name).copied();
        set.map_or(feature.max, |level| level.clamp(feature.min, feature.max))
    }
}

/// The levels that were heard of last.
pub(crate) struct KnownFeatures(RwLock<(u64, Arc<FeatureLevels>)>);

impl Default for KnownFeatures {
    fn default() -> Self {
        let none = FeatureLevels::of(0, &Configs::new());
        KnownFeatures(RwLock::new((0, Arc::new(none))))
    }
}

/// Pure: the levels after the updates. One that is refused stops all of them, in Kafka's words; `controller` is the number that
/// they name.
fn updated(old: &Configs, updates: &[FeatureUpdate], controller: u32) -> Result<Configs, Failure> {
    let levels = FeatureLevels::of(0, old);
    let mut new = old.clone();
    for update in updates {
        check(update, &levels, controller).map_err(|why| {
            let all =
                "The update failed for all features since the following feature had an error:";
            Failure::new(ErrorCode::InvalidUpdateVersion, format!("{all} {why}"))
        })?;
        new.insert(update.name.clone(), update.level.to_string());
    }
    Ok(new)
}

fn check(update: &FeatureUpdate, levels: &FeatureLevels, controller: u32) -> Result<(), String> {
    let FeatureUpdate { name, level, by } = update;
    let known = FEATURES.iter().find(|f| f.name == name.as_str());
    let why = match known {
        _ if *by == FeatureMove::Unknown => {
            "The controller does not support the given upgrade type.".to_owned()
        }
        _ if *level < 0 => "A feature version cannot be less than 0.".to_owned(),
        None if *level == 0 => format!("Feature {name} not found."),
        None => format!("Local controller {controller} does not support this feature."),
        Some(f) if !(f.min..=f.max).contains(level) => {
            let Feature { min, max, .. } = f;
            format!("Local controller {controller} only supports versions {min}-{max}")
        }
        Some(f) => return check_move(update, levels.level(f)),
    };
    Err(invalid(update, &why))
}

/// From the level that is on to one that is served.
fn check_move(update: &FeatureUpdate, from: i16) -> Result<(), String> {
    let FeatureUpdate { name, level, by } = update;
    match by {
        FeatureMove::Upgrade if *level < from => Err(invalid(
            update,
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        )),
        FeatureMove::SafeDowngrade | FeatureMove::UnsafeDowngrade if *level > from => {
            Err(invalid(update, "Can't downgrade to a newer version."))
        }
        // What was written at this level may be unknown to the ones before it.
        FeatureMove::SafeDowngrade if *level < from && name == METADATA_VERSION => Err(format!(
            "Unsupported metadata.version downgrade from {from} to {level}. Refusing to perform the requested downgrade because it might delete metadata information."
        )),
        FeatureMove::UnsafeDowngrade if *level < from && name == METADATA_VERSION => Err(format!(
            "Unsupported metadata.version downgrade from {from} to {level}. Unsafe metadata downgrade is not supported in this version."
        )),
        _ => Ok(()),
    }
}

fn invalid(FeatureUpdate { name, level, .. }: &FeatureUpdate, why: &str) -> String {
    format!("Invalid update version {level} for feature {name}. {why}")
}

fn features_key() -> Key {
    Key::Config(Org::default(), FEATURES_ROW.into(), String::new())
}

impl Node {
    /// The levels that are on, as of what this agent has heard.
    pub fn features(&self) -> Arc<FeatureLevels> {
        self.0.features.0.read().1.clone()
    }

    /// May groups of KIP-848 be used? (`group.version`)
    pub fn has_consumer_groups(&self) -> bool {
        let group = FEATURES.iter().find(|f| f.name == GROUP_VERSION);
        group.is_some_and(|group| self.features().level(group) > 0)
    }

    /// UpdateFeatures: all of the updates, or none. With `validate_only` they are only checked.
    ///
    /// Errors: `InvalidUpdateVersion`.
    pub async fn update_features(
        &self,
        caller: &Caller,
        updates: Vec<FeatureUpdate>,
        validate_only: bool,
    ) -> Result<(), Failure> {
        self.authorize(caller, Operation::Alter, Resource::Cluster)?;
        let (key, controller) = (features_key(), self.agent().0);
        if validate_only {
            let row = self.row(key).await?;
            return updated(&configs_of(&row)?, &updates, controller).map(drop);
        }
        self.try_change(vec![key.clone()], move |view: &View| {
            let old = configs_of(view.row(&key))?;
            let new = updated(&old, &updates, controller)?;
            if new == old {
                return Ok(vec![]);
            }
            let value = serde_json::to_vec(&new).map_err(|e| damaged("feature levels", e))?;
            Ok(vec![put(key.clone(), value)])
        })
        .await
    }

    /// Takes in levels that were set.
    pub(crate) fn hear_features(&self, change: &Change) {
        if change.key != features_key() {
            return;
        }
        let row = Row {
            value: change.value.clone(),
            version: change.version,
        };
        let mut known = self.0.features.0.write();
        match configs_of(&row) {
            Ok(_) if change.version <= known.0 => {}
            Ok(configs) => {
                let levels = FeatureLevels::of(change.version, &configs);
                *known = (change.version, Arc::new(levels));
            }
            Err(error) => {
                tracing::error!(%error, "feature levels were changed, but not to anything readable");
            }
        }
    }

    /// Reads the levels that were set; see [`Node::load_configs`].
    pub(crate) async fn load_features(&self) -> Result<(), Failure> {
        let key = features_key();
        let Row { value, version } = self.row(key.clone()).await?;
        self.hear_features(&Change {
            key,
            value,
            version,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str, level: i16, by: FeatureMove) -> FeatureUpdate {
        FeatureUpdate {
            name: name.into(),
            level,
            by,
        }
    }

    #[test]
    fn a_level_that_was_never_set_is_the_highest_and_may_go_down_and_up() {
        use FeatureMove::{SafeDowngrade, Upgrade};
        let none = Configs::new();
        let group = &FEATURES[0];
        assert_eq!(FeatureLevels::of(0, &none).level(group), 1);
        let down = updated(&none, &[update(GROUP_VERSION, 0, SafeDowngrade)], 0).unwrap();
        assert_eq!(FeatureLevels::of(1, &down).level(group), 0);
        let up = updated(&down, &[update(GROUP_VERSION, 1, Upgrade)], 0).unwrap();
        assert_eq!(FeatureLevels::of(2, &up).level(group), 1);
        assert_eq!(FeatureLevels::of(2, &up).epoch, 3);
    }

    #[test]
    fn one_that_is_refused_stops_all_in_kafkas_words() {
        use FeatureMove::{SafeDowngrade, Unknown, UnsafeDowngrade, Upgrade};
        let good = update(TRANSACTION_VERSION, 1, SafeDowngrade);
        let cases = [
            ("no.such", 1, Upgrade, "does not support this feature."),
            ("no.such", 0, SafeDowngrade, "Feature no.such not found."),
            (
                GROUP_VERSION,
                2,
                Upgrade,
                "Local controller 7 only supports versions 0-1",
            ),
            (
                GROUP_VERSION,
                0,
                Upgrade,
                "without setting the upgrade type",
            ),
            (GROUP_VERSION, -1, Upgrade, "cannot be less than 0."),
            (
                GROUP_VERSION,
                1,
                Unknown,
                "does not support the given upgrade type.",
            ),
            (
                METADATA_VERSION,
                29,
                SafeDowngrade,
                "might delete metadata information.",
            ),
            (
                METADATA_VERSION,
                29,
                UnsafeDowngrade,
                "is not supported in this version.",
            ),
        ];
        for (name, level, by, words) in cases {
            let refused = updated(&Configs::new(), &[good.clone(), update(name, level, by)], 7);
            let failure = refused.unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidUpdateVersion);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }
}
