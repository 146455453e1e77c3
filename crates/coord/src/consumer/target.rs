//! The target assignment: when it is made anew, and from what.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sh_base::TopicId;

use super::Consumer;
use crate::{
    assign::{Assignor, Subscriber},
    group::Cx,
    row::ConsumerMemberRow,
    settings::GroupSettings,
    topics::Topics,
};

impl Consumer {
    /// Bumps the group epoch if the members' wishes have changed, or the topics they wish for.
    pub(super) fn bump_epoch_if(&mut self, cx: &Cx, changed: bool) {
        if !changed && !self.topics_changed {
            return;
        }
        self.topics_changed = false;
        let fingerprint = cx.topics.fingerprint(&self.subscribed_topics());
        if changed || fingerprint != self.fingerprint {
            self.epoch = self.epoch.saturating_add(1);
            self.fingerprint = fingerprint;
            self.group_changed = true;
        }
    }

    fn subscribed_topics(&self) -> BTreeSet<String> {
        self.members
            .values()
            .flat_map(|m| self.topics_of(m))
            .map(str::to_owned)
            .collect()
    }

    /// The names that a member is subscribed to, by name or by expression.
    pub(super) fn topics_of<'a>(
        &'a self,
        member: &'a ConsumerMemberRow,
    ) -> impl Iterator<Item = &'a str> {
        let matched = member
            .topic_regex
            .as_ref()
            .and_then(|regex| self.matches.get(regex));
        member
            .topic_names
            .iter()
            .chain(matched.into_iter().flatten())
            .map(String::as_str)
    }

    pub(super) fn topic_ids_of(
        &self,
        topics: &Topics,
        member: &ConsumerMemberRow,
    ) -> BTreeSet<TopicId> {
        self.topics_of(member)
            .filter_map(|name| Some(topics.get(name)?.id))
            .collect()
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members
            .values()
            .any(|m| self.topics_of(m).any(|name| name == topic))
    }

    /// Makes a new target if the group epoch is ahead of the last one, though not more often than the settings allow: a
    /// burst of joins costs one assignment.
    pub(super) fn assign_if_due(&mut self, cx: &Cx) {
        let interval =
            Duration::from_millis(cx.settings.consumer_assignment_interval_ms.max(0) as u64);
        let due = self
            .assigned_at
            .is_none_or(|at| cx.now.mono >= at + interval);
        if self.epoch > self.assignment_epoch && due {
            self.assign(cx);
        }
    }

    fn assign(&mut self, cx: &Cx) {
        let subscribers: BTreeMap<String, Subscriber> = self
            .members
            .iter()
            .map(|(id, m)| (id.clone(), self.subscriber(cx.topics, m)))
            .collect();
        let ids: BTreeSet<TopicId> = subscribers
            .values()
            .flat_map(|s| s.topics.iter().copied())
            .collect();
        let partitions = ids
            .into_iter()
            .filter_map(|id| Some((id, cx.topics.by_id(&id)?.partitions)));
        let targets = self
            .assignor(cx.settings)
            .assign(&subscribers, &partitions.collect());
        for (id, target) in targets {
            if let Some(member) = self.members.get_mut(&id).filter(|m| m.target != target) {
                member.target = target;
                self.changed_members.insert(id);
            }
        }
        self.assignment_epoch = self.epoch;
        self.assigned_at = Some(cx.now.mono);
        self.group_changed = true;
    }

    fn subscriber(&self, topics: &Topics, member: &ConsumerMemberRow) -> Subscriber {
        Subscriber {
            instance_id: member.instance_id.clone(),
            topics: self.topic_ids_of(topics, member),
            target: member.target.clone(),
        }
    }

    /// The assignor that most members ask for; the server's first one if none asks.
    pub(super) fn assignor(&self, settings: &GroupSettings) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        let asked = self
            .members
            .values()
            .filter_map(|m| Assignor::by_name(m.assignor.as_deref()?));
        asked.for_each(|assignor| *votes.entry(assignor).or_default() += 1);
        let favourite = votes
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .map(|(assignor, _)| assignor);
        favourite
            .or(settings.consumer_assignors.first().copied())
            .unwrap_or(Assignor::Uniform)
    }
}
