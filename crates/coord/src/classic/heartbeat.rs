//! Heartbeat: the member lives; does it have to rejoin?
use super::{Classic, State};
use crate::{command::Heartbeat, error::GroupError, group::Cx, mutant};

impl Classic {
    pub fn heartbeat(&mut self, cx: &mut Cx, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        self.validate(&heartbeat.member_id, heartbeat.instance_id.as_deref())?;
        if heartbeat.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => {
                self.heard_from(cx, &heartbeat.member_id);
                match mutant::is("rebalance_untold") {
                    true => Ok(()),
                    false => Err(GroupError::RebalanceInProgress),
                }
            }
            // Clients begin to send heartbeats as soon as they have joined.
            State::CompletingRebalance | State::Stable => {
                self.heard_from(cx, &heartbeat.member_id);
                Ok(())
            }
        }
    }

    /// Begins the member's session anew, unless an answer of ours is what it waits for.
    pub(super) fn heard_from(&self, cx: &mut Cx, member_id: &str) {
        let member = self.members.get(member_id);
        if let Some(member) = member.filter(|m| m.join.is_none() && m.sync.is_none()) {
            member.heard(cx);
        }
    }
}
