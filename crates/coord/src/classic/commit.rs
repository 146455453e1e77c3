//! What a classic group has against a commit, or a deletion, of offsets.
use super::{Classic, State};
use crate::{command::OffsetCommit, error::GroupError, group::Cx, mutant};

impl Classic {
    /// A commit comes from a member of this generation, or, while there are no members, from a consumer that works alone.
    pub fn check_commit(&self, cx: &mut Cx, commit: &OffsetCommit) -> Result<(), GroupError> {
        let generation = commit.generation_or_epoch;
        let transactional = commit.transaction.is_some();
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        let names_member =
            generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some();
        if names_member {
            self.validate(&commit.member_id, commit.instance_id.as_deref())?;
            if generation != self.generation && !mutant::is("stale_commit") {
                return Err(GroupError::IllegalGeneration);
            }
        } else if !transactional && self.state != State::Empty {
            return Err(GroupError::UnknownMemberId);
        }
        // The member has the generation, but its offsets belong to the assignment of the one before.
        if !transactional && self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.heard_from(cx, &commit.member_id);
        Ok(())
    }

    /// Offsets of a living group can be deleted only where the group can tell which topics it reads.
    pub fn check_offset_delete(&self) -> Result<(), GroupError> {
        match self.state {
            State::Empty => Ok(()),
            _ if self.uses_consumer_protocol() => Ok(()),
            _ => Err(GroupError::NonEmptyGroup),
        }
    }

    pub fn check_delete(&self) -> Result<(), GroupError> {
        match self.state {
            State::Empty => Ok(()),
            _ => Err(GroupError::NonEmptyGroup),
        }
    }
}
