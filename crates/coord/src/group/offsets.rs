//! Commits and deletions of offsets, and of the group itself. The rows are the caller's; the group says what may change.
use super::{Cx, Group, Kind, Now, cx};
use crate::{
    classic::Classic,
    command::{ExpireOffsets, OffsetCommit, OffsetDelete, OffsetFetch, RequestId},
    consumer::CommitCheck,
    error::GroupError,
    offsets::{self, RetentionStart, is_expired},
    outbox::OffsetChange,
    reply::{ExpireReply, OffsetsReply, Reply},
};

impl Group {
    pub(super) fn commit(&mut self, now: Now, id: RequestId, commit: OffsetCommit) {
        let reply = match self.check_commit(now, &commit) {
            Err(code) => offsets::refuse(&commit, code),
            Ok(check) => self.store(now, id, commit, &check),
        };
        self.outbox.reply(id, Reply::OffsetCommit(reply));
    }

    fn check_commit(&mut self, now: Now, commit: &OffsetCommit) -> Result<CommitCheck, GroupError> {
        let cx = cx!(self, now);
        match &mut self.kind {
            // A consumer that works alone makes a group that only holds its offsets.
            Kind::Absent if commit.generation_or_epoch < 0 => Ok(CommitCheck::Accept),
            Kind::Absent if commit.knows_member_epochs => Err(GroupError::GroupIdNotFound),
            Kind::Absent => Err(GroupError::IllegalGeneration),
            Kind::Classic(classic) => classic
                .check_commit(cx, commit)
                .map(|()| CommitCheck::Accept),
            Kind::Consumer(consumer) => consumer
                .check_commit(commit)
                .map_err(|code| stale_epoch_for(commit, code)),
        }
    }

    fn store(
        &mut self,
        now: Now,
        id: RequestId,
        commit: OffsetCommit,
        check: &CommitCheck,
    ) -> OffsetsReply {
        let transactional = commit.transaction.is_some();
        let stale = |topic: &str, partition| {
            let Kind::Consumer(consumer) = &self.kind else {
                return None;
            };
            let code = consumer.refuses_partition(check, &self.topics, topic, partition)?;
            Some(if transactional {
                GroupError::IllegalGeneration
            } else {
                code
            })
        };
        let (change, reply) = offsets::accept(id, commit, &self.settings, now.wall_ms, stale);
        if let Some(change) = change {
            self.outbox.change_offsets(change);
            self.exist(now);
        }
        reply
    }

    /// A group that holds offsets exists.
    fn exist(&mut self, now: Now) {
        if matches!(self.kind, Kind::Absent) {
            let mut classic = Classic::new(now.wall_ms);
            classic.persist(cx!(self, now));
            self.kind = Kind::Classic(Box::new(classic));
        }
    }

    pub(super) fn check_fetch(&self, fetch: &OffsetFetch) -> Result<(), GroupError> {
        match &self.kind {
            Kind::Consumer(consumer) => consumer.check_fetch(fetch),
            Kind::Absent | Kind::Classic(_) => Ok(()),
        }
    }

    pub(super) fn delete_offsets(
        &mut self,
        request: RequestId,
        delete: OffsetDelete,
    ) -> OffsetsReply {
        let allowed = match &self.kind {
            Kind::Absent => Err(GroupError::GroupIdNotFound),
            Kind::Classic(classic) => classic.check_offset_delete(),
            Kind::Consumer(_) => Ok(()),
        };
        let mut reply = OffsetsReply {
            error: allowed.err(),
            ..OffsetsReply::default()
        };
        let topics = delete.topics.into_iter().filter(|_| allowed.is_ok());
        for (topic, partitions) in topics {
            let subscribed = self.is_subscribed_to(&topic);
            let refused = subscribed.then_some(GroupError::GroupSubscribedToTopic);
            if refused.is_none() {
                for partition in partitions.iter().copied() {
                    let topic = topic.clone();
                    self.outbox.change_offsets(OffsetChange::Delete {
                        request,
                        topic,
                        partition,
                    });
                }
            }
            reply.topics.push((
                topic,
                partitions.into_iter().map(|p| (p, refused)).collect(),
            ));
        }
        reply
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.kind {
            Kind::Absent => false,
            Kind::Classic(classic) => classic.is_subscribed_to(topic),
            Kind::Consumer(consumer) => consumer.is_subscribed_to(topic),
        }
    }

    pub(super) fn delete(&mut self) -> Result<(), GroupError> {
        match &self.kind {
            Kind::Absent => return Err(GroupError::GroupIdNotFound),
            Kind::Classic(classic) => classic.check_delete()?,
            Kind::Consumer(consumer) if !consumer.is_empty() => {
                return Err(GroupError::NonEmptyGroup);
            }
            Kind::Consumer(_) => {}
        }
        self.outbox.change_offsets(OffsetChange::DeleteAll);
        self.cease();
        Ok(())
    }

    /// The group is gone, with the ids that it had given out.
    fn cease(&mut self) {
        if let Kind::Classic(classic) = &self.kind {
            classic
                .saved
                .iter()
                .for_each(|id| self.outbox.delete_member(id));
        }
        self.outbox.delete_group();
        self.timers.clear();
        self.kind = Kind::Absent;
    }

    /// Drops the offsets that are too old, and with the last of them the group, if nobody is in it.
    pub(super) fn expire(&mut self, now: Now, expire: ExpireOffsets) -> ExpireReply {
        // SUBTLE: what the job has read may be older than a commit; only if nothing has changed since is it the truth.
        if !self.outbox.is_idle() || expire.as_of != self.outbox.durable_version() {
            return ExpireReply::default();
        }
        let (total, mut deleted) = (expire.offsets.len(), 0);
        for stored in expire
            .offsets
            .into_iter()
            .filter(|stored| !stored.in_transaction)
        {
            let start = self.retention_start(&stored.topic);
            if is_expired(
                &stored.row,
                start,
                now.wall_ms,
                self.settings.offsets_retention_ms,
            ) {
                let (topic, partition, seen) = (stored.topic_id, stored.partition, stored.row);
                self.outbox.change_offsets(OffsetChange::Expire {
                    topic,
                    partition,
                    seen,
                });
                deleted += 1;
            }
        }
        let group_deleted = deleted == total && self.nobody_is_in_it();
        if group_deleted {
            self.cease();
        }
        ExpireReply {
            offsets_deleted: deleted,
            group_deleted,
        }
    }

    fn retention_start(&self, topic: &str) -> RetentionStart {
        match &self.kind {
            Kind::Absent => RetentionStart::Commit,
            Kind::Classic(classic) => classic.retention_start(topic),
            Kind::Consumer(consumer) if consumer.is_subscribed_to(topic) => RetentionStart::Never,
            Kind::Consumer(_) => RetentionStart::Commit,
        }
    }

    /// Empty, and stored: not waiting for the first member to come back with its id.
    fn nobody_is_in_it(&self) -> bool {
        match &self.kind {
            Kind::Absent => false,
            Kind::Classic(classic) => classic.is_empty() && !classic.expects_members(),
            Kind::Consumer(consumer) => consumer.is_empty(),
        }
    }
}

/// Clients that do not know KIP-848 are told in their own words.
fn stale_epoch_for(commit: &OffsetCommit, code: GroupError) -> GroupError {
    match code {
        GroupError::StaleMemberEpoch if commit.transaction.is_some() => {
            GroupError::IllegalGeneration
        }
        GroupError::StaleMemberEpoch if !commit.knows_member_epochs => {
            GroupError::UnsupportedVersion
        }
        code => code,
    }
}
