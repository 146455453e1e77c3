//! Members that speak the classic protocol in a KIP-848 group. For each of them the group looks like a classic one: its
//! epoch is the generation, and "rebalance in progress" means that there is something new to fetch by joining again.
use super::Consumer;
use crate::{
    command::{
        Client, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, RequestId, SyncGroup,
        TopicPartitions,
    },
    embedded::{self, Subscription},
    error::GroupError,
    group::Cx,
    reply::{JoinReply, LeaveReply, LeftMember, Reply, SyncReply},
    row::{self, ClassicFacade, ConsumerMemberRow, MemberState},
    settings::MigrationPolicy,
    timers::Timer,
    topics::Topics,
};

impl Consumer {
    pub fn join_classic(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        client: Client,
        join: JoinGroup,
    ) {
        let reply = match self.try_join_classic(cx, client, &join) {
            Ok(reply) => reply,
            Err(code) => JoinReply::refused(&join.member_id, code),
        };
        self.save(cx);
        cx.out.reply(request, Reply::JoinGroup(reply));
    }

    fn try_join_classic(
        &mut self,
        cx: &mut Cx,
        client: Client,
        join: &JoinGroup,
    ) -> Result<JoinReply, GroupError> {
        let is_new = join.member_id.is_empty();
        let id = if is_new {
            cx.uuid().to_string()
        } else {
            join.member_id.clone()
        };
        self.check_classic_join(cx, &id, join)?;
        let first = join
            .protocols
            .first()
            .ok_or(GroupError::InconsistentGroupProtocol)?;
        let subscription = Subscription::decode(first.metadata.clone())
            .ok_or(GroupError::InconsistentGroupProtocol)?;
        if is_new && join.instance_id.is_none() && join.requires_known_member_id {
            return Ok(JoinReply::refused(&id, GroupError::MemberIdRequired));
        }
        let before = self.classic_member_of(cx, &id, join, is_new)?;
        let owned = owned_partitions(cx.topics, &subscription);
        let member = as_classic(&before, client, join, subscription);
        let changed = self.subscribe(cx, &id, &before, member);
        self.bump_epoch_if(cx, changed);
        self.assign_if_due(cx);
        self.reconcile(cx, &id, Some(&owned), changed);
        Ok(self.classic_joined(cx, &id, join))
    }

    fn check_classic_join(&self, cx: &Cx, id: &str, join: &JoinGroup) -> Result<(), GroupError> {
        let full = self.members.len() >= cx.settings.consumer_members_max
            && !self.members.contains_key(id);
        let others = self.members.iter().filter(|(other, _)| *other != id);
        let others: Vec<&ClassicFacade> = others.filter_map(|(_, m)| m.classic.as_ref()).collect();
        let by_all = |name: &str| {
            others
                .iter()
                .all(|c| c.protocols.iter().any(|p| p.name == name))
        };
        match () {
            () if cx.settings.migration == MigrationPolicy::Disabled => {
                Err(GroupError::InconsistentGroupProtocol)
            }
            () if full => Err(GroupError::GroupMaxSizeReached),
            () if join.protocol_type != embedded::CONSUMER => {
                Err(GroupError::InconsistentGroupProtocol)
            }
            () if !join.protocols.iter().any(|p| by_all(&p.name)) => {
                Err(GroupError::InconsistentGroupProtocol)
            }
            () => Ok(()),
        }
    }

    fn classic_member_of(
        &mut self,
        cx: &mut Cx,
        id: &str,
        join: &JoinGroup,
        is_new: bool,
    ) -> Result<ConsumerMemberRow, GroupError> {
        let known = self.members.get(id).cloned();
        let Some(instance) = &join.instance_id else {
            return Ok(known.unwrap_or_default());
        };
        match self.holder_of(instance) {
            None if is_new => Ok(ConsumerMemberRow::default()),
            None => Err(GroupError::UnknownMemberId),
            Some((holder, member)) if holder == id => Ok(member),
            Some((holder, _)) if is_new => Ok(self.replace(cx, &holder, id)),
            Some(_) => Err(GroupError::FencedInstanceId),
        }
    }

