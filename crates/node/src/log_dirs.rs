//! How much of the bucket each partition fills.
use std::collections::{BTreeMap, BTreeSet};

use sh_base::{ErrorCode, Failure, PartitionIndex, TopicName};

use crate::{Caller, Node, Operation, Resource, Topic, TopicChoice};

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
        let mut topics = Vec::new();
        match asked {
            None => {
                for topic in self.topics().list(&caller.org).await? {
                    topics.push(self.topic_size(&topic, 0..topic.partitions).await?);
                }
            }
            Some(asked) => {
                for (name, partitions) in once(asked) {
                    let found = self.topic(caller, &TopicChoice::Name(name.clone())).await;
                    if let Some(topic) = existing(found)? {
                        let known = partitions.into_iter().filter(|p| topic.has(*p));
                        topics.push(self.topic_size(&topic, known).await?);
                    }
                }
            }
        }
        topics.retain(|t| !t.partitions.is_empty());
        let name = self.broker().get("log.dirs").unwrap_or_default().to_owned();
        Ok(LogDir { name, topics })
    }

    async fn topic_size(
        &self,
        topic: &Topic,
        partitions: impl Iterator<Item = PartitionIndex>,
    ) -> Result<TopicSize, Failure> {
        let mut sizes = Vec::new();
        for partition in partitions {
            let bytes = self.reader().size_bytes(topic.partition(partition)).await?;
            sizes.push((partition, bytes));
        }
        Ok(TopicSize {
            name: topic.name.clone(),
            partitions: sizes,
        })
    }
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
