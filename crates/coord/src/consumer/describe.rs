//! ConsumerGroupDescribe.
use std::collections::{BTreeMap, BTreeSet};

use sh_base::{PartitionIndex, TopicId};

use super::Consumer;
use crate::{
    command::Client,
    reply::{ConsumerDescription, ConsumerMemberDescription, DescribedTopic},
    row::ConsumerMemberRow,
    settings::GroupSettings,
    topics::Topics,
};

impl Consumer {
    pub fn describe(&self, topics: &Topics, settings: &GroupSettings) -> ConsumerDescription {
        ConsumerDescription {
            state: self.state(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(settings).name().to_owned(),
            members: self
                .members
                .iter()
                .map(|(id, m)| describe_member(topics, id, m))
                .collect(),
        }
    }
}

fn describe_member(
    topics: &Topics,
    id: &str,
    member: &ConsumerMemberRow,
) -> ConsumerMemberDescription {
    // What it was asked to give up it still has.
    let mut assigned: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
    for (topic, partition, _) in member.assigned.iter().chain(member.revoking.iter()) {
        assigned.entry(topic).or_default().insert(partition);
    }
    let assigned = assigned
        .into_iter()
        .map(|(topic, partitions)| (topic, partitions.into_iter().collect()));
    let target = member
        .target
        .0
        .iter()
        .map(|(t, p)| (*t, p.iter().copied().collect()));
    ConsumerMemberDescription {
        member_id: id.to_owned(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client: Client {
            id: member.client_id.clone(),
            host: member.client_host.clone(),
        },
        subscribed_topic_names: member.topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.topic_regex.clone().unwrap_or_default(),
        assignment: named(topics, assigned),
        target_assignment: named(topics, target),
        member_type: i8::from(member.classic.is_none()),
    }
}

fn named(
    topics: &Topics,
    partitions: impl Iterator<Item = (TopicId, Vec<PartitionIndex>)>,
) -> Vec<DescribedTopic> {
    let name = |(id, partitions): (TopicId, Vec<PartitionIndex>)| {
        Some(DescribedTopic {
            id,
            name: topics.name(&id)?.to_owned(),
            partitions,
        })
    };
    partitions.filter_map(name).collect()
}
