//! JoinGroup: who may join, and what that does to the group.
use super::{Classic, InitialDelay, Member, NEW_MEMBER_JOIN_TIMEOUT, State};
use crate::{
    command::{Client, JoinGroup, RequestId},
    error::GroupError,
    group::Cx,
    reply::{JoinMember, JoinReply, Reply},
    timers::Timer,
};
use bytes::Bytes;

impl Classic {
    pub fn join(&mut self, cx: &mut Cx, request: RequestId, client: Client, join: JoinGroup) {
        let joined = match () {
            () if !self.has_room_for(cx, &join.member_id) => {
                self.remove(cx, &join.member_id, GroupError::GroupMaxSizeReached);
                let reply = JoinReply::refused("", GroupError::GroupMaxSizeReached);
                return cx.out.reply(request, Reply::JoinGroup(reply));
            }
            () if !self.supports_protocols(&join) => Err(GroupError::InconsistentGroupProtocol),
            () if join.member_id.is_empty() => self.join_new(cx, request, client, &join),
            () => self.join_known(cx, request, client, &join),
        };
        if let Err(code) = joined {
            let reply = JoinReply::refused(&join.member_id, code);
            cx.out.reply(request, Reply::JoinGroup(reply));
        }
    }

    /// A member that is in the group (while preparing: that waits already) keeps its place; others need a free one.
    fn has_room_for(&self, cx: &Cx, member_id: &str) -> bool {
        let max = cx.settings.classic_members_max;
        let known = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let waiting = self.members.values().filter(|m| m.join.is_some()).count();
                known.is_some_and(|m| m.join.is_some()) || waiting < max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.members.len() < max
            }
        }
    }

    fn supports_protocols(&self, join: &JoinGroup) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let by_all = |name: &str| self.members.values().all(|m| m.supports(name));
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|p| by_all(&p.name))
    }

    fn join_new(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        client: Client,
        join: &JoinGroup,
    ) -> Result<(), GroupError> {
        let member_id = cx.member_id(join.instance_id.as_deref().unwrap_or(&client.id));
        let replaced = join
            .instance_id
            .as_ref()
            .and_then(|i| self.statics.get(i))
            .cloned();
        match replaced {
            Some(old) => self.replace_static(cx, request, client, join, &old, &member_id),
            None if join.instance_id.is_none() && join.requires_known_member_id => {
                self.give_id(cx, request, join, &member_id)
            }
            None => self.add_member(cx, request, client, join, member_id),
        }
        Ok(())
    }

    /// A dynamic member first learns its id and comes back with it, so that a client that gave up leaves no member behind.
    fn give_id(&mut self, cx: &mut Cx, request: RequestId, join: &JoinGroup, member_id: &str) {
        self.pending.insert(member_id.to_owned());
        let at = cx.after_ms(join.session_timeout_ms);
        cx.timers.set(Timer::Session(member_id.to_owned()), at);
        let reply = JoinReply::refused(member_id, GroupError::MemberIdRequired);
        cx.out.reply(request, Reply::JoinGroup(reply));
    }

    fn join_known(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        client: Client,
        join: &JoinGroup,
    ) -> Result<(), GroupError> {
        let id = &join.member_id;
        if join.instance_id.is_none() && self.pending.contains(id) {
            self.add_member(cx, request, client, join, id.clone());
            return Ok(());
        }
        self.validate(id, join.instance_id.as_deref())?;
        let same = self
            .members
            .get(id)
            .is_some_and(|m| m.protocols == join.protocols);
        let lost_answer = match self.state {
            State::Empty => return Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => false,
            // It may not have got the answer to its first JoinGroup.
            State::CompletingRebalance => same,
            // A leader that joins again wants a rebalance; a follower that has nothing new has lost its answer.
            State::Stable => same && !self.is_leader(id),
        };
        if lost_answer {
            self.repeat_join_answer(cx, request, id);
        } else {
            self.rejoin(cx, request, join);
        }
        Ok(())
    }

    fn repeat_join_answer(&mut self, cx: &mut Cx, request: RequestId, member_id: &str) {
        let mut reply = self.join_reply(member_id);
        if self.is_leader(member_id) {
            reply.members = self.members_for_leader();
        }
        cx.out.reply(request, Reply::JoinGroup(reply));
    }

    pub(super) fn members_for_leader(&self) -> Vec<JoinMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let tell = |member: &Member| JoinMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(tell).collect()
    }

    fn rejoin(&mut self, cx: &mut Cx, request: RequestId, join: &JoinGroup) {
        if let Some(member) = self.members.get_mut(&join.member_id) {
            member.update(join);
            member.wait_for_join(cx, request, NEW_MEMBER_JOIN_TIMEOUT);
        }
        self.rebalance(cx);
    }

    fn add_member(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        client: Client,
        join: &JoinGroup,
        id: String,
    ) {
        let mut member = Member {
            id: id.clone(),
            instance_id: join.instance_id.clone(),
            client,
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            join: None,
            sync: None,
            is_new: true,
        };
        member.update(join);
        member.wait_for_join(cx, request, NEW_MEMBER_JOIN_TIMEOUT);
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Some(instance) = &join.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
        if let Some(InitialDelay { extended, .. }) = &mut self.initial {
            *extended = true;
        }
        self.rebalance(cx);
    }
}

impl Member {
    pub(super) fn update(&mut self, join: &JoinGroup) {
        self.protocols = join.protocols.clone();
        self.session_timeout_ms = join.session_timeout_ms;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms;
    }
}
