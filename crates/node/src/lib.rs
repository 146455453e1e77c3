//! The product API: plain data in, plain data out. Every door (Kafka, REST, gRPC) translates into these calls; authorisation,
//! validation and metering happen here, once.
//!
//! *Invariant:* no type of this room knows a Kafka request, HTTP or protobuf. Errors are [`sh_base::Failure`].
pub mod answers;
pub mod caller;
mod client_metrics_configs;
pub mod cluster;
pub mod config;
pub mod configs;
mod control;
mod delete_records;
pub mod features;
pub mod fetch;
mod group_configs;
pub mod groups;
pub mod log_dirs;
mod lookup;
mod metadata;
pub mod offsets;
pub mod produce;
mod producers;
pub mod telemetry;
pub mod topic;
mod topic_table;
pub mod topics;
pub mod transactions;

use std::sync::Arc;

use sh_base::{AgentId, Env, batch::Codec};
use sh_log::{EntryListener, Log, Reader, agent::AgentRow};
use sh_meta::{FeedEntry, Key, Lane, MetaStore};

pub use answers::{AnswerMemory, Room};
pub use caller::{Caller, Operation, Resource};
pub use cluster::{Agent, Cluster};
pub use config::{BrokerConfig, Loggers};
pub use configs::{ConfigResource, ResourceKind};
pub use fetch::{FetchPartition, FetchPlan, Fetched, Records};
pub use groups::{CommittedPartition, CommittedTopic, CoordinatorKind, GroupFilter};
pub use lookup::TopicChoice;
pub use metadata::TopicView;
pub use offsets::{ActiveProducer, FoundOffset, OffsetSpec, PartitionChoice};
pub use produce::{Produce, ProducePartition, ProduceTopic, Produced, Refused, Stored};
pub use sh_log::{
    Ack, Charge, Ends, ProducerState, StoredBatch, Transactional, transaction::TransactionState,
};
pub use topic::{Topic, TopicRow, TopicSettings};
pub use topic_table::TopicTable;
pub use transactions::{
    DescribedTransaction, EndTransaction, ListedTransaction, MarkerChoice, TransactionFilter,
    TransactionPartitions,
};

/// What a node is made of.
pub struct NodeParts {
    pub env: Env,
    pub store: Arc<dyn MetaStore>,
    /// The lane of control changes (topics, configs, counters); the log's commits have their own.
    pub control: Arc<Lane>,
    /// The lane of changes of groups.
    pub groups: Arc<Lane>,
    /// Lanes of transactions, one at least; all agents may have different numbers of them.
    pub transactions: Vec<Arc<Lane>>,
    pub log: Log,
    pub reader: Reader,
    /// This agent, the broker id that clients know it by.
    pub agent: AgentId,
    pub broker: BrokerConfig,
    pub loggers: Loggers,
    /// The codec in which batches are stored that come plain, where the topic keeps the producer's codec (`segment.compression`).
    pub segment_codec: Option<Codec>,
    /// What answers to fetches may hold until they are sent.
    pub answers: AnswerMemory,
}

/// A handle of the product; cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    env: Env,
    store: Arc<dyn MetaStore>,
    control: Arc<Lane>,
    transactions: transactions::Lanes,
    transaction_watch: transactions::Watch,
    log: Log,
    reader: Reader,
    producer_ids: producers::Block,
    agent: AgentId,
    topics: Arc<TopicTable>,
    groups: groups::Groups,
    cluster: cluster::ClusterCache,
    features: features::KnownFeatures,
    telemetry: telemetry::Telemetry,
    epochs: metadata::KnownEpochs,
    loggers: Loggers,
    segment_codec: Option<Codec>,
    answers: AnswerMemory,
    /// Held by who makes an internal topic appear.
    appearing: Arc<tokio::sync::Mutex<()>>,
}

