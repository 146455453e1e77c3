//! What clients are told of topics (KIP-4, KIP-516), and their creation on first use.
use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use sh_base::{ErrorCode, Failure, TopicId, TopicName, limits::UPDATE_EXTENTS_MAX};
use sh_log::Head;
use sh_meta::{Key, KeyRange};

use crate::{
    Caller, Node, Operation, Resource, Topic, TopicChoice,
    control::{damaged, storage},
    topic_table::after,
    topics::{NewTopic, is_internal, legal_name},
};

/// A topic as a client sees it.
#[derive(Clone, Debug)]
pub struct TopicView {
    pub topic: Arc<Topic>,
    /// One of those that Kafka keeps for itself.
    pub internal: bool,
    /// Of each partition.
    pub leader_epochs: Vec<i32>,
}

impl Node {
    /// Topics by name or id, in their order. A name that does not exist is created with the broker's defaults if `create` says
    /// so and `auto.create.topics.enable` allows it.
    ///
    /// Errors: `InvalidTopic`, `UnknownTopicOrPartition`, `UnknownTopicId`.
    pub async fn view_topics(
        &self,
        caller: &Caller,
        topics: &[TopicChoice],
        create: bool,
    ) -> Vec<Result<TopicView, Failure>> {
        let mut found = Vec::with_capacity(topics.len());
        for topic in topics {
            found.push(self.find(caller, topic, create).await);
        }
        match self.with_epochs(found.iter().flatten()).await {
            Ok(views) => merge(found, views),
            Err(e) => found.into_iter().map(|f| f.and(Err(e.clone()))).collect(),
        }
    }

    /// All topics of the caller's org, by name.
    pub async fn view_all(&self, caller: &Caller) -> Result<Vec<TopicView>, Failure> {
        let mut topics = self.topics().list(&caller.org).await?;
        topics.retain(|t| self.may_describe(caller, t).is_ok());
        self.with_epochs(topics.iter()).await
    }

    fn may_describe(&self, caller: &Caller, topic: &Topic) -> Result<(), Failure> {
        self.authorize(caller, Operation::Describe, Resource::Topic(&topic.name))
    }

    async fn find(
        &self,
        caller: &Caller,
        choice: &TopicChoice,
        create: bool,
    ) -> Result<Arc<Topic>, Failure> {
        let topic = match choice {
            TopicChoice::Name(name) => self.find_or_create(caller, name, create).await?,
            TopicChoice::Id(_) => self.topic(caller, choice).await?,
        };
        self.may_describe(caller, &topic)?;
        Ok(topic)
    }

    async fn find_or_create(
        &self,
        caller: &Caller,
        name: &str,
        create: bool,
    ) -> Result<Arc<Topic>, Failure> {
        let legal = legal_name(name)?;
        let found = self.topics().by_name(&caller.org, &legal).await;
        let missing = matches!(&found, Err(e) if e.code == ErrorCode::UnknownTopicOrPartition);
        if !missing || !create || !self.broker().is_on("auto.create.topics.enable") {
            return found;
        }
        self.create_on_use(caller, &legal).await?;
        self.topics().by_name(&caller.org, &legal).await
    }

