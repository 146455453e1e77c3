//! Leading one member from what it has to what it should have.
//!
//! A member first gives up what is not its any more, in its old epoch; only then it enters the new epoch and gets what is
//! free of the rest; what others still hold follows when they have given it up. (The state machine of KIP-848.)
use std::collections::BTreeSet;

use sh_base::{PartitionIndex, TopicId};

use super::Consumer;
use crate::{
    command::TopicPartitions,
    group::Cx,
    mutant,
    row::{AssignedPartitions, ConsumerMemberRow, MemberState},
};

impl Consumer {
    /// The member's next step. `owned` is what it says it owns now; `None`: it does not say, so it may own all of it.
    pub(super) fn reconcile(
        &mut self,
        cx: &mut Cx,
        id: &str,
        owned: Option<&TopicPartitions>,
        subscription_changed: bool,
    ) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let settled = member.state == MemberState::Stable && member.epoch == self.assignment_epoch;
        if settled && !subscription_changed {
            return;
        }
        let subscribed = self.topic_ids_of(cx.topics, member);
        let step = Step {
            group: self,
            id,
            member,
            subscribed,
            owned,
        };
        let next = step.next(subscription_changed);
        let Some(next) = next.filter(|next| next != member) else {
            return;
        };
        self.put(id, next);
        self.watch_revocation(cx, id);
    }

    /// A member that was asked to give partitions up has its rebalance timeout to do so. Classic members rejoin instead.
    fn watch_revocation(&self, cx: &mut Cx, id: &str) {
        cx.timers.cancel_revocations(id);
        let Some(member) = self.members.get(id).filter(|m| m.classic.is_none()) else {
            return;
        };
        if member.state == MemberState::UnrevokedPartitions {
            self.expect_revocation(cx, id, member);
        }
    }

    /// Whether some partition of the member's target is with another member.
    pub(super) fn waits_for_others(&self, id: &str, member: &ConsumerMemberRow) -> bool {
        let missing = member
            .target
            .iter()
            .filter(|(t, p)| member.assigned.epoch_of(t, *p).is_none());
        let mut owners = missing.filter_map(|key| self.owners.get(&key));
        owners.any(|owner| owner != id)
    }
}

/// What one step looks at.
struct Step<'a> {
    group: &'a Consumer,
    id: &'a str,
    member: &'a ConsumerMemberRow,
    subscribed: BTreeSet<TopicId>,
    owned: Option<&'a TopicPartitions>,
}

impl Step<'_> {
    /// The member after this step; `None`: as it is.
    fn next(&self, subscription_changed: bool) -> Option<ConsumerMemberRow> {
        let waits = match self.member.state {
            MemberState::Stable => self.member.epoch == self.group.assignment_epoch,
            MemberState::UnrevokedPartitions => self.still_owns(&self.member.revoking),
            MemberState::UnreleasedPartitions => false,
        };
        match (waits, subscription_changed) {
            (false, _) => Some(self.towards_target()),
            (true, true) => self.without_unsubscribed(),
            (true, false) => None,
        }
    }

    fn still_owns(&self, revoking: &AssignedPartitions) -> bool {
        let Some(owned) = self.owned else { return true };
        if mutant::is("revocation_unheard") {
            return false;
        }
        owned.iter().any(|(topic, partitions)| {
            partitions
                .iter()
                .any(|partition| revoking.epoch_of(topic, *partition).is_some())
        })
    }

    fn is_target(&self, topic: &TopicId, partition: PartitionIndex) -> bool {
        self.subscribed.contains(topic) && self.member.target.contains(topic, partition)
    }

    /// A partition is free when nobody has it, or when this member was to give it up itself.
    fn is_free(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        let owner = self.group.owners.get(&(topic, partition));
        owner.is_none_or(|owner| owner == self.id) || mutant::is("owner_unchecked")
    }

    fn towards_target(&self) -> ConsumerMemberRow {
        let (mut assigned, mut revoking) = <(AssignedPartitions, AssignedPartitions)>::default();
        for (topic, partition, epoch) in self.member.assigned.iter() {
            let kept = self.is_target(&topic, partition);
            let place = if kept { &mut assigned } else { &mut revoking };
            place.insert(topic, partition, epoch);
        }
        if !revoking.is_empty() && self.still_owns(&revoking) {
            let (epoch, state) = (self.member.epoch, MemberState::UnrevokedPartitions);
            return self.moved_to(epoch, state, assigned, revoking);
        }
        let epoch = self.group.assignment_epoch;
        let mut state = MemberState::Stable;
        for (topic, partition) in self.member.target.iter() {
            let missing =
                self.is_target(&topic, partition) && assigned.epoch_of(&topic, partition).is_none();
            match missing {
                true if self.is_free(topic, partition) => assigned.insert(topic, partition, epoch),
                true => state = MemberState::UnreleasedPartitions,
                false => {}
            }
        }
        self.moved_to(epoch, state, assigned, AssignedPartitions::default())
    }

    /// Asks for what the member is not subscribed to any more, before a new target is made.
    fn without_unsubscribed(&self) -> Option<ConsumerMemberRow> {
        let mut assigned = AssignedPartitions::default();
        let mut revoking = self.member.revoking.clone();
        for (topic, partition, epoch) in self.member.assigned.iter() {
            let place = if self.subscribed.contains(&topic) {
                &mut assigned
            } else {
                &mut revoking
            };
            place.insert(topic, partition, epoch);
        }
        if assigned == self.member.assigned {
            return None;
        }
        let epoch = self.member.epoch;
        Some(if self.still_owns(&revoking) {
            self.moved_to(epoch, MemberState::UnrevokedPartitions, assigned, revoking)
        } else {
            self.moved_to(
                epoch,
                self.member.state,
                assigned,
                self.member.revoking.clone(),
            )
        })
    }

    fn moved_to(
        &self,
        epoch: i32,
        state: MemberState,
        assigned: AssignedPartitions,
        revoking: AssignedPartitions,
    ) -> ConsumerMemberRow {
        ConsumerMemberRow {
            previous_epoch: self.member.epoch,
            epoch,
            state,
            assigned,
            revoking,
            left_ms: None,
            ..self.member.clone()
        }
    }
}