    fn classic_joined(&self, cx: &mut Cx, id: &str, join: &JoinGroup) -> JoinReply {
        cx.timers.cancel(&Timer::Rejoin(id.to_owned()));
        if let Some(member) = self.members.get(id) {
            self.heard(cx, id, member);
        }
        let at = cx.after_ms(join.rebalance_timeout_ms);
        cx.timers.set(Timer::MemberSync(id.to_owned()), at);
        JoinReply {
            error: None,
            generation: self.members.get(id).map_or(-1, |m| m.epoch),
            protocol_type: Some(embedded::CONSUMER.to_owned()),
            protocol_name: join.protocols.first().map(|p| p.name.clone()),
            leader: String::new(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members: Vec::new(),
        }
    }

    /// The member, if the request comes from it, it speaks the classic protocol, and the generation is its epoch.
    fn check_classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: Option<i32>,
    ) -> Result<(&ConsumerMemberRow, &ClassicFacade), GroupError> {
        if let Some(instance) = instance_id {
            let (holder, _) = self
                .holder_of(instance)
                .ok_or(GroupError::UnknownMemberId)?;
            if holder != id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let member = self.members.get(id).ok_or(GroupError::UnknownMemberId)?;
        let classic = member.classic.as_ref().ok_or(GroupError::UnknownMemberId)?;
        if generation.is_some_and(|generation| generation != member.epoch) {
            return Err(GroupError::IllegalGeneration);
        }
        Ok((member, classic))
    }

    pub fn sync_classic(&mut self, cx: &mut Cx, request: RequestId, sync: SyncGroup) {
        let reply = self
            .try_sync_classic(cx, &sync)
            .unwrap_or_else(SyncReply::refused);
        cx.out.reply(request, Reply::SyncGroup(reply));
    }

    fn try_sync_classic(&self, cx: &mut Cx, sync: &SyncGroup) -> Result<SyncReply, GroupError> {
        let id = &sync.member_id;
        let (member, classic) =
            self.check_classic_member(id, sync.instance_id.as_deref(), Some(sync.generation))?;
        let protocol = classic
            .protocols
            .first()
            .ok_or(GroupError::InconsistentGroupProtocol)?;
        let other_type = sync
            .protocol_type
            .as_deref()
            .is_some_and(|t| t != embedded::CONSUMER);
        if other_type
            || sync
                .protocol_name
                .as_ref()
                .is_some_and(|name| *name != protocol.name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        // While it gives partitions up, the member has joined already and must learn which.
        if self.assignment_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions
        {
            self.expect_rejoin(cx, id, member);
            return Err(GroupError::RebalanceInProgress);
        }
        cx.timers.cancel(&Timer::MemberSync(id.clone()));
        self.heard(cx, id, member);
        Ok(SyncReply {
            error: None,
            protocol_type: Some(embedded::CONSUMER.to_owned()),
            protocol_name: Some(protocol.name.clone()),
            assignment: classic_assignment(cx.topics, member, classic),
        })
    }

    fn expect_rejoin(&self, cx: &mut Cx, id: &str, member: &ConsumerMemberRow) {
        let at = cx.after_ms(member.rebalance_timeout_ms);
        cx.timers.set_if_absent(Timer::Rejoin(id.to_owned()), at);
    }

    pub fn heartbeat_classic(&mut self, cx: &mut Cx, beat: &Heartbeat) -> Result<(), GroupError> {
        let id = &beat.member_id;
        let (member, _) =
            self.check_classic_member(id, beat.instance_id.as_deref(), Some(beat.generation))?;
        self.heard(cx, id, member);
        let released =
            member.state == MemberState::UnreleasedPartitions && !self.waits_for_others(id, member);
        let must_rejoin = member.epoch < self.epoch
            || member.state == MemberState::UnrevokedPartitions
            || released;
        if must_rejoin {
            self.expect_rejoin(cx, id, member);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    pub fn leave_classic(&mut self, cx: &mut Cx, leave: LeaveGroup) -> LeaveReply {
        let mut members = Vec::with_capacity(leave.members.len());
        for member in leave.members {
            let error = self.leave_one_classic(cx, &member).err();
            let LeavingMember {
                member_id,
                instance_id,
                ..
            } = member;
            members.push(LeftMember {
                member_id,
                instance_id,
                error,
            });
        }
        self.save(cx);
        LeaveReply {
            error: None,
            members,
        }
    }

    fn leave_one_classic(
        &mut self,
        cx: &mut Cx,
        leaving: &LeavingMember,
    ) -> Result<(), GroupError> {
        let id = match (&leaving.instance_id, leaving.member_id.as_str()) {
            // An administrator may remove any static member by its instance id, whatever it speaks.
            (Some(instance), "") => self
                .statics
                .get(instance)
                .cloned()
                .ok_or(GroupError::UnknownMemberId)?,
            (instance, id) => {
                self.check_classic_member(id, instance.as_deref(), None)?;
                id.to_owned()
            }
        };
        self.fence(cx, &id);
        Ok(())
    }
}

fn as_classic(
    before: &ConsumerMemberRow,
    client: Client,
    join: &JoinGroup,
    subscription: Subscription,
) -> ConsumerMemberRow {
    let mut member = before.clone();
    member.client_id = client.id;
    member.client_host = client.host;
    member.instance_id = join.instance_id.clone().or(member.instance_id);
    member.rack_id = subscription.rack_id.or(member.rack_id);
    member.rebalance_timeout_ms = join.rebalance_timeout_ms;
    member.topic_names = subscription.topics.into_iter().collect();
    member.topic_regex = None;
    member.assignor = None;
    member.classic = Some(ClassicFacade {
        session_timeout_ms: join.session_timeout_ms,
        protocols: row::protocols_to_rows(&join.protocols),
    });
    member
}

fn owned_partitions(topics: &Topics, subscription: &Subscription) -> TopicPartitions {
    let owned = subscription.owned.iter();
    owned
        .filter_map(|(name, partitions)| Some((topics.get(name)?.id, partitions.clone())))
        .collect()
}

/// What the member is assigned, in the version of the embedded protocol that it speaks.
pub(crate) fn classic_assignment(
    topics: &Topics,
    member: &ConsumerMemberRow,
    classic: &ClassicFacade,
) -> bytes::Bytes {
    let version = classic
        .protocols
        .first()
        .map_or(0, |p| embedded::version(&p.metadata));
    let named = member.assigned.0.iter().filter_map(|(id, partitions)| {
        Some((
            topics.name(id)?.to_owned(),
            partitions.keys().copied().collect(),
        ))
    });
    embedded::encode_assignment(version, &named.collect())
}
