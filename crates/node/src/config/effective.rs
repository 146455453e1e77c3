//! The values in force, and where each comes from.
use std::{borrow::Cow, collections::BTreeMap};

use super::{BrokerConfig, Definition, Kind, broker, topic};

/// Where a value was set; the numbers are Kafka's (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// One of the places that a value may come from; the first of a list is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// A config as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for a value that is not set, and for a secret.
    pub value: Option<String>,
    pub source: Source,
    pub synonyms: Vec<Synonym>,
    /// `None`: of no known type.
    pub kind: Option<Kind>,
    /// It cannot be changed while the server runs.
    pub read_only: bool,
    pub sensitive: bool,
    pub doc: Option<&'static str>,
}

/// The configs of one topic: its overrides over the broker's values.
#[derive(Clone, Copy)]
pub struct Effective<'a> {
    pub overrides: &'a BTreeMap<String, String>,
    pub broker: &'a BrokerConfig,
}

impl<'a> Effective<'a> {
    /// The value in force; empty for a name that does not exist.
    pub fn text(&self, name: &str) -> Cow<'a, str> {
        let Some(entry) = topic::entry(name) else {
            return "".into();
        };
        if let Some(value) = self.overrides.get(name) {
            return entry.def.parse(value).map_or(value.into(), Cow::Owned);
        }
        let inherited = entry.broker.and_then(|broker| self.inherited(broker));
        inherited.unwrap_or_else(|| entry.def.default.unwrap_or_default().into())
    }

    /// The value in force as a number; 0 for what is not one.
    pub fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// The broker's value of a topic default. Times may be set in coarser units: the finest one that is set counts.
    fn inherited(&self, name: &str) -> Option<Cow<'a, str>> {
        if let Some(value) = self.broker.get(name) {
            return Some(value.into());
        }
        let coarser: &[(&str, i64)] = match name {
            "log.retention.ms" => &[
                ("log.retention.minutes", 60_000),
                ("log.retention.hours", 3_600_000),
            ],
            "log.roll.ms" => &[("log.roll.hours", 3_600_000)],
            "log.roll.jitter.ms" => &[("log.roll.jitter.hours", 3_600_000)],
            _ => &[],
        };
        coarser.iter().find_map(|(name, unit_ms)| {
            let n: i64 = self.broker.get(name)?.parse().ok()?;
            let ms = if n < 0 {
                -1
            } else {
                n.saturating_mul(*unit_ms)
            };
            Some(ms.to_string().into())
        })
    }

    /// Every config of the topic, described, in Kafka's order.
    pub fn entries(&self) -> Vec<ConfigEntry> {
        topic::TABLE.iter().map(|t| self.entry(t)).collect()
    }

    fn entry(&self, t: &topic::TopicDefinition) -> ConfigEntry {
        let value = self.text(t.def.name).into_owned();
        let own = self.overrides.contains_key(t.def.name).then(|| Synonym {
            name: t.def.name.into(),
            value: Some(value.clone()),
            source: Source::DynamicTopic,
        });
        let inherited = t
            .broker
            .map(|name| self.broker.synonyms(name))
            .unwrap_or_default();
        described(
            &t.def,
            Some(value),
            own.into_iter().chain(inherited).collect(),
        )
    }
}

/// An entry whose source is that of its first synonym.
pub(super) fn described(
    def: &Definition,
    value: Option<String>,
    synonyms: Vec<Synonym>,
) -> ConfigEntry {
    ConfigEntry {
        name: def.name.into(),
        value,
        source: synonyms.first().map_or(Source::Default, |s| s.source),
        synonyms,
        kind: Some(def.kind),
        read_only: broker::definition(def.name).is_some_and(|b| b.is_read_only()),
        sensitive: def.kind == Kind::Password,
        doc: Some(def.doc),
    }
}
