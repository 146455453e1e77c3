//! What clients are told of topics (KIP-4, KIP-516), and their creation on first use.
use std::sync::Arc;

use sh_base::{ErrorCode, Failure, TopicName};

use crate::{
    Caller, Node, Operation, Resource, Topic,
    topics::{NewTopic, TopicRef, is_internal, legal_name},
};

/// A topic as a client sees it.
#[derive(Clone, Debug)]
pub struct TopicView {
    pub topic: Arc<Topic>,
    /// One of those that Kafka keeps for itself.
    pub internal: bool,
}

impl TopicView {
    fn of(topic: Arc<Topic>) -> TopicView {
        TopicView {
            internal: is_internal(topic.name.as_str()),
            topic,
        }
    }
}

impl Node {
    /// One topic by name or id. A name that does not exist is created with the broker's defaults if `create` says so and
    /// `auto.create.topics.enable` allows it.
    ///
    /// Errors: `InvalidTopic`, `UnknownTopicOrPartition`, `UnknownTopicId`.
    pub async fn view_topic(
        &self,
        caller: &Caller,
        topic: &TopicRef,
        create: bool,
    ) -> Result<TopicView, Failure> {
        let topic = match topic {
            TopicRef::Id(id) => self.topics().by_id(&caller.org, *id).await?,
            TopicRef::Name(name) => self.find_or_create(caller, name, create).await?,
        };
        self.authorize(caller, Operation::Describe, Resource::Topic(&topic.name))?;
        Ok(TopicView::of(topic))
    }

    /// All topics of the caller's org, by name.
    pub async fn view_topics(&self, caller: &Caller) -> Result<Vec<TopicView>, Failure> {
        let topics = self.topics().list(&caller.org).await?;
        let mine = topics.into_iter().filter(|t| {
            self.authorize(caller, Operation::Describe, Resource::Topic(&t.name))
                .is_ok()
        });
        Ok(mine.map(TopicView::of).collect())
    }

    async fn find_or_create(
        &self,
        caller: &Caller,
        name: &str,
        create: bool,
    ) -> Result<Arc<Topic>, Failure> {
        let legal = legal_name(name)?;
        match self.topics().by_name(&caller.org, &legal).await {
            Err(e) if e.code == ErrorCode::UnknownTopicOrPartition => {
                let allowed = create && self.broker().is_on("auto.create.topics.enable");
                if !allowed {
                    return Err(e);
                }
                self.create_on_use(caller, &legal).await?;
                self.topics().by_name(&caller.org, &legal).await
            }
            found => found,
        }
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
}
