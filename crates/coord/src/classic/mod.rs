//! A group of the classic protocol: the members choose a leader's assignment in two rounds, JoinGroup and SyncGroup.
//!
//! The group moves between four states: *Empty*, *PreparingRebalance* (waiting for all to join), *CompletingRebalance*
//! (waiting for the leader's assignment) and *Stable*. What is stored is the last completed rebalance only: a take-over in
//! the middle of one goes back to it, and the members, whose generation does not fit, join again.
mod commit;
mod describe;
mod heartbeat;
mod join;
mod leave;
mod member;
mod rebalance;
mod replace;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;

pub(crate) use self::member::Member;
use crate::{
    command::RequestId,
    embedded::{self, Subscription},
    error::GroupError,
    group::Cx,
    mutant,
    offsets::RetentionStart,
    reply::{GroupState, JoinReply, Reply, SyncReply},
    row::{ClassicRow, GroupRow, MemberRow},
    timers::Timer,
};

/// How long a new member's JoinGroup may wait. It has no other way to show that it lives.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

#[derive(Debug)]
pub(crate) struct Classic {
    pub state: State,
    pub generation: i32,
    /// The newest generation that members were told of, here or by a former coordinator.
    begun: i32,
    pub protocol_type: Option<String>,
    /// Chosen at the end of the join phase.
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Instance id to member id.
    pub statics: BTreeMap<String, String>,
    /// Ids that were given out and have not come back (KIP-394).
    pending: BTreeSet<String>,
    /// Members that have not sent SyncGroup in this generation.
    pending_sync: BTreeSet<String>,
    /// The rebalance under way is the first since the group was empty: it waits for more members.
    initial: Option<InitialDelay>,
    /// Wall clock of the last change of state.
    since_ms: i64,
    /// What the members are subscribed to; `None` if the group cannot know.
    subscribed: Option<BTreeSet<String>>,
    /// Members that have a row in the store.
    pub saved: BTreeSet<String>,
    /// The group's row, as the last completed rebalance left it.
    completed: ClassicRow,
}

#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    /// How long the delay just waited for was.
    waited: Duration,
    /// How much longer it may become, because members keep coming.
    remaining: Duration,
    /// Somebody came since the delay began.
    extended: bool,
}

impl Classic {
    pub fn new(now_ms: i64) -> Self {
        Classic {
            state: State::Empty,
            generation: 0,
            begun: 0,
            completed: ClassicRow {
                generation: 0,
                begun: 0,
                protocol_type: None,
                protocol: None,
                leader: None,
                since_ms: now_ms,
            },
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            initial: None,
            since_ms: now_ms,
            subscribed: None,
            saved: BTreeSet::new(),
        }
    }

    /// The group as its last completed rebalance left it, with fresh session timers.
    pub fn restore(cx: &mut Cx, row: ClassicRow, members: BTreeMap<String, Member>) -> Self {
        let mut group = Classic::new(row.since_ms);
        group.saved = members.keys().cloned().collect();
        group.completed = row.clone();
        group.generation = row.generation;
        group.begun = row.begun.max(row.generation);
        group.protocol_type = row.protocol_type;
        group.protocol = row.protocol;
        group.leader = row.leader;
        group.adopt(cx, members);
        if mutant::is("takeover_rebalances") && !group.members.is_empty() {
            group.prepare_rebalance(cx);
        }
        group
    }

    /// Takes over members that have agreed on no protocol yet.
    pub fn settle(&mut self, cx: &mut Cx, members: BTreeMap<String, Member>) {
        self.adopt(cx, members);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
    }