impl Node {
    /// Must be called inside a tokio runtime: groups have tasks of their own.
    pub fn new(parts: NodeParts) -> Node {
        let NodeParts {
            env,
            store,
            control,
            groups,
            transactions,
            log,
            reader,
            agent,
            broker,
            loggers,
            segment_codec,
            answers,
        } = parts;
        let id = agent.0.to_string();
        let broker = broker
            .with("broker.id", id.as_str())
            .with("node.id", id)
            .with("process.roles", "broker,controller");
        let topics = Arc::new(TopicTable::new(store.clone(), broker));
        let groups = groups::Groups::spawn(&env, &store, groups, topics.clone());
        Node(Arc::new(Inner {
            env,
            store,
            transactions: transactions::Lanes::new(transactions, control.clone()),
            transaction_watch: transactions::Watch::default(),
            control,
            log,
            reader,
            producer_ids: producers::Block::default(),
            agent,
            topics,
            groups,
            cluster: cluster::ClusterCache::default(),
            features: features::KnownFeatures::default(),
            telemetry: telemetry::Telemetry::default(),
            epochs: metadata::KnownEpochs::default(),
            loggers,
            segment_codec,
            answers,
            appearing: Arc::default(),
        }))
    }

    pub fn env(&self) -> &Env {
        &self.0.env
    }
    pub fn store(&self) -> &Arc<dyn MetaStore> {
        &self.0.store
    }
    /// The lane of control changes.
    pub fn control(&self) -> &Lane {
        &self.0.control
    }
    /// Waits until a request of so many bytes may be held in memory: before it is read off its connection.
    pub async fn reserve(&self, bytes: usize) -> Arc<Charge> {
        self.0.log.reserve(bytes).await
    }
    /// The engine of the log.
    pub fn log(&self) -> &Log {
        &self.0.log
    }
    /// The read side of the log.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }
    /// What answers to fetches hold until they are sent.
    pub fn answers(&self) -> &AnswerMemory {
        &self.0.answers
    }
    pub(crate) fn segment_codec(&self) -> Option<Codec> {
        self.0.segment_codec
    }
    pub(crate) fn transaction_lanes(&self) -> &transactions::Lanes {
        &self.0.transactions
    }
    pub(crate) fn transaction_watch(&self) -> &transactions::Watch {
        &self.0.transaction_watch
    }
    pub(crate) fn producer_ids(&self) -> &producers::Block {
        &self.0.producer_ids
    }
    pub fn agent(&self) -> AgentId {
        self.0.agent
    }
    /// The living topics, as of what was heard.
    pub fn topics(&self) -> &TopicTable {
        &self.0.topics
    }
    pub(crate) fn groups(&self) -> &groups::Groups {
        &self.0.groups
    }
    /// The broker's configs in force.
    pub fn broker(&self) -> Arc<BrokerConfig> {
        self.0.topics.broker()
    }
    pub fn loggers(&self) -> &Loggers {
        &self.0.loggers
    }
    /// [`Node::hear`] for the reader. The node holds the reader; what the reader calls does not hold the node.
    pub fn ear(&self) -> EntryListener {
        let node = Arc::downgrade(&self.0);
        Arc::new(move |entry| {
            if let Some(node) = node.upgrade() {
                Node(node).hear(entry);
            }
        })
    }
    /// Every own update and every entry of the feed goes in here, in any order.
    pub fn hear(&self, entry: &FeedEntry) {
        self.0.topics.hear(entry);
        self.0.groups.hear(entry);
        for change in &entry.changes {
            self.hear_config(change);
            self.hear_features(change);
            self.0.telemetry.hear(change);
            match (&change.key, &change.value) {
                (Key::Topic(id), None) => self.0.epochs.forget(*id),
                (Key::Agent(id), Some(value)) => {
                    if let Ok(row) = AgentRow::decode(value) {
                        self.0.cluster.hear(*id, &row);
                    }
                }
                _ => {}
            }
        }
    }
}
