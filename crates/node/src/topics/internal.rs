//! The topics that Kafka keeps for itself, `__consumer_offsets` and `__transaction_state`.
//!
//! Offsets and transactions live in the metadata store, so these topics are empty for ever: they are there because clients and tools
//! expect them in listings, flagged internal. As with Kafka each appears when somebody first looks for a coordinator of its kind, or
//! names it where topics are created.
use std::{collections::BTreeMap, time::Duration};

use sh_base::{ErrorCode, Failure, Org, TopicId, TopicName};
use tokio::time::timeout;

use super::{CONSUMER_OFFSETS, TRANSACTION_STATE, create::Candidate, is_internal};
use crate::{BrokerConfig, CoordinatorKind, Node, Topic, TopicRow};

/// How long a search for a coordinator waits for the topic to appear. It does not need it: while the metadata store is slow the
/// topic appears later.
const APPEARING_MAX: Duration = Duration::from_secs(2);

impl Node {
    /// The topic of what is coordinated is there from now on, unless the metadata store is away.
    pub(crate) async fn show_internal(&self, org: &Org, kind: CoordinatorKind) {
        let name = match kind {
            CoordinatorKind::Group => CONSUMER_OFFSETS,
            CoordinatorKind::Transaction => TRANSACTION_STATE,
        };
        let Ok(name) = TopicName::try_from(name) else {
            return;
        };
        if self.topics().cached(org, &name).is_some() {
            return;
        }
        // One search at a time creates it, in a task of its own: a caller that gives up leaves no half of an update.
        let Ok(appearing) = self.0.appearing.clone().try_lock_owned() else {
            return;
        };
        let (node, org) = (self.clone(), org.clone());
        let task = tokio::spawn(async move {
            let _appearing = appearing;
            if let Err(error) = node.ensure_internal(&org, &name).await {
                tracing::debug!(%error, topic = %name, "an internal topic does not appear yet");
            }
        });
        // Whether it came in time makes no difference to the caller.
        drop(timeout(APPEARING_MAX, task).await);
    }

    /// Makes sure that one of the internal topics exists.
    pub(crate) async fn ensure_internal(&self, org: &Org, name: &TopicName) -> Result<(), Failure> {
        if self.topics().by_name(org, name).await.is_ok() {
            return Ok(());
        }
        let row = internal_row(name.as_str(), org, &self.broker(), self.env().wall_ms());
        let candidate = Candidate {
            id: TopicId(self.env().uuid()),
            name: name.clone(),
            row,
        };
        self.store_candidates(org, vec![candidate]).await.map(drop)
    }
}

/// **Nobody writes to an internal topic**: what Kafka keeps in them is kept elsewhere here.
pub(crate) fn check_writable(topic: &Topic) -> Result<(), Failure> {
    let name = topic.name.as_str();
    if !is_internal(name) {
        return Ok(());
    }
    let text = format!("Cannot append to internal topic {name}");
    Err(Failure::new(ErrorCode::InvalidTopic, text))
}

/// As Kafka makes them: compacted, with as many partitions as the broker's settings say.
fn internal_row(name: &str, org: &Org, broker: &BrokerConfig, now_ms: i64) -> TopicRow {
    let prefix = match name == CONSUMER_OFFSETS {
        true => "offsets.topic",
        false => "transaction.state.log",
    };
    let number = |what: &str| broker.number(&format!("{prefix}.{what}"));
    TopicRow {
        org: org.as_str().into(),
        name: name.into(),
        partitions: number("num.partitions") as i32,
        replication_factor: number("replication.factor") as i16,
        configs: internal_configs(name, broker),
        created_ms: now_ms,
        deletion: None,
    }
}

fn internal_configs(name: &str, broker: &BrokerConfig) -> BTreeMap<String, String> {
    let value = |name: &str| broker.get(name).unwrap_or_default().to_owned();
    let configs = match name == CONSUMER_OFFSETS {
        true => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", value("offsets.topic.segment.bytes")),
        ],
        false => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "uncompressed".to_owned()),
            (
                "min.insync.replicas",
                value("transaction.state.log.min.isr"),
            ),
            (
                "segment.bytes",
                value("transaction.state.log.segment.bytes"),
            ),
            ("unclean.leader.election.enable", "false".to_owned()),
        ],
    };
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    configs.into_iter().map(named).collect()
}
