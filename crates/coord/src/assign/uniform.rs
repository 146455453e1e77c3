//! Uniform: members keep what they have, what is free goes to the least loaded, and then partitions move, one at a time,
//! from a member to another that has at least two fewer, until no move makes it more equal.
use std::collections::{BTreeMap, BTreeSet};

use sh_base::{PartitionIndex, TopicId};

use super::Subscriber;
use crate::{mutant, row::Target};

pub(super) fn assign(
    subscribers: &BTreeMap<String, Subscriber>,
    partitions: &BTreeMap<TopicId, PartitionIndex>,
) -> BTreeMap<String, Target> {
    let mut builder = Builder::new(subscribers, partitions);
    builder.keep();
    builder.hand_out();
    builder.balance();
    let targets = builder.targets.into_iter();
    builder.ids.into_iter().cloned().zip(targets).collect()
}

/// Members are numbered in the order of their ids.
struct Builder<'a> {
    ids: Vec<&'a String>,
    members: Vec<&'a Subscriber>,
    partitions: &'a BTreeMap<TopicId, PartitionIndex>,
    subscribed: BTreeMap<TopicId, Vec<usize>>,
    targets: Vec<Target>,
    loads: Vec<usize>,
    taken: BTreeSet<(TopicId, PartitionIndex)>,
}

impl<'a> Builder<'a> {
    fn new(
        subscribers: &'a BTreeMap<String, Subscriber>,
        partitions: &'a BTreeMap<TopicId, PartitionIndex>,
    ) -> Self {
        let members: Vec<&Subscriber> = subscribers.values().collect();
        let mut subscribed: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (i, member) in members.iter().enumerate() {
            for topic in member.topics.iter().filter(|t| partitions.contains_key(t)) {
                subscribed.entry(*topic).or_default().push(i);
            }
        }
        Builder {
            ids: subscribers.keys().collect(),
            targets: vec![Target::default(); members.len()],
            loads: vec![0; members.len()],
            members,
            partitions,
            subscribed,
            taken: BTreeSet::new(),
        }
    }

    fn give(&mut self, member: usize, topic: TopicId, partition: PartitionIndex) {
        self.targets[member].insert(topic, partition);
        self.loads[member] += 1;
    }

    /// Everybody keeps what it had and still may have.
    fn keep(&mut self) {
        let members = self.members.clone().into_iter().enumerate();
        for (i, member) in members.filter(|_| !mutant::is("forgetful_assignor")) {
            for (topic, partition) in member.target.iter() {
                let exists = self
                    .partitions
                    .get(&topic)
                    .is_some_and(|count| partition < *count);
                let kept = exists && member.topics.contains(&topic);
                if kept && self.taken.insert((topic, partition)) {
                    self.give(i, topic, partition);
                }
            }
        }
    }

    /// What nobody has goes to the least loaded; topics that few can take come first.
    fn hand_out(&mut self) {
        let mut topics: Vec<(usize, TopicId)> = self
            .subscribed
            .iter()
            .map(|(topic, members)| (members.len(), *topic))
            .collect();
        topics.sort();
        for (_, topic) in topics {
            let members = self.subscribed[&topic].clone();
            let mut by_load: BTreeSet<(usize, usize)> =
                members.iter().map(|m| (self.loads[*m], *m)).collect();
            for partition in 0..self.partitions[&topic] {
                if self.taken.contains(&(topic, partition)) {
                    continue;
                }
                let Some((load, member)) = by_load.pop_first() else {
                    break;
                };
                self.give(member, topic, partition);
                by_load.insert((load + 1, member));
            }
        }
    }

    /// Each move lowers the sum of the squared loads, so this ends.
    fn balance(&mut self) {
        let topics: Vec<TopicId> = self.subscribed.keys().copied().collect();
        loop {
            let moved = topics
                .iter()
                .filter(|topic| self.balance_topic(topic))
                .count();
            if moved == 0 {
                return;
            }
        }
    }

    fn balance_topic(&mut self, topic: &TopicId) -> bool {
        let mut moved = false;
        while let Some((from, to)) = self.uneven_pair(topic) {
            let Some(partition) = self.take_last(from, topic) else {
                break;
            };
            self.give(to, *topic, partition);
            moved = true;
        }
        moved
    }

    /// The most loaded member that has a partition of the topic and the least loaded that could have it, if moving helps.
    fn uneven_pair(&self, topic: &TopicId) -> Option<(usize, usize)> {
        let members = self.subscribed.get(topic)?.iter().copied();
        let owns = |m: &usize| self.targets[*m].0.contains_key(topic);
        let from = members
            .clone()
            .filter(owns)
            .max_by_key(|m| self.loads[*m])?;
        let to = members.min_by_key(|m| self.loads[*m])?;
        (self.loads[from] >= self.loads[to] + 2).then_some((from, to))
    }

    fn take_last(&mut self, member: usize, topic: &TopicId) -> Option<PartitionIndex> {
        let partitions = self.targets[member].0.get_mut(topic)?;
        let partition = partitions.pop_last()?;
        if partitions.is_empty() {
            self.targets[member].0.remove(topic);
        }
        self.loads[member] -= 1;
        Some(partition)
    }
}
