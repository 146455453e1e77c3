//! The join phase: how it begins, whom it waits for, how it ends.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Classic, InitialDelay, Member, State};
use crate::{error::GroupError, group::Cx, reply::Reply, timers::Timer};

impl Classic {
    /// Members or their protocols have changed: begin a rebalance, or see whether the one under way can end.
    pub(super) fn rebalance(&mut self, cx: &mut Cx) {
        match self.state {
            State::PreparingRebalance => self.complete_join_if_all_joined(cx),
            State::Empty => self.prepare_first_rebalance(cx),
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(cx),
        }
    }

    /// A new group gives more members time to come, so that it does not rebalance for each of them.
    fn prepare_first_rebalance(&mut self, cx: &mut Cx) {
        let waited = Duration::from_millis(cx.settings.initial_rebalance_delay_ms.max(0) as u64);
        let remaining = self.rebalance_timeout().saturating_sub(waited);
        self.initial = Some(InitialDelay {
            waited,
            remaining,
            extended: false,
        });
        cx.timers.set(Timer::Join, cx.now.mono + waited);
        self.enter(cx, State::PreparingRebalance);
    }

    pub(crate) fn prepare_rebalance(&mut self, cx: &mut Cx) {
        for member in self.members.values_mut().filter(|m| m.sync.is_some()) {
            member.refuse_sync(cx, GroupError::RebalanceInProgress);
            member.heard(cx);
        }
        if self.state == State::CompletingRebalance {
            self.forget_assignments();
        }
        cx.timers.cancel(&Timer::Sync);
        self.initial = None;
        self.enter(cx, State::PreparingRebalance);
        cx.timers
            .set(Timer::Join, cx.now.mono + self.rebalance_timeout());
        self.complete_join_if_all_joined(cx);
    }

    /// What was assigned before a generation that nobody finished is not what the members have now.
    fn forget_assignments(&mut self) {
        for member in self.members.values_mut() {
            member.assignment.clear();
        }
    }

    /// The longest that a member may take: Kafka waits for the slowest.
    fn rebalance_timeout(&self) -> Duration {
        self.members
            .values()
            .map(Member::rebalance_timeout)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn complete_join_if_all_joined(&mut self, cx: &mut Cx) {
        let all = self.pending.is_empty() && self.members.values().all(|m| m.join.is_some());
        if self.state == State::PreparingRebalance && self.initial.is_none() && all {
            self.complete_join(cx);
        }
    }

    pub(super) fn join_phase_timed_out(&mut self, cx: &mut Cx) {
        match self.initial {
            Some(InitialDelay {
                waited,
                remaining,
                extended: true,
            }) if !remaining.is_zero() => {
                let delay =
                    Duration::from_millis(cx.settings.initial_rebalance_delay_ms.max(0) as u64);
                let next = delay.min(remaining);
                let remaining = remaining.saturating_sub(waited);
                self.initial = Some(InitialDelay {
                    waited: next,
                    remaining,
                    extended: false,
                });
                cx.timers.set(Timer::Join, cx.now.mono + next);
            }
            _ if self.state == State::PreparingRebalance => self.complete_join(cx),
            _ => {}
        }
    }

    /// Ends the join phase with those who came. Dynamic members that did not are out; static ones keep their place until
    /// their session ends.
    fn complete_join(&mut self, cx: &mut Cx) {
        cx.timers.cancel(&Timer::Join);
        let missing = |m: &&Member| m.join.is_none() && m.instance_id.is_none();
        let missing: Vec<String> = self
            .members
            .values()
            .filter(missing)
            .map(|m| m.id.clone())
            .collect();
        for id in missing {
            self.remove(cx, &id, GroupError::UnknownMemberId);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Nobody is there to assign: wait for somebody to come, or for the sessions to end.
            let at = cx.now.mono + self.rebalance_timeout().max(Duration::from_millis(1));
            return cx.timers.set(Timer::Join, at);
        }
        self.begin_generation(cx);
    }

    /// Keeps the leader if it joined, else lets one lead that did.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self
            .members
            .values()
            .find(|m| m.join.is_some())
            .map(|m| m.id.clone());
        let found = next.is_some();
        self.leader = next.or(self.leader.take());
        found
    }

    fn begin_generation(&mut self, cx: &mut Cx) {
        self.begin(cx);
        self.initial = None;
        self.pending_sync.clear();
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
        if self.members.is_empty() {
            self.enter(cx, State::Empty);
            return self.persist(cx);
        }
        self.enter(cx, State::CompletingRebalance);
        self.answer_joins(cx);
        cx.timers
            .set(Timer::Sync, cx.now.mono + self.rebalance_timeout());
    }

    fn answer_joins(&mut self, cx: &mut Cx) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let mut reply = self.join_reply(&id);
            if self.is_leader(&id) {
                reply.members = self.members_for_leader();
            }
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(request) = member.join.take() {
                cx.out.reply(request, Reply::JoinGroup(reply));
            }
            member.is_new = false;
            member.heard(cx);
            self.pending_sync.insert(id);
        }
    }

    /// The protocols that every member supports.
    fn supported_by_all(&self) -> BTreeSet<&str> {
        let mut members = self.members.values();
        let first = members.next().into_iter().flat_map(|m| &m.protocols);
        let mut all: BTreeSet<&str> = first.map(|p| &*p.name).collect();
        for member in members {
            all.retain(|name| member.supports(name));
        }
        all
    }

    /// The protocol that most members like best, of those that all of them support; ties go to the leader's order.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let by_all = self.supported_by_all();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member
                .protocols
                .iter()
                .find(|p| by_all.contains(&*p.name))?;
            *votes.entry(&favourite.name).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let order = leader.or(self.members.values().next())?.protocols.iter();
        order
            .map(|p| &p.name)
            .find(|name| votes.get(name.as_str()) == Some(&most))
            .cloned()
    }

    /// The member was not heard of in time. One that waits for an answer of ours has no session running, except a new one.
    pub(super) fn session_timed_out(&mut self, cx: &mut Cx, member_id: &str) {
        match self.remove(cx, member_id, GroupError::UnknownMemberId) {
            Some(_) => self.rebalance_after_removal(cx),
            // An id that was given out and never came back: only a join phase waits for it.
            None => self.complete_join_if_all_joined(cx),
        }
    }

    pub(super) fn rebalance_after_removal(&mut self, cx: &mut Cx) {
        if self.state != State::Empty {
            self.rebalance(cx);
        }
    }
}
