//! A static member that comes back takes its old place under a new member id (KIP-345), if it can without a rebalance.
use super::{Classic, NEW_MEMBER_JOIN_TIMEOUT, State};
use crate::{
    command::{Client, JoinGroup, RequestId},
    error::GroupError,
    group::Cx,
    reply::Reply,
};

impl Classic {
    pub(super) fn replace_static(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        client: Client,
        join: &JoinGroup,
        old: &str,
        new: &str,
    ) {
        let leader_before = self.leader.clone();
        self.rename(cx, old, new);
        if let Some(member) = self.members.get_mut(new) {
            member.client = client;
            member.update(join);
        }
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            return self.come_back(cx, request, join, (old, new), leader_before);
        }
        if let Some(member) = self.members.get_mut(new) {
            member.wait_for_join(cx, request, NEW_MEMBER_JOIN_TIMEOUT);
        }
        // In the sync phase the leader may be assigning to the old id: only a new rebalance reaches the new one.
        self.rebalance(cx);
    }

    /// The member goes by a new id from now on; whoever used the old one is fenced.
    fn rename(&mut self, cx: &mut Cx, old: &str, new: &str) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        member.refuse_waiting(cx, GroupError::FencedInstanceId);
        cx.timers.cancel_member(old);
        member.id = new.to_owned();
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), new.to_owned());
        }
        self.members.insert(new.to_owned(), member);
        if self.is_leader(old) {
            self.leader = Some(new.to_owned());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.to_owned());
        }
    }

    /// Nothing else changes: the group stays stable and the member keeps its assignment.
    ///
    /// A leader that knows how to skip the assignment learns the members and that it leads. An older client would assign
    /// anew if it were told so; it is shown the former leader instead, and goes on as a follower.
    fn come_back(
        &mut self,
        cx: &mut Cx,
        request: RequestId,
        join: &JoinGroup,
        (old, new): (&str, &str),
        leader_before: Option<String>,
    ) {
        if let Some(member) = self.members.get(new) {
            member.heard(cx);
        }
        self.persist_renamed(cx, old, new);
        let mut reply = self.join_reply(new);
        if join.supports_skipping_assignment {
            reply.skip_assignment = self.is_leader(new);
            if reply.skip_assignment {
                reply.members = self.members_for_leader();
            }
        } else {
            reply.leader = leader_before.unwrap_or_default();
        }
        cx.out.reply(request, Reply::JoinGroup(reply));
    }
}
