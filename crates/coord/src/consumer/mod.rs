//! A group of the new consumer protocol (KIP-848): the coordinator assigns, and each member is led to its target on its own.
//!
//! Three epochs: the *group epoch* is bumped when subscriptions or topics change; the *assignment epoch* is the group epoch
//! that the target assignment was made for; a member's *epoch* is the assignment epoch that it has reached. A partition is
//! given to a member only after its former owner has said that it gave it up: so it has one owner at any time.
mod check;
pub(crate) mod classic;
mod commit;
mod describe;
pub(crate) mod heartbeat;
mod leave;
mod reconcile;
mod regex;
mod subscribe;
mod target;

pub use regex::compile as compile_pattern;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sh_base::{PartitionIndex, TopicId};

pub(crate) use self::{check::check_request, commit::CommitCheck};
use crate::{
    group::Cx,
    mutant,
    reply::GroupState,
    row::{ConsumerMemberRow, ConsumerRow, GroupRow, MemberRow, MemberState},
    settings::GroupSettings,
    timers::Timer,
    topics::Topics,
};

/// The epoch of a static member that has left and may come back.
pub(crate) const LEFT_STATIC_EPOCH: i32 = -2;
/// The epoch of a member that leaves.
pub(crate) const LEAVE_EPOCH: i32 = -1;

#[derive(Debug)]
pub(crate) struct Consumer {
    epoch: i32,
    assignment_epoch: i32,
    /// When the target was made, on the monotonic clock; `None`: before this coordinator's life.
    assigned_at: Option<Duration>,
    /// Stands for the subscribed topics as they were when the epoch was bumped.
    fingerprint: u64,
    /// Topics have changed since the fingerprint was looked at.
    topics_changed: bool,
    pub members: BTreeMap<String, ConsumerMemberRow>,
    /// Instance id to member id.
    statics: BTreeMap<String, String>,
    /// Who has a partition, or was asked to give it up and has not done so.
    owners: BTreeMap<(TopicId, PartitionIndex), String>,
    /// Each subscribed regular expression and the topics that it matches.
    matches: BTreeMap<String, BTreeSet<String>>,
    /// Rows that have changed in this event.
    changed_members: BTreeSet<String>,
    group_changed: bool,
}

/// The epoch of a group whose members have asked for nothing yet.
const FIRST_EPOCH: i32 = 1;

impl Consumer {
    pub fn new() -> Self {
        Consumer {
            epoch: FIRST_EPOCH,
            assignment_epoch: 0,
            assigned_at: None,
            fingerprint: Topics::default().fingerprint(&BTreeSet::new()),
            topics_changed: false,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            owners: BTreeMap::new(),
            matches: BTreeMap::new(),
            changed_members: BTreeSet::new(),
            group_changed: false,
        }
    }

    /// A group of members that all have what they should have, in one epoch.
    pub fn adopt(cx: &Cx, epoch: i32, members: BTreeMap<String, ConsumerMemberRow>) -> Self {
        let mut group = Consumer {
            epoch,
            assignment_epoch: epoch,
            ..Consumer::new()
        };
        group.changed_members = members.keys().cloned().collect();
        group.insert_all(cx.topics, members);
        group
    }

    /// The group as it was stored. Who is a member gets a fresh session; who has left does not: a coordinator that restarts
    /// more often than sessions end would keep its place for ever.
    pub fn restore(
        cx: &mut Cx,
        row: ConsumerRow,
        members: BTreeMap<String, ConsumerMemberRow>,
    ) -> Self {
        let mut group = Consumer {
            epoch: row.epoch,
            assignment_epoch: row.assignment_epoch,
            fingerprint: row.topics,
            topics_changed: true,
            ..Consumer::new()
        };
        group.insert_all(cx.topics, members);
        group.start_sessions(cx);
        group.epoch += i32::from(mutant::is("takeover_rebalances"));
        group
    }

    fn insert_all(&mut self, topics: &Topics, members: BTreeMap<String, ConsumerMemberRow>) {
        for (id, member) in members {
            self.own(&id, &member);
            if let Some(instance) = &member.instance_id {
                self.statics.insert(instance.clone(), id.clone());
            }
            self.members.insert(id, member);
        }
        self.resolve_all(topics);
    }

    pub fn start_sessions(&self, cx: &mut Cx) {
        for (id, member) in &self.members {
            match member.left_ms.filter(|_| member.epoch == LEFT_STATIC_EPOCH) {
                Some(left_ms) => self.keep_place(cx, id, left_ms),
                None => self.heard(cx, id, member),
            }
            if member.state == MemberState::UnrevokedPartitions && member.classic.is_none() {
                self.expect_revocation(cx, id, member);
            }
        }
    }

