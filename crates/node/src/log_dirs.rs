//! How much of the bucket each partition fills.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use sh_base::{ErrorCode, Failure, PartitionIndex, TopicName};

use crate::{Caller, Node, Operation, Resource, Topic, TopicChoice};

/// Topics that are scanned at the same time.
const TOPICS_AT_ONCE: usize = 8;

/// The bucket, as Kafka's tools see it: one log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub name: String,
    pub topics: Vec<TopicSize>,
}

/// Partitions of a topic with the bytes they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSize {
    pub name: TopicName,
    pub partitions: Vec<(PartitionIndex, u64)>,
}

impl Node {
    /// The sizes of some partitions, or of all. What does not exist is left out.
    pub async fn describe_log_dir(
        &self,
        caller: &Caller,
        asked: Option<&[(String, Vec<PartitionIndex>)]>,
    ) -> Result<LogDir, Failure> {
        self.authorize(caller, Operation::Describe, Resource::Cluster)?;
        let wanted = match asked {
            None => self
                .topics()
                .list(&caller.org)
                .await?
                .into_iter()
                .map(whole)
                .collect(),
            Some(asked) => self.existing_parts(caller, asked).await?,
        };
        let sizes = stream::iter(wanted).map(|(topic, parts)| self.topic_size(topic, parts));
        let mut topics: Vec<TopicSize> = sizes.buffered(TOPICS_AT_ONCE).try_collect().await?;
        topics.retain(|t| !t.partitions.is_empty());
        let name = self.broker().get("log.dirs").unwrap_or_default().to_owned();
        Ok(LogDir { name, topics })
    }

    async fn existing_parts(
        &self,
        caller: &Caller,
        asked: &[(String, Vec<PartitionIndex>)],
    ) -> Result<Vec<Parts>, Failure> {
        let mut wanted = Vec::new();
        for (name, partitions) in once(asked) {
            let found = self.topic(caller, &TopicChoice::Name(name.clone())).await;
            if let Some(topic) = existing(found)? {
                let known = partitions.into_iter().filter(|p| topic.has(*p)).collect();
                wanted.push((topic, known));
            }
        }
        Ok(wanted)
    }

    /// One partition is looked up by itself; for more the topic is scanned once.
    async fn topic_size(
        &self,
        topic: Arc<Topic>,
        partitions: Vec<PartitionIndex>,
    ) -> Result<TopicSize, Failure> {
        let sizes = match partitions[..] {
            [] => HashMap::new(),
            [one] => {
                let bytes = self.reader().size_bytes(topic.partition(one)).await?;
                HashMap::from([(one, bytes)])
            }
            _ => self.reader().sizes_bytes(topic.id).await?,
        };
        let size = |p: PartitionIndex| (p, sizes.get(&p).copied().unwrap_or(0));
        Ok(TopicSize {
            name: topic.name.clone(),
            partitions: partitions.into_iter().map(size).collect(),
        })
    }
}

/// A topic and those of its partitions that are asked for.
type Parts = (Arc<Topic>, Vec<PartitionIndex>);

fn whole(topic: Arc<Topic>) -> Parts {
    let all = (0..topic.partitions).collect();
    (topic, all)
}

/// A topic that does not exist is not an error here.
fn existing<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(topic) => Ok(Some(topic)),
        Err(e) if e.code == ErrorCode::UnknownTopicOrPartition => Ok(None),
        Err(e) => Err(e),
    }
}

/// Every topic and partition once, in order.
fn once(asked: &[(String, Vec<PartitionIndex>)]) -> BTreeMap<&String, BTreeSet<PartitionIndex>> {
    let mut topics: BTreeMap<&String, BTreeSet<PartitionIndex>> = BTreeMap::new();
    for (name, partitions) in asked {
        topics.entry(name).or_default().extend(partitions);
    }
    topics
}