    /// Takes over members that have their assignments already.
    fn adopt(&mut self, cx: &mut Cx, members: BTreeMap<String, Member>) {
        let instance = |m: &Member| Some((m.instance_id.clone()?, m.id.clone()));
        self.statics = members.values().filter_map(instance).collect();
        self.members = members;
        self.state = if self.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        };
        self.subscribed = self.subscriptions();
        self.members.values().for_each(|member| member.heard(cx));
    }

    /// Nobody has joined, and nobody was told to come back.
    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Somebody was given an id and has not come back with it yet.
    pub fn expects_members(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Stores that the group exists, before its first rebalance has completed.
    pub fn persist_new(&mut self, cx: &mut Cx) {
        cx.out.put_group(GroupRow::Classic(self.completed.clone()));
    }

    /// The newest generation that anybody was told of.
    pub fn newest_generation(&self) -> i32 {
        self.generation.max(self.begun)
    }

    /// **A generation is told of only when it is stored that it was begun**, so that no coordinator ever gives it again.
    fn begin(&mut self, cx: &mut Cx) {
        let newest = match mutant::is("generation_unstored") {
            true => self.generation,
            false => self.newest_generation(),
        };
        self.generation = newest.wrapping_add(1).max(1);
        self.begun = self.generation;
        self.completed.begun = self.begun;
        if !mutant::is("generation_unstored") {
            cx.out.put_group(GroupRow::Classic(self.completed.clone()));
        }
    }

    fn enter(&mut self, cx: &Cx, state: State) {
        self.state = state;
        self.since_ms = cx.now.wall_ms;
    }

    pub fn listed_state(&self) -> GroupState {
        match self.state {
            State::Empty => GroupState::Empty,
            State::PreparingRebalance => GroupState::PreparingRebalance,
            State::CompletingRebalance => GroupState::CompletingRebalance,
            State::Stable => GroupState::Stable,
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Whether the request comes from the member that it names.
    fn validate(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance_id {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(id) if id != member_id && !mutant::is("fenced_lives_on") => {
                    return Err(GroupError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        let known = self.members.contains_key(member_id);
        if known {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    /// Takes a member out, answers what it waits for, and lets another lead if it led. The caller rebalances.
    fn remove(&mut self, cx: &mut Cx, member_id: &str, code: GroupError) -> Option<Member> {
        self.pending.remove(member_id);
        self.pending_sync.remove(member_id);
        cx.timers.cancel_member(member_id);
        let mut member = self.members.remove(member_id)?;
        member.refuse_waiting(cx, code);
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Answers everything that waits with one code: for a group that changes its protocol or its coordinator.
    pub fn refuse_all_waiting(&mut self, cx: &mut Cx, code: GroupError) {
        self.members
            .values_mut()
            .for_each(|member| member.refuse_waiting(cx, code));
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(embedded::CONSUMER)
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed
            .as_ref()
            .is_some_and(|topics| topics.contains(topic))
    }

    /// The topics that all members together read, if this is a group of consumers whose bytes can be read.
    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        let protocol_type = self.protocol_type.as_deref()?;
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self
            .protocol
            .as_deref()
            .filter(|_| protocol_type == embedded::CONSUMER)?;
        let topics = |m: &Member| Some(Subscription::decode(m.metadata(protocol))?.topics);
        let all: Option<Vec<Vec<String>>> = self.members.values().map(topics).collect();
        Some(all?.into_iter().flatten().collect())
    }

    /// From when on the retention of the offsets of `topic` counts.
    pub fn retention_start(&self, topic: &str) -> RetentionStart {
        match (&self.protocol_type, self.state) {
            (None, _) => RetentionStart::Commit,
            (Some(_), State::Empty) => RetentionStart::Emptied {
                wall_ms: self.since_ms,
            },
            (Some(_), State::Stable)
                if self.subscribed.is_some() && !self.is_subscribed_to(topic) =>
            {
                RetentionStart::Commit
            }
            _ => RetentionStart::Never,
        }
    }

    /// Stores the group as it is now. Only called where a rebalance is complete, so never with half of one.
    pub fn persist(&mut self, cx: &mut Cx) {
        self.complete(cx);
        let gone = self
            .saved
            .iter()
            .filter(|id| !self.members.contains_key(*id));
        gone.for_each(|id| cx.out.delete_member(id));
        for (id, member) in &self.members {
            cx.out.put_member(id, MemberRow::Classic(member.row()));
        }
        self.saved = self.members.keys().cloned().collect();
    }

    fn complete(&mut self, cx: &mut Cx) {
        self.completed = ClassicRow {
            generation: self.generation,
            begun: self.newest_generation(),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since_ms: self.since_ms,
        };
        cx.out.put_group(GroupRow::Classic(self.completed.clone()));
    }

    /// Stores that a member goes by another id, and nothing else.
    fn persist_renamed(&mut self, cx: &mut Cx, old: &str, new: &str) {
        self.complete(cx);
        cx.out.delete_member(old);
        self.saved.remove(old);
        if let Some(member) = self.members.get(new) {
            cx.out.put_member(new, MemberRow::Classic(member.row()));
            self.saved.insert(new.to_owned());
        }
    }

    fn join_reply(&self, member_id: &str) -> JoinReply {
        JoinReply {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }

    fn answer_sync(&self, cx: &mut Cx, request: RequestId, assignment: Bytes) {
        let reply = SyncReply {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
        };
        cx.out.reply(request, Reply::SyncGroup(reply));
    }

    /// A timer of this group fell due.
    pub fn timeout(&mut self, cx: &mut Cx, timer: Timer) {
        match timer {
            Timer::Join => self.join_phase_timed_out(cx),
            Timer::Sync => self.sync_phase_timed_out(cx),
            Timer::Session(member) => self.session_timed_out(cx, &member),
            Timer::Revocation(..) | Timer::Rejoin(_) | Timer::MemberSync(_) => {}
        }
    }
}
