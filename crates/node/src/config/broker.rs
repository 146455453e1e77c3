//! The configs of brokers: Kafka's own settings, those that mean something here, under their names and with their defaults.
use std::collections::{BTreeMap, BTreeSet};

use super::{Check, ConfigEntry, Definition, Kind, Source, Synonym, effective::described};

/// The kind of `Key::Config` rows that hold broker configs.
pub const BROKER: &str = "broker";

/// Who may change a broker config, and when (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// Given at the start only.
    ReadOnly,
    /// While the server runs, for one broker or for all.
    ClusterWide,
    /// It follows from the server's own settings and cannot be given.
    Derived,
}

#[derive(Clone, Copy, Debug)]
pub struct BrokerDefinition {
    pub def: Definition,
    pub mutability: Mutability,
}

impl BrokerDefinition {
    /// Cannot be changed while the server runs.
    pub fn is_read_only(&self) -> bool {
        matches!(self.mutability, Mutability::ReadOnly | Mutability::Derived)
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    check: Check,
    mutability: Mutability,
    doc: &'static str,
) -> BrokerDefinition {
    BrokerDefinition {
        def: Definition {
            name,
            kind,
            default,
            check,
            doc,
        },
        mutability,
    }
}

use Check::{Any, AtLeast, Between, GzipLevel, ListOf, OneOf, Ratio};
use Kind::{Boolean, Double, Int, List, Long, Short, String as Text};
use Mutability::{ClusterWide, Derived, ReadOnly};

const MAX: Option<&str> = Some("9223372036854775807");
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// Every broker config, by name.
#[rustfmt::skip]
pub static TABLE: &[BrokerDefinition] = &[
    row("advertised.listeners", List, None, Any, Derived, "The addresses that clients are told."),
    row("auto.create.topics.enable", Boolean, Some("true"), Any, ReadOnly, "A topic that a client asks for and that does not exist is created."),
    row("broker.id", Int, Some("-1"), Any, Derived, "The same as node.id."),
    row("broker.rack", Text, None, Any, Derived, "The zone of this agent."),
    row("compression.gzip.level", Int, Some("-1"), GzipLevel, ClusterWide, "Default of the topic config compression.gzip.level."),
    row("compression.lz4.level", Int, Some("9"), Between(1, 17), ClusterWide, "Default of the topic config compression.lz4.level."),
    row("compression.type", Text, Some("producer"), OneOf(CODECS), ClusterWide, "Default of the topic config compression.type."),
    row("compression.zstd.level", Int, Some("3"), Between(-131_072, 22), ClusterWide, "Default of the topic config compression.zstd.level."),
    row("connections.max.idle.ms", Long, Some("600000"), Any, ReadOnly, "A connection that was silent for so long is closed, milliseconds. Negative: never."),
    row("default.replication.factor", Int, Some("1"), Any, ReadOnly, "What topics created without a replication factor report. The bucket replicates, whatever it says."),
    row("delete.topic.enable", Boolean, Some("true"), Any, ReadOnly, "Topics may be deleted."),
    row("fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), ReadOnly, "The most bytes that one fetch is answered with."),
    row("group.consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0), ClusterWide, "The least time between two assignments of a consumer group (KIP-848), milliseconds."),
    row("group.consumer.assignors", List, Some("uniform,range"), ListOf(&["uniform", "range"]), ClusterWide, "The assignors that consumer groups (KIP-848) may choose from; the first is the default."),
    row("group.consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), ClusterWide, "How often members of a consumer group (KIP-848) send heartbeats, milliseconds."),
    row("group.consumer.max.assignment.interval.ms", Int, Some("15000"), AtLeast(0), ClusterWide, "The longest assignment interval that a consumer group may ask for, milliseconds."),
    row("group.consumer.max.heartbeat.interval.ms", Int, Some("15000"), AtLeast(1), ClusterWide, "The longest heartbeat interval that a consumer group may ask for, milliseconds."),
    row("group.consumer.max.session.timeout.ms", Int, Some("60000"), AtLeast(1), ClusterWide, "The longest session timeout that a consumer group may ask for, milliseconds."),
    row("group.consumer.max.size", Int, Some("2147483647"), AtLeast(1), ClusterWide, "The most members of a consumer group."),
    row("group.consumer.migration.policy", Text, Some("bidirectional"), OneOf(&["disabled", "upgrade", "downgrade", "bidirectional"]), ClusterWide, "Which way a group with members may go between the classic protocol and KIP-848."),
    row("group.consumer.min.assignment.interval.ms", Int, Some("0"), AtLeast(0), ClusterWide, "The shortest assignment interval that a consumer group may ask for, milliseconds."),
    row("group.consumer.min.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), ClusterWide, "The shortest heartbeat interval that a consumer group may ask for, milliseconds."),
    row("group.consumer.min.session.timeout.ms", Int, Some("45000"), AtLeast(1), ClusterWide, "The shortest session timeout that a consumer group may ask for, milliseconds."),
    row("group.consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), ClusterWide, "A member of a consumer group (KIP-848) that was silent for so long is removed, milliseconds."),
    row("group.initial.rebalance.delay.ms", Int, Some("3000"), Any, ClusterWide, "How long a new classic group waits for more members, milliseconds."),
    row("group.max.session.timeout.ms", Int, Some("1800000"), Any, ClusterWide, "The longest session timeout of a member of a classic group, milliseconds."),
    row("group.max.size", Int, Some("2147483647"), AtLeast(1), ClusterWide, "The most members of a classic group."),
    row("group.min.session.timeout.ms", Int, Some("6000"), Any, ClusterWide, "The shortest session timeout of a member of a classic group, milliseconds."),
    row("listeners", List, Some("PLAINTEXT://:9092"), Any, Derived, "The addresses that the server listens on."),
    row("log.cleaner.delete.retention.ms", Long, Some("86400000"), AtLeast(0), ClusterWide, "Default of the topic config delete.retention.ms."),
    row("log.cleaner.max.compaction.lag.ms", Long, MAX, AtLeast(1), ClusterWide, "Default of the topic config max.compaction.lag.ms."),
    row("log.cleaner.min.cleanable.ratio", Double, Some("0.5"), Ratio, ClusterWide, "Default of the topic config min.cleanable.dirty.ratio."),
    row("log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), ClusterWide, "Default of the topic config min.compaction.lag.ms."),
    row("log.cleanup.policy", List, Some("delete"), ListOf(&["compact", "delete"]), ClusterWide, "Default of the topic config cleanup.policy."),
    row("log.dirs", List, None, Any, Derived, "Where the log is: the bucket."),
    row("log.flush.interval.messages", Long, MAX, AtLeast(1), ClusterWide, "Default of the topic config flush.messages."),
    row("log.flush.interval.ms", Long, None, Any, ClusterWide, "Default of the topic config flush.ms."),
    row("log.index.interval.bytes", Int, Some("4096"), AtLeast(0), ClusterWide, "Default of the topic config index.interval.bytes."),
    row("log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4), ClusterWide, "Default of the topic config segment.index.bytes."),
    row("log.local.retention.bytes", Long, Some("-2"), AtLeast(-2), ClusterWide, "Default of the topic config local.retention.bytes."),
    row("log.local.retention.ms", Long, Some("-2"), AtLeast(-2), ClusterWide, "Default of the topic config local.retention.ms."),
    row("log.message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), ClusterWide, "Default of the topic config message.timestamp.after.max.ms."),
    row("log.message.timestamp.before.max.ms", Long, MAX, AtLeast(0), ClusterWide, "Default of the topic config message.timestamp.before.max.ms."),
    row("log.message.timestamp.type", Text, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, "Default of the topic config message.timestamp.type."),
    row("log.preallocate", Boolean, Some("false"), Any, ClusterWide, "Default of the topic config preallocate."),
    row("log.retention.bytes", Long, Some("-1"), Any, ClusterWide, "Default of the topic config retention.bytes."),
    row("log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), ReadOnly, "How often retention is looked at, milliseconds."),
    row("log.retention.hours", Int, Some("168"), Any, ReadOnly, "Default of the topic config retention.ms, in hours; log.retention.minutes and log.retention.ms count before it."),
    row("log.retention.minutes", Int, None, Any, ReadOnly, "Default of the topic config retention.ms, in minutes; log.retention.ms counts before it."),
    row("log.retention.ms", Long, None, Any, ClusterWide, "Default of the topic config retention.ms."),
    row("log.roll.hours", Int, Some("168"), AtLeast(1), ReadOnly, "Default of the topic config segment.ms, in hours; log.roll.ms counts before it."),
    row("log.roll.jitter.hours", Int, Some("0"), AtLeast(0), ReadOnly, "Default of the topic config segment.jitter.ms, in hours; log.roll.jitter.ms counts before it."),
    row("log.roll.jitter.ms", Long, None, Any, ClusterWide, "Default of the topic config segment.jitter.ms."),
    row("log.roll.ms", Long, None, Any, ClusterWide, "Default of the topic config segment.ms."),
    row("log.segment.bytes", Int, Some("1073741824"), AtLeast(1_048_576), ClusterWide, "Default of the topic config segment.bytes."),
    row("log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0), ClusterWide, "Default of the topic config file.delete.delay.ms."),
    row("max.connections", Int, Some("2147483647"), AtLeast(0), ClusterWide, "The most connections at once."),
    row("max.connections.per.ip", Int, Some("2147483647"), AtLeast(0), ClusterWide, "The most connections at once from one address."),
    row("max.incremental.fetch.session.cache.slots", Int, Some("1000"), AtLeast(0), ReadOnly, "The most incremental fetch sessions at once (KIP-227)."),
    row("message.max.bytes", Int, Some("1048588"), AtLeast(0), ClusterWide, "Default of the topic config max.message.bytes."),
    row("min.insync.replicas", Int, Some("1"), AtLeast(1), ClusterWide, "Default of the topic config min.insync.replicas."),
    row("node.id", Int, None, Any, Derived, "The number by which clients know this agent, counted from 0 and allocated once."),
    row("num.partitions", Int, Some("1"), AtLeast(1), ReadOnly, "The partitions of topics that are created without a number."),
    row("offset.metadata.max.bytes", Int, Some("4096"), Any, ClusterWide, "The longest text that may go with a committed offset, bytes."),
    row("offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), ClusterWide, "How long an offset commit may take, milliseconds."),
    row("offsets.retention.check.interval.ms", Long, Some("600000"), AtLeast(1), ClusterWide, "How often committed offsets that are too old are looked for, milliseconds."),
    row("offsets.retention.minutes", Int, Some("10080"), AtLeast(1), ClusterWide, "How long the offsets of a group without members are kept, minutes."),
    row("offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), ReadOnly, "The partitions that __consumer_offsets is shown with."),
    row("offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), ReadOnly, "What __consumer_offsets reports as its replication factor."),
    row("offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), ReadOnly, "What __consumer_offsets is shown with as its segment.bytes."),
    row("process.roles", List, None, Any, Derived, "Every agent is both."),
    row("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), ClusterWide, "How long a partition remembers a producer that no longer writes, milliseconds."),
    row("request.timeout.ms", Int, Some("30000"), Any, ReadOnly, "How long a request without a time limit of its own may take, milliseconds."),
    row("socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), ReadOnly, "The largest request that is read, bytes."),
    row("telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), ReadOnly, "The largest push of a client's own metrics, bytes as it comes (KIP-714)."),
    row("topic.undelete.ms", Long, Some("3600000"), AtLeast(0), ClusterWide, "How long a deleted topic can be brought back, milliseconds. Its records are kept as long."),
    row("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), ClusterWide, "The longest transaction timeout that a producer may ask for, milliseconds."),
    row("transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), ReadOnly, "What __transaction_state is shown with as its min.insync.replicas."),
    row("transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), ReadOnly, "The partitions that __transaction_state is shown with."),
    row("transaction.state.log.replication.factor", Short, Some("3"), AtLeast(1), ReadOnly, "What __transaction_state reports as its replication factor."),
    row("transaction.state.log.segment.bytes", Int, Some("104857600"), AtLeast(1), ReadOnly, "What __transaction_state is shown with as its segment.bytes."),
    row("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), ClusterWide, "How long an unused transactional id is remembered, milliseconds."),
    row("unclean.leader.election.enable", Boolean, Some("false"), Any, ClusterWide, "Default of the topic config unclean.leader.election.enable."),
];

pub fn definition(name: &str) -> Option<&'static BrokerDefinition> {
    TABLE.iter().find(|b| b.def.name == name)
}

/// What was set while running: for all brokers, and for this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicConfig {
    pub cluster: BTreeMap<String, String>,
    pub own: BTreeMap<String, String>,
}

/// The broker's configs: what it was started with, and what was set since.
#[derive(Clone, Debug, Default)]
pub struct BrokerConfig {
    fixed: BTreeMap<String, String>,
    dynamic: DynamicConfig,
}

impl BrokerConfig {
    /// From the settings of the server, Kafka's names. The error names the setting and says what is wrong with it.
    pub fn parse(settings: &BTreeMap<String, String>) -> Result<BrokerConfig, String> {
        let mut fixed = BTreeMap::new();
        for (name, value) in settings {
            let def = definition(name).ok_or_else(|| unknown(name))?;
            if def.mutability == Mutability::Derived {
                return Err(format!(
                    "{name} cannot be set: it follows from the server's own settings"
                ));
            }
            fixed.insert(name.clone(), def.def.parse(value)?);
        }
        Ok(BrokerConfig {
            fixed,
            dynamic: DynamicConfig::default(),
        })
    }

    /// Adds a value that follows from the server's own settings: an address, a node id.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> BrokerConfig {
        self.fixed.insert(name.into(), value.into());
        self
    }

    /// The same server with other values set while running.
    pub fn with_dynamic(&self, dynamic: DynamicConfig) -> BrokerConfig {
        BrokerConfig {
            fixed: self.fixed.clone(),
            dynamic,
        }
    }

    /// What was set while running.
    pub(crate) fn dynamic(&self) -> &DynamicConfig {
        &self.dynamic
    }

    /// The value in force.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.layers(name).next().map(|(value, _)| value)
    }

    /// The value in force as a number; 0 for what is not one.
    pub fn number(&self, name: &str) -> i64 {
        self.get(name)
            .and_then(|v| v.parse().ok())
            .unwrap_or_default()
    }

    /// Is a boolean config on?
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// All the values that a config has, the one in force first.
    pub fn synonyms(&self, name: &str) -> Vec<Synonym> {
        let synonym = |(value, source): (&str, Source)| Synonym {
            name: name.into(),
            value: Some(value.into()),
            source,
        };
        let mut synonyms: Vec<Synonym> = self.layers(name).map(synonym).collect();
        // What is set for a time in milliseconds hides the same time in hours.
        if let (Some(hours), false) = (coarser_unit(name), synonyms.is_empty()) {
            synonyms.extend(self.synonyms(hours));
        }
        synonyms
    }

    fn layers<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, Source)> {
        let DynamicConfig { cluster, own } = &self.dynamic;
        let set = [
            (own.get(name), Source::DynamicBroker),
            (cluster.get(name), Source::DynamicDefaultBroker),
            (self.fixed.get(name), Source::StaticBroker),
        ];
        let default = definition(name).and_then(|b| b.def.default);
        let set = set
            .into_iter()
            .filter_map(|(value, source)| Some((value?.as_str(), source)));
        set.chain(default.map(|value| (value, Source::Default)))
    }
}

fn coarser_unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "log.retention.ms" => "log.retention.hours",
        "log.roll.ms" => "log.roll.hours",
        "log.roll.jitter.ms" => "log.roll.jitter.hours",
        _ => return None,
    })
}

/// Everything that is known of this broker's configs, by name.
pub fn broker_entries(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let known = TABLE.iter().map(|b| {
        let value = broker.get(b.def.name).map(str::to_owned);
        described(&b.def, value, broker.synonyms(b.def.name))
    });
    let DynamicConfig { cluster, own } = &broker.dynamic;
    let names: BTreeSet<&String> = cluster.keys().chain(own.keys()).collect();
    let unknown = names.into_iter().filter(|name| definition(name).is_none());
    known
        .chain(unknown.map(|name| untyped(name, broker.synonyms(name))))
        .collect()
}

/// What was set for all brokers.
pub fn cluster_entries(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let entry = |(name, value): (&String, &String)| {
        let synonym = Synonym {
            name: name.clone(),
            value: Some(value.clone()),
            source: Source::DynamicDefaultBroker,
        };
        match definition(name) {
            Some(b) => described(&b.def, Some(value.clone()), vec![synonym]),
            None => untyped(name, vec![synonym]),
        }
    };
    broker.dynamic.cluster.iter().map(entry).collect()
}

/// A config that means nothing here: it might be a secret, so that its value is not shown.
fn untyped(name: &str, synonyms: Vec<Synonym>) -> ConfigEntry {
    ConfigEntry {
        name: name.into(),
        value: None,
        source: synonyms.first().map_or(Source::DynamicBroker, |s| s.source),
        synonyms: synonyms
            .into_iter()
            .map(|s| Synonym { value: None, ..s })
            .collect(),
        kind: None,
        read_only: true,
        sensitive: true,
        doc: None,
    }
}

fn unknown(name: &str) -> String {
    format!(
        "{name} is not a Kafka broker setting that means something here; docs/settings.md lists those that do"
    )
}
