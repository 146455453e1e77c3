//! LeaveGroup: members go, one or many at a time.
use super::Classic;
use crate::{
    command::{LeaveGroup, LeavingMember},
    error::GroupError,
    group::Cx,
    reply::{LeaveReply, LeftMember},
};

impl Classic {
    pub fn leave(&mut self, cx: &mut Cx, leave: LeaveGroup) -> LeaveReply {
        let before = self.members.len();
        let answer = |member: LeavingMember, error| LeftMember {
            member_id: member.member_id,
            instance_id: member.instance_id,
            error,
        };
        let mut members = Vec::with_capacity(leave.members.len());
        for member in leave.members {
            let error = self.leave_one(cx, &member).err();
            members.push(answer(member, error));
        }
        if self.members.len() < before {
            self.rebalance_after_removal(cx);
        } else {
            self.complete_join_if_all_joined(cx);
        }
        LeaveReply {
            error: None,
            members,
        }
    }

    fn leave_one(&mut self, cx: &mut Cx, member: &LeavingMember) -> Result<(), GroupError> {
        let id = match (&member.instance_id, member.member_id.as_str()) {
            // An administrator removes a static member by its instance id.
            (Some(instance), "") => self
                .statics
                .get(instance)
                .ok_or(GroupError::UnknownMemberId)?
                .clone(),
            (_, id) => {
                if !self.pending.contains(id) {
                    self.validate(id, member.instance_id.as_deref())?;
                }
                id.to_owned()
            }
        };
        self.remove(cx, &id, GroupError::UnknownMemberId);
        Ok(())
    }
}