    fn heard(&self, cx: &mut Cx, id: &str, member: &ConsumerMemberRow) {
        let classic = member.classic.as_ref().map(|c| c.session_timeout_ms);
        let at = cx.after_ms(classic.unwrap_or(cx.settings.consumer_session_timeout_ms));
        cx.timers.set(Timer::Session(id.to_owned()), at);
    }

    /// What is left of the session that began when the member left; a clock that was set back does not make it longer.
    fn keep_place(&self, cx: &mut Cx, id: &str, left_ms: i64) {
        let whole = i64::from(cx.settings.consumer_session_timeout_ms);
        let gone = cx.now.wall_ms.saturating_sub(left_ms).clamp(0, whole);
        let at = cx.after_ms(i32::try_from(whole - gone).unwrap_or(0));
        cx.timers.set(Timer::Session(id.to_owned()), at);
    }

    fn expect_revocation(&self, cx: &mut Cx, id: &str, member: &ConsumerMemberRow) {
        let at = cx.after_ms(member.rebalance_timeout_ms);
        cx.timers
            .set(Timer::Revocation(id.to_owned(), member.epoch), at);
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn state(&self) -> GroupState {
        let settled = |m: &ConsumerMemberRow| {
            m.state == MemberState::Stable && m.epoch == self.assignment_epoch
        };
        match () {
            () if self.members.is_empty() => GroupState::Empty,
            () if self.epoch > self.assignment_epoch => GroupState::Assigning,
            () if !self.members.values().all(settled) => GroupState::Reconciling,
            () => GroupState::Stable,
        }
    }

    pub fn should_downgrade(&self, settings: &GroupSettings) -> bool {
        !self.members.is_empty()
            && self.members.values().all(|m| m.classic.is_some())
            && settings.migration.allows_downgrade()
            && self.members.len() <= settings.classic_members_max
    }

    fn own(&mut self, id: &str, member: &ConsumerMemberRow) {
        for (topic, partition, _) in member.assigned.iter().chain(member.revoking.iter()) {
            self.owners.insert((topic, partition), id.to_owned());
        }
    }

    fn disown(&mut self, id: &str, member: &ConsumerMemberRow) {
        for (topic, partition, _) in member.assigned.iter().chain(member.revoking.iter()) {
            if self
                .owners
                .get(&(topic, partition))
                .is_some_and(|owner| owner == id)
            {
                self.owners.remove(&(topic, partition));
            }
        }
    }

    /// Makes `member` the member's state; nothing is written if it was so before.
    fn put(&mut self, id: &str, member: ConsumerMemberRow) {
        let before = self.members.get(id);
        if before == Some(&member) {
            return;
        }
        if let Some(before) = before.cloned() {
            self.disown(id, &before);
        }
        self.own(id, &member);
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.to_owned());
        }
        self.members.insert(id.to_owned(), member);
        self.changed_members.insert(id.to_owned());
    }

    /// Takes the member out; its partitions are free.
    fn take(&mut self, cx: &mut Cx, id: &str) -> Option<ConsumerMemberRow> {
        let member = self.members.remove(id)?;
        self.disown(id, &member);
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        cx.timers.cancel_member(id);
        self.changed_members.insert(id.to_owned());
        Some(member)
    }

    /// Hands the rows that this event has changed to the outbox.
    fn save(&mut self, cx: &mut Cx) {
        if std::mem::take(&mut self.group_changed) {
            cx.out.put_group(GroupRow::Consumer(ConsumerRow {
                epoch: self.epoch,
                assignment_epoch: self.assignment_epoch,
                topics: self.fingerprint,
            }));
        }
        for id in std::mem::take(&mut self.changed_members) {
            match self.members.get(&id) {
                Some(member) => cx.out.put_member(&id, MemberRow::Consumer(member.clone())),
                None => cx.out.delete_member(&id),
            }
        }
    }

    /// A timer of this group fell due. Each of them means that the member has gone, or is as good as gone.
    pub fn timeout(&mut self, cx: &mut Cx, timer: Timer) {
        match timer {
            Timer::Session(id) | Timer::Rejoin(id) | Timer::MemberSync(id) => self.fence(cx, &id),
            // It has moved on if it is in another epoch by now.
            Timer::Revocation(id, epoch) => {
                if self.members.get(&id).is_some_and(|m| m.epoch == epoch) {
                    self.fence(cx, &id);
                }
            }
            Timer::Join | Timer::Sync => {}
        }
        self.save(cx);
    }
}
