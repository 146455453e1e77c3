//! What a KIP-848 group has against a commit, or a fetch, of offsets.
use sh_base::PartitionIndex;

use super::Consumer;
use crate::{
    command::{OffsetCommit, OffsetFetch},
    error::GroupError,
    mutant,
    row::ConsumerMemberRow,
    topics::Topics,
};

/// How far a commit is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitCheck {
    Accept,
    /// From an earlier epoch of the member: partitions that it has had since then are accepted (KIP-1251).
    ByAssignment {
        member_id: String,
        epoch: i32,
    },
}

impl Consumer {
    pub fn check_commit(&self, commit: &OffsetCommit) -> Result<CommitCheck, GroupError> {
        let epoch = commit.generation_or_epoch;
        let transactional = commit.transaction.is_some();
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitCheck::Accept);
        }
        let anonymous = commit.member_id.is_empty() && commit.instance_id.is_none() && epoch == -1;
        if transactional && anonymous {
            return Ok(CommitCheck::Accept);
        }
        let member = self
            .members
            .get(&commit.member_id)
            .ok_or(GroupError::UnknownMemberId)?;
        if !transactional && member.classic.is_none() && !commit.knows_member_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        match epoch {
            epoch if epoch == member.epoch => Ok(CommitCheck::Accept),
            _ if mutant::is("stale_commit") => Ok(CommitCheck::Accept),
            epoch if epoch > member.epoch => Err(stale(member)),
            epoch => Ok(CommitCheck::ByAssignment {
                member_id: commit.member_id.clone(),
                epoch,
            }),
        }
    }

    /// What the group holds against one partition of a commit that it has checked.
    pub fn refuses_partition(
        &self,
        check: &CommitCheck,
        topics: &Topics,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<GroupError> {
        let CommitCheck::ByAssignment { member_id, epoch } = check else {
            return None;
        };
        let member = self.members.get(member_id)?;
        let since = topics.get(topic).and_then(|topic| {
            let held = [&member.assigned, &member.revoking];
            held.into_iter()
                .find_map(|partitions| partitions.epoch_of(&topic.id, partition))
        });
        let current = since.is_some_and(|since| *epoch >= since);
        (!current).then(|| stale(member))
    }

    /// A fetch that names a member must come from it, in its epoch.
    pub fn check_fetch(&self, fetch: &OffsetFetch) -> Result<(), GroupError> {
        let named = fetch.member_id.as_deref().filter(|id| !id.is_empty());
        if named.is_none() && fetch.member_epoch < 0 {
            return Ok(());
        }
        let member = self
            .members
            .get(named.unwrap_or_default())
            .ok_or(GroupError::UnknownMemberId)?;
        if fetch.member_epoch == member.epoch {
            Ok(())
        } else {
            Err(stale(member))
        }
    }
}

fn stale(member: &ConsumerMemberRow) -> GroupError {
    match member.classic {
        Some(_) => GroupError::IllegalGeneration,
        None => GroupError::StaleMemberEpoch,
    }
}
