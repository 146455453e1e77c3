//! Finding the topic that a caller names.
use std::sync::Arc;

use sh_base::{ErrorCode, Failure, PartitionIndex, TopicId, TopicName, ids::InvalidTopicName};

use crate::{Caller, Node, Topic};

/// How a caller names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicChoice {
    /// As the caller wrote it; perhaps not a legal name.
    Name(String),
    Id(TopicId),
}

impl TopicChoice {
    /// A topic that was found, and then found to be deleted.
    pub(crate) fn deleted(&self) -> Failure {
        let code = match self {
            TopicChoice::Name(_) => ErrorCode::UnknownTopicOrPartition,
            TopicChoice::Id(_) => ErrorCode::UnknownTopicId,
        };
        Failure::new(code, "the topic was deleted")
    }
}

impl Node {
    /// The topic, from the cache or the store. A name that is not legal is that of no topic.
    pub async fn topic(
        &self,
        caller: &Caller,
        choice: &TopicChoice,
    ) -> Result<Arc<Topic>, Failure> {
        match choice {
            TopicChoice::Id(id) => self.topics().by_id(&caller.org, *id).await,
            TopicChoice::Name(name) => self.topics().by_name(&caller.org, &legal(name)?).await,
        }
    }

    /// What [`Node::topic`] would say, if it can be said without asking the store.
    pub(crate) fn known_topic(
        &self,
        caller: &Caller,
        choice: &TopicChoice,
    ) -> Option<Result<Arc<Topic>, Failure>> {
        match choice {
            TopicChoice::Id(id) => self.topics().cached_id(&caller.org, *id).map(Ok),
            TopicChoice::Name(name) => match legal(name) {
                Ok(name) => self.topics().cached(&caller.org, &name).map(Ok),
                Err(failure) => Some(Err(failure)),
            },
        }
    }
}

impl TopicChoice {
    /// INVALID_TOPIC_EXCEPTION for a name that no topic can have: for calls of administrators, who could create it.
    pub(crate) fn check_name(&self) -> Result<(), Failure> {
        match self {
            TopicChoice::Name(name) => legal(name).map(drop).map_err(|failure| Failure {
                code: ErrorCode::InvalidTopic,
                ..failure
            }),
            TopicChoice::Id(_) => Ok(()),
        }
    }
}

/// Kafka tells only those who could create the topic that its name is not legal; to all others it is unknown.
fn legal(name: &str) -> Result<TopicName, Failure> {
    let unknown =
        |e: InvalidTopicName| Failure::new(ErrorCode::UnknownTopicOrPartition, e.to_string());
    TopicName::try_from(name).map_err(unknown)
}

pub(crate) fn check_partition(topic: &Topic, partition: PartitionIndex) -> Result<(), Failure> {
    if topic.has(partition) {
        return Ok(());
    }
    let (name, count) = (&topic.name, topic.partitions);
    let text = format!("topic {name} has no partition {partition}; it has {count}, counted from 0");
    Err(Failure::new(ErrorCode::UnknownTopicOrPartition, text))
}
