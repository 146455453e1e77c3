//! The living topics, as of what this agent has heard.
//!
//! **Positive answers come from the cache; a negative one reads the store** (DESIGN 6): another agent may have created the
//! topic a moment ago. Entries of the feed may come in any order: the highest version of a row wins, and what was purged
//! stays as a tombstone so that an older entry does not bring it back.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use sh_base::{ErrorCode, Failure, Org, TopicId, TopicName};
use sh_meta::{Change, FeedEntry, Key, KeyRange, MetaStore, Row};
use uuid::Uuid;

use crate::{
    config::{BrokerConfig, Effective},
    control::storage,
    topic::{Topic, TopicRow, TopicSettings},
};

/// Rows of one page of a listing.
const PAGE: usize = 1_000;

/// The cache of topics; see the module for its rules.
pub struct TopicTable {
    store: Arc<dyn MetaStore>,
    state: RwLock<State>,
}

type Configs = BTreeMap<String, String>;

struct State {
    broker: Arc<BrokerConfig>,
    /// Versions of the rows of dynamic configs that `broker` reflects: for all brokers, and for this one.
    cluster_version: u64,
    own_version: u64,
    by_id: HashMap<TopicId, Cached>,
    by_name: HashMap<(Org, TopicName), Named>,
}

/// The newest version of a topic's row that was heard of, and the topic if that version is a living one.
struct Cached {
    version: u64,
    topic: Option<Arc<Topic>>,
}

struct Named {
    version: u64,
    id: Option<TopicId>,
}

impl TopicTable {
    pub fn new(store: Arc<dyn MetaStore>, broker: BrokerConfig) -> TopicTable {
        let state = State {
            broker: Arc::new(broker),
            cluster_version: 0,
            own_version: 0,
            by_id: HashMap::new(),
            by_name: HashMap::new(),
        };
        TopicTable {
            store,
            state: RwLock::new(state),
        }
    }

    /// The living topic of a name.
    pub async fn by_name(&self, org: &Org, name: &TopicName) -> Result<Arc<Topic>, Failure> {
        if let Some(topic) = self.state.read().named(org, name) {
            return Ok(topic);
        }
        self.load_names(&[Key::TopicName(org.clone(), name.clone())])
            .await?;
        let found = self.state.read().named(org, name);
        found.ok_or_else(|| unknown_name(name.as_str()))
    }

    /// Like [`TopicTable::by_name`], as the store has it at this moment: an administrator who has just changed it through another
    /// agent sees the change.
    pub async fn fresh(&self, org: &Org, name: &TopicName) -> Result<Arc<Topic>, Failure> {
        let id = self.by_name(org, name).await?.id;
        self.load_topics(&[id]).await?;
        // It was deleted, and perhaps made again under the name.
        self.by_name(org, name).await
    }

    /// The living topic of an id, if it is of this org.
    pub async fn by_id(&self, org: &Org, id: TopicId) -> Result<Arc<Topic>, Failure> {
        if let Some(topic) = self.state.read().living(id) {
            return of_org(topic, org, id);
        }
        self.load_topics(&[id]).await?;
        let found = self.state.read().living(id);
        of_org(found.ok_or_else(|| unknown_id(id))?, org, id)
    }

    /// Like [`TopicTable::by_name`], without ever asking the store: for a hot path that has asked before.
    pub fn cached(&self, org: &Org, name: &TopicName) -> Option<Arc<Topic>> {
        self.state.read().named(org, name)
    }

    /// Like [`TopicTable::by_id`], without ever asking the store.
    pub fn cached_id(&self, org: &Org, id: TopicId) -> Option<Arc<Topic>> {
        self.state.read().living(id).filter(|t| t.org == *org)
    }

    /// All living topics of an org, by name. Complete: the store is asked.
    pub async fn list(&self, org: &Org) -> Result<Vec<Arc<Topic>>, Failure> {
        let mut topics = Vec::new();
        let mut range = KeyRange::topic_names(org);
        loop {
            let page = self
                .store
                .scan(range.clone(), PAGE, false)
                .await
                .map_err(storage)?;
            let names: Vec<Key> = page.iter().map(|(key, _)| key.clone()).collect();
            self.learn_names(&names, page.iter().map(|(_, row)| row))
                .await?;
            topics.extend(names.iter().filter_map(|key| self.state.read().of_key(key)));
            match names.last() {
                Some(last) if names.len() == PAGE => range.start = after(last),
                _ => return Ok(topics),
            }
        }
    }

    /// Learns what an update changed.
    pub fn hear(&self, entry: &FeedEntry) {
        let mut state = self.state.write();
        entry.changes.iter().for_each(|change| state.learn(change));
    }

    /// The broker's configs in force.
    pub fn broker(&self) -> Arc<BrokerConfig> {
        self.state.read().broker.clone()
    }

    /// Takes broker configs that were set while running, for all brokers or for this one; the settings of all topics follow.
    pub(crate) fn set_dynamic(&self, own: bool, version: u64, configs: Configs) {
        let mut state = self.state.write();
        let known = if own {
            &mut state.own_version
        } else {
            &mut state.cluster_version
        };
        if *known >= version {
            return;
        }
        *known = version;
        let broker = Arc::new(state.broker.with_layer(own, configs));
        state.broker = broker.clone();
        for cached in state.by_id.values_mut() {
            if let Some(topic) = &mut cached.topic {
                let settings = settings(&topic.configs, &broker);
                Arc::make_mut(topic).settings = settings;
            }
        }
    }

