//! The consumer protocol (KIP-848): one kind of request, answered with what the server wants this member to read.
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    consumer_group_heartbeat_request::TopicPartitions,
};
use uuid::Uuid;

use super::{
    GroupOptions,
    link::Link,
    membership::{Change, Pulse},
};
use crate::{
    Client, Error, ErrorCode, Result, TopicPartition,
    admin::Author,
    client::{group_id, text, topic_name},
};

/// Epochs that are no epochs.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
/// Of a static member that will be back.
const LEAVE_FOR_NOW: i32 = -2;

pub(super) struct ConsumerProtocol {
    options: GroupOptions,
    member_id: String,
    epoch: i32,
    /// What the coordinator was last told that this member owns.
    told: BTreeSet<TopicPartition>,
    /// By topic id, as far as they were needed.
    topics: HashMap<Uuid, Arc<str>>,
}

impl ConsumerProtocol {
    pub fn new(options: GroupOptions) -> ConsumerProtocol {
        ConsumerProtocol {
            member_id: options.member_id.clone(),
            options,
            epoch: JOIN,
            told: BTreeSet::new(),
            topics: HashMap::new(),
        }
    }

    pub async fn keep(
        &mut self,
        link: &mut Link,
        pulse: &mut Pulse,
        owned: &BTreeSet<TopicPartition>,
    ) -> Result<Change> {
        if !pulse.is_due() && *owned == self.told {
            return Ok(Change::None);
        }
        let told = self.ids(link.client(), owned).await?;
        let answer = link
            .ask(|version| self.request(version, owned, &told))
            .await?;
        let what = format!("group {}", self.options.group);
        if let Err(error) = Error::check(what, answer.error_code, answer.error_message.as_deref()) {
            return self.refused(error);
        }
        self.accept(link.client(), pulse, owned, answer).await
    }

    /// The group went on without this member, which begins anew; anything else is an error.
    fn refused(&mut self, error: Error) -> Result<Change> {
        match error.code() {
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => {
                self.epoch = JOIN;
                self.told.clear();
                Ok(Change::Lost)
            }
            _ => Err(error),
        }
    }

    async fn accept(
        &mut self,
        client: &Client,
        pulse: &mut Pulse,
        owned: &BTreeSet<TopicPartition>,
        answer: ConsumerGroupHeartbeatResponse,
    ) -> Result<Change> {
        let interval = u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0);
        pulse.answered(Duration::from_millis(interval.max(50)));
        if let Some(id) = answer.member_id.filter(|id| !id.is_empty()) {
            self.member_id = id.to_string();
        }
        self.epoch = answer.member_epoch;
        self.told.clone_from(owned);
        let Some(assignment) = answer.assignment else {
            return Ok(Change::None);
        };
        let mut wanted = BTreeSet::new();
        for topic in &assignment.topic_partitions {
            let name = self.name(client, topic.topic_id).await?;
            wanted.extend(topic.partitions.iter().map(|p| (name.clone(), *p)));
        }
        Ok(Change::Assigned(wanted))
    }

    fn request(
        &self,
        version: i16,
        owned: &BTreeSet<TopicPartition>,
        told: &[TopicPartitions],
    ) -> ConsumerGroupHeartbeatRequest {
        let joins = self.epoch == JOIN;
        // Version 0 leaves the choice of a member id to the server.
        let server_chooses = joins && version == 0;
        let member_id = if server_chooses { "" } else { &self.member_id };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.options.group))
            .with_member_id(text(member_id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.options.instance_id.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions((joins || *owned != self.told).then(|| told.to_vec()));
        if !joins {
            return request;
        }
        let timeout = i32::try_from(self.options.rebalance_timeout.as_millis());
        let topics = self.options.topics.iter().map(|t| topic_name(t));
        request
            .with_rebalance_timeout_ms(timeout.unwrap_or(i32::MAX))
            .with_subscribed_topic_names(Some(topics.collect()))
    }

    /// Partitions by topic id, as requests name them.
    async fn ids(
        &self,
        client: &Client,
        places: &BTreeSet<TopicPartition>,
    ) -> Result<Vec<TopicPartitions>> {
        let mut topics: Vec<TopicPartitions> = Vec::new();
        for (topic, partition) in places {
            let known = self.topics.iter().find(|(_, name)| *name == topic);
            let id = match known {
                Some((id, _)) => *id,
                None => client.topic(topic).await?.id,
            };
            match topics.last_mut() {
                Some(last) if last.topic_id == id => last.partitions.push(*partition),
                _ => topics.push(
                    TopicPartitions::default()
                        .with_topic_id(id)
                        .with_partitions(vec![*partition]),
                ),
            }
        }
        Ok(topics)
    }

    /// The name of a subscribed topic.
    async fn name(&mut self, client: &Client, id: Uuid) -> Result<Arc<str>> {
        if let Some(name) = self.topics.get(&id) {
            return Ok(name.clone());
        }
        for name in &self.options.topics {
            // One that was deleted and created again has another id now.
            client.forget(name);
            let topic = client.topic(name).await?;
            self.topics.insert(topic.id, topic.name.clone());
        }
        self.topics.get(&id).cloned().ok_or_else(|| Error::Refused {
            what: format!("topic id {id} in the assignment"),
            code: ErrorCode::UnknownTopicId,
            message: None,
        })
    }

    pub fn author(&self) -> Author {
        Author {
            generation: self.epoch,
            member_id: self.member_id.clone(),
            instance_id: self.options.instance_id.clone(),
        }
    }

    /// A member that never joined, or is out already, has nothing to leave.
    pub async fn leave(&self, link: &mut Link) -> Result<()> {
        let epoch = match &self.options.instance_id {
            Some(_) => LEAVE_FOR_NOW,
            None => LEAVE,
        };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.options.group))
            .with_member_id(text(&self.member_id))
            .with_member_epoch(epoch)
            .with_instance_id(self.options.instance_id.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None);
        let answer = link.ask(|_| request.clone()).await?;
        match Error::check("leaving the group", answer.error_code, None) {
            Err(error) if !is_out(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether the group does not have this member any more.
pub(super) fn is_out(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::GroupIdNotFound
        )
    )
}
