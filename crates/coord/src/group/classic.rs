//! The requests of the classic protocol.
use super::{Group, Kind, Now, cx};
use crate::{
    classic::Classic,
    command::{Client, Heartbeat, JoinGroup, LeaveGroup, RequestId, SyncGroup},
    error::GroupError,
    group::Cx,
    reply::{DescribeReply, GroupState, JoinReply, LeaveReply, Reply, SyncReply},
};

impl Group {
    pub(super) fn join(&mut self, now: Now, id: RequestId, client: Client, join: JoinGroup) {
        if let Err(code) = self.check_join(&join) {
            let reply = JoinReply::refused(&join.member_id, code);
            return self.outbox.reply(id, Reply::JoinGroup(reply));
        }
        let cx = cx!(self, now);
        if let Kind::Consumer(consumer) = &mut self.kind
            && !consumer.is_empty()
        {
            consumer.join_classic(cx, id, client, join);
            return self.downgrade_if_all_are_classic(now);
        }
        let former = match &self.kind {
            Kind::Classic(_) => None,
            Kind::Absent | Kind::Consumer(_) => {
                let classic = Kind::Classic(Box::new(Classic::new(now.wall_ms)));
                Some(std::mem::replace(&mut self.kind, classic))
            }
        };
        let Kind::Classic(classic) = &mut self.kind else {
            return;
        };
        classic.join(cx, id, client, join);
        match former {
            // Nobody came in: the group is what it was.
            Some(former) if classic.is_unused() => self.kind = former,
            Some(_) => classic.persist_new(cx),
            None => {}
        }
    }

    fn check_join(&self, join: &JoinGroup) -> Result<(), GroupError> {
        let allowed = self.settings.classic_session_timeout_ms_min
            ..=self.settings.classic_session_timeout_ms_max;
        let exists = match &self.kind {
            Kind::Absent => false,
            Kind::Classic(_) => true,
            Kind::Consumer(consumer) => !consumer.is_empty(),
        };
        match () {
            () if self.id.is_empty() => Err(GroupError::InvalidGroupId),
            () if !allowed.contains(&join.session_timeout_ms) => {
                Err(GroupError::InvalidSessionTimeout)
            }
            () if !exists && !join.member_id.is_empty() => Err(GroupError::UnknownMemberId),
            () => Ok(()),
        }
    }

    pub(super) fn sync(&mut self, now: Now, id: RequestId, sync: SyncGroup) {
        let cx = cx!(self, now);
        match &mut self.kind {
            Kind::Absent => {
                let reply = SyncReply::refused(GroupError::UnknownMemberId);
                self.outbox.reply(id, Reply::SyncGroup(reply));
            }
            Kind::Classic(classic) => classic.sync(cx, id, sync),
            Kind::Consumer(consumer) => consumer.sync_classic(cx, id, sync),
        }
    }

    pub(super) fn heartbeat(&mut self, now: Now, beat: &Heartbeat) -> Result<(), GroupError> {
        let cx = cx!(self, now);
        match &mut self.kind {
            Kind::Absent => Err(GroupError::UnknownMemberId),
            Kind::Classic(classic) => classic.heartbeat(cx, beat),
            Kind::Consumer(consumer) => consumer.heartbeat_classic(cx, beat),
        }
    }

    pub(super) fn leave(&mut self, now: Now, leave: LeaveGroup) -> LeaveReply {
        let cx = cx!(self, now);
        match &mut self.kind {
            Kind::Absent => LeaveReply::unknown(leave),
            Kind::Classic(classic) => classic.leave(cx, leave),
            Kind::Consumer(consumer) => consumer.leave_classic(cx, leave),
        }
    }

    /// DescribeGroups knows classic groups only; for it a KIP-848 group does not exist.
    pub(super) fn describe(&self) -> DescribeReply {
        match &self.kind {
            Kind::Classic(classic) => classic.describe(),
            Kind::Absent | Kind::Consumer(_) => DescribeReply {
                error: Some(self.no_such_group("a classic group")),
                state: GroupState::Dead,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
        }
    }
}