    async fn load_names(&self, keys: &[Key]) -> Result<(), Failure> {
        let rows = self.store.get(keys).await.map_err(storage)?;
        self.learn_names(keys, rows.iter()).await
    }

    /// Takes in rows of names, and reads the topics that they speak of and that are not known.
    async fn learn_names<'a>(
        &self,
        keys: &[Key],
        rows: impl Iterator<Item = &'a Row>,
    ) -> Result<(), Failure> {
        let mut missing = Vec::new();
        {
            let mut state = self.state.write();
            for (key, row) in keys.iter().zip(rows) {
                state.learn(&change(key, row));
                missing.extend(row_id(row).filter(|id| state.living(*id).is_none()));
            }
        }
        self.load_topics(&missing).await
    }

    async fn load_topics(&self, ids: &[TopicId]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let keys: Vec<Key> = ids.iter().map(|id| Key::Topic(*id)).collect();
        let rows = self.store.get(&keys).await.map_err(storage)?;
        let mut state = self.state.write();
        keys.iter()
            .zip(&rows)
            .for_each(|(key, row)| state.learn(&change(key, row)));
        Ok(())
    }
}

impl State {
    fn living(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.by_id.get(&id)?.topic.clone()
    }

    fn named(&self, org: &Org, name: &TopicName) -> Option<Arc<Topic>> {
        let id = self.by_name.get(&(org.clone(), name.clone()))?.id?;
        self.living(id)
    }

    fn of_key(&self, key: &Key) -> Option<Arc<Topic>> {
        match key {
            Key::TopicName(org, name) => self.named(org, name),
            _ => None,
        }
    }

    fn learn(&mut self, change: &Change) {
        match &change.key {
            Key::Topic(id) => self.learn_topic(*id, change),
            Key::TopicName(org, name) => self.learn_name(org, name, change),
            _ => {}
        }
    }

    fn learn_name(&mut self, org: &Org, name: &TopicName, change: &Change) {
        let known = self.by_name.get(&(org.clone(), name.clone()));
        if change.version == 0 || known.is_some_and(|k| k.version >= change.version) {
            return;
        }
        let named = Named {
            version: change.version,
            id: parse_id(change.value.as_deref()),
        };
        self.by_name.insert((org.clone(), name.clone()), named);
    }

    fn learn_topic(&mut self, id: TopicId, change: &Change) {
        let known = self.by_id.get(&id);
        if change.version == 0 || known.is_some_and(|k| k.version >= change.version) {
            return;
        }
        let row = change
            .value
            .as_deref()
            .and_then(|bytes| TopicRow::decode(bytes).ok());
        let topic = row.and_then(|row| living(id, row, change.version, &self.broker));
        self.by_id.insert(
            id,
            Cached {
                version: change.version,
                topic: topic.map(Arc::new),
            },
        );
    }
}

/// The topic of a row, unless it is deleted.
fn living(id: TopicId, row: TopicRow, version: u64, broker: &BrokerConfig) -> Option<Topic> {
    if row.deletion.is_some() {
        return None;
    }
    Some(Topic {
        id,
        org: row.org.as_str().try_into().ok()?,
        name: row.name.as_str().try_into().ok()?,
        partitions: row.partitions,
        replication_factor: row.replication_factor,
        settings: settings(&row.configs, broker),
        configs: row.configs,
        created_ms: row.created_ms,
        version,
    })
}

fn settings(overrides: &Configs, broker: &BrokerConfig) -> Arc<TopicSettings> {
    Arc::new(TopicSettings::of(&Effective { overrides, broker }))
}

fn change(key: &Key, row: &Row) -> Change {
    Change {
        key: key.clone(),
        value: row.value.clone(),
        version: row.version,
    }
}

fn row_id(row: &Row) -> Option<TopicId> {
    parse_id(row.value.as_deref())
}

/// The value of `Key::TopicName`: an id as text.
pub(crate) fn parse_id(value: Option<&[u8]>) -> Option<TopicId> {
    Uuid::try_parse_ascii(value?).ok().map(TopicId)
}

/// Where a scan goes on after `key`.
pub(crate) fn after(key: &Key) -> bytes::Bytes {
    let mut bytes = key.encode().to_vec();
    bytes.push(0);
    bytes.into()
}

fn of_org(topic: Arc<Topic>, org: &Org, id: TopicId) -> Result<Arc<Topic>, Failure> {
    if topic.org == *org {
        Ok(topic)
    } else {
        Err(unknown_id(id))
    }
}

pub(crate) fn unknown_name(name: &str) -> Failure {
    Failure::new(
        ErrorCode::UnknownTopicOrPartition,
        format!("There is no topic named {name:?}; create it first"),
    )
}

pub(crate) fn unknown_id(id: TopicId) -> Failure {
    Failure::new(
        ErrorCode::UnknownTopicId,
        format!("There is no topic of id {id}; refresh the metadata"),
    )
}