    /// Losing the race of two first uses is as good as winning it.
    async fn create_on_use(&self, caller: &Caller, name: &TopicName) -> Result<(), Failure> {
        let topics = vec![NewTopic::named(name.as_str())];
        let created = self.create_topics(caller, topics, false).await;
        match created.into_iter().next() {
            Some((_, Err(e))) if e.code != ErrorCode::TopicAlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Leader epochs are read from the store: a client that was told an old one would not believe what it fetches. While the store is
    /// away, those that were read last are told: epochs rise only at repairs, and a repair needs the store.
    async fn with_epochs(
        &self,
        topics: impl Iterator<Item = &Arc<Topic>>,
    ) -> Result<Vec<TopicView>, Failure> {
        let topics: Vec<Arc<Topic>> = topics.cloned().collect();
        let epochs = match self.read_epochs(&topics).await {
            Ok(epochs) => epochs,
            Err(e) => self.0.epochs.of(&topics).ok_or(e)?,
        };
        let view = |(topic, leader_epochs): (Arc<Topic>, Vec<i32>)| TopicView {
            internal: is_internal(topic.name.as_str()),
            leader_epochs,
            topic,
        };
        Ok(topics.into_iter().zip(epochs).map(view).collect())
    }

    /// Small topics together, row by row; of a large topic all rows that there are, in order.
    async fn read_epochs(&self, topics: &[Arc<Topic>]) -> Result<Vec<Vec<i32>>, Failure> {
        let mut epochs: Vec<Vec<i32>> = Vec::with_capacity(topics.len());
        for run in topics.chunk_by(|a, b| is_small(a) && is_small(b)) {
            match run {
                [large] if !is_small(large) => epochs.push(self.scan_epochs(large).await?),
                small => epochs.extend(self.get_epochs(small).await?),
            }
        }
        self.0.epochs.remember(topics, &epochs);
        Ok(epochs)
    }

    async fn get_epochs(&self, topics: &[Arc<Topic>]) -> Result<Vec<Vec<i32>>, Failure> {
        let heads = |t: &Arc<Topic>| {
            let topic = t.clone();
            (0..t.partitions).map(move |p| Key::Head(topic.partition(p)))
        };
        let keys: Vec<Key> = topics.iter().flat_map(heads).collect();
        let mut epochs = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(UPDATE_EXTENTS_MAX) {
            for row in self.store().get(chunk).await.map_err(storage)? {
                epochs.push(epoch_of(row.value.as_ref())?);
            }
        }
        let mut epochs = epochs.into_iter();
        let of_topic = |t: &Arc<Topic>| epochs.by_ref().take(t.partitions as usize).collect();
        Ok(topics.iter().map(of_topic).collect())
    }

    /// Of all partitions of a topic; a partition without a head has the epoch of an empty one.
    async fn scan_epochs(&self, topic: &Topic) -> Result<Vec<i32>, Failure> {
        let mut epochs = vec![epoch_of(None)?; topic.partitions as usize];
        let mut range = KeyRange::heads_of_topic(topic.id);
        loop {
            let page = self.store().scan(range.clone(), UPDATE_EXTENTS_MAX, false);
            let page = page.await.map_err(storage)?;
            for (key, row) in &page {
                if let Key::Head(tp) = key
                    && let Some(epoch) = epochs.get_mut(tp.partition as usize)
                {
                    *epoch = epoch_of(row.value.as_ref())?;
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == UPDATE_EXTENTS_MAX => range.start = after(last),
                _ => return Ok(epochs),
            }
        }
    }
}

/// Topics of more partitions are scanned.
const SMALL_PARTITIONS: i32 = 64;

fn is_small(topic: &Topic) -> bool {
    topic.partitions <= SMALL_PARTITIONS
}

fn epoch_of(head: Option<&Bytes>) -> Result<i32, Failure> {
    let head = Head::of(head).map_err(|e| damaged("head row", e))?;
    Ok(head.leader_epoch)
}

/// The leader epochs that were read last.
#[derive(Default)]
pub(crate) struct KnownEpochs(Mutex<HashMap<TopicId, Vec<i32>>>);

impl KnownEpochs {
    fn remember(&self, topics: &[Arc<Topic>], epochs: &[Vec<i32>]) {
        let mut known = self.0.lock();
        for (topic, epochs) in topics.iter().zip(epochs) {
            known.insert(topic.id, epochs.clone());
        }
    }

    /// Of all these topics, with all their partitions; `None`: some were never read.
    fn of(&self, topics: &[Arc<Topic>]) -> Option<Vec<Vec<i32>>> {
        let known = self.0.lock();
        let of_topic = |t: &Arc<Topic>| {
            let epochs = known.get(&t.id)?;
            (epochs.len() == t.partitions as usize).then(|| epochs.clone())
        };
        topics.iter().map(of_topic).collect()
    }

    /// A topic is gone.
    pub(crate) fn forget(&self, topic: TopicId) {
        self.0.lock().remove(&topic);
    }
}

/// Puts the views in the places of the topics that were found.
fn merge(
    found: Vec<Result<Arc<Topic>, Failure>>,
    views: Vec<TopicView>,
) -> Vec<Result<TopicView, Failure>> {
    let mut views = views.into_iter();
    let view = |f: Result<Arc<Topic>, Failure>| match f {
        Ok(_) => views.next().ok_or_else(|| ErrorCode::Internal.into()),
        Err(e) => Err(e),
    };
    found.into_iter().map(view).collect()
}
