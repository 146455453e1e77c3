//! The subscriptions of each org, as of what this agent has heard.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::RwLock;
use regex::Regex;
use sh_base::{Failure, Org};
use sh_meta::{Change, Key, KeyRange, Row};

use crate::{
    Node,
    client_metrics_configs::SUBSCRIPTIONS_MAX,
    config::{
        CLIENT_METRICS,
        client_metrics::{
            INTERVAL_MS_DEFAULT, MATCH, METRICS, Selector, interval_ms, list, pattern,
        },
    },
    control::storage,
    group_configs::configs_of,
};

/// Asks for every metric.
const ALL: &str = "*";

#[derive(Default)]
pub(super) struct Subscriptions(RwLock<State>);

#[derive(Default)]
struct State {
    orgs: HashMap<Org, OfOrg>,
}

/// Those of one org. Changes are heard before the store is read and after; the newest version of each counts.
#[derive(Default)]
struct OfOrg {
    read: bool,
    /// Grows with each change: what was told to clients before is no longer so.
    version: u64,
    named: BTreeMap<String, (u64, Option<Subscription>)>,
}

struct Subscription {
    metrics: Vec<String>,
    interval_ms: i32,
    patterns: Vec<(Selector, Regex)>,
}

impl Subscription {
    /// `None` where nothing is set: there is no such subscription.
    fn of(configs: &BTreeMap<String, String>) -> Option<Subscription> {
        if configs.is_empty() {
            return None;
        }
        // Of several expressions for one selector the last counts, as with Kafka.
        let patterns: BTreeMap<Selector, Regex> = list(configs, MATCH)
            .filter_map(|element| pattern(element).ok())
            .collect();
        Some(Subscription {
            metrics: list(configs, METRICS).map(str::to_owned).collect(),
            interval_ms: interval_ms(configs),
            patterns: patterns.into_iter().collect(),
        })
    }
}

impl Subscriptions {
    /// Takes in a change of a subscription, in any order.
    pub fn hear(&self, change: &Change) {
        let Key::Config(org, kind, name) = &change.key else {
            return;
        };
        if kind != CLIENT_METRICS {
            return;
        }
        let row = Row {
            value: change.value.clone(),
            version: change.version,
        };
        let subscription = match configs_of(&row) {
            Ok(configs) => Subscription::of(&configs),
            Err(error) => {
                tracing::error!(%error, subscription = %name, "a subscription cannot be read");
                None
            }
        };
        let mut state = self.0.write();
        let of_org = state.orgs.entry(org.clone()).or_default();
        let known = of_org.named.get(name).map_or(0, |(version, _)| *version);
        if change.version > known {
            of_org.version += 1;
            of_org
                .named
                .insert(name.clone(), (change.version, subscription));
        }
    }

    /// Reads the subscriptions of an org once; after that the feed tells. Answers how often they have changed.
    pub async fn load(&self, node: &Node, org: &Org) -> Result<u64, Failure> {
        if let Some(of_org) = self.0.read().orgs.get(org).filter(|of_org| of_org.read) {
            return Ok(of_org.version);
        }
        let range = KeyRange::configs(org, CLIENT_METRICS);
        let rows = node.store().scan(range, SUBSCRIPTIONS_MAX, false).await;
        for (key, Row { value, version }) in rows.map_err(storage)? {
            self.hear(&Change {
                key,
                value,
                version,
            });
        }
        let mut state = self.0.write();
        let of_org = state.orgs.entry(org.clone()).or_default();
        of_org.read = true;
        Ok(of_org.version)
    }

    /// What a client should push, sorted, and how often: all that the matching subscriptions ask for, at the shortest interval.
    pub fn matching(
        &self,
        org: &Org,
        attribute: impl Fn(Selector) -> String,
    ) -> (Vec<String>, i32) {
        let state = self.0.read();
        let named = state.orgs.get(org).map(|of_org| of_org.named.values());
        let subscriptions = named.into_iter().flatten().filter_map(|(_, s)| s.as_ref());
        let matches = |s: &&Subscription| {
            let whole =
                |(selector, pattern): &(Selector, Regex)| pattern.is_match(&attribute(*selector));
            s.patterns.iter().all(whole)
        };
        let (mut metrics, mut interval_ms) = (BTreeSet::new(), INTERVAL_MS_DEFAULT);
        for subscription in subscriptions.filter(matches) {
            metrics.extend(subscription.metrics.iter().cloned());
            interval_ms = interval_ms.min(subscription.interval_ms);
        }
        if metrics.contains(ALL) {
            metrics = BTreeSet::from([ALL.to_owned()]);
        }
        (metrics.into_iter().collect(), interval_ms)
    }
}
