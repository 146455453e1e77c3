//! The ordering rule of a group's answers: **no answer leaves before everything that the group had changed until then is
//! durable**, whether the answer depends on it or not. So no client ever learns of a state that a take-over would not know.
//!
//! One set of changes is on its way at a time; what changes meanwhile is collected and goes next. That is also what makes
//! many commits one write.
use std::collections::{BTreeMap, VecDeque};

use crate::{
    command::{RequestId, Transaction},
    error::GroupError,
    offsets::OffsetRow,
    reply::Reply,
    row::{GroupRow, MemberRow},
};
use sh_base::{PartitionIndex, TopicId};

/// What a group tells its caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer this request.
    Reply(RequestId, Reply),
    /// Store these changes in one update, then say [`crate::Event::Persisted`].
    Persist(Persist),
}

/// One atomic change of the group's rows. Never two of one group at the same time.
///
/// Storing it twice is the same as once, so an unknown outcome is simply tried again; the group goes on meanwhile, and only
/// its answers wait. If the store says that another coordinator has the group now, the caller gives it up with
/// [`crate::Event::Abandon`]. Changes of many groups may be stored in one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Counts the group's changes in this coordinator's life.
    pub version: u64,
    pub changes: Changes,
}

/// The rows that change: of the group, of its members by id, and of its offsets, these in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub group: Option<Change<GroupRow>>,
    pub members: BTreeMap<String, Change<MemberRow>>,
    pub offsets: Vec<OffsetChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    Put(T),
    Delete,
}

/// A change of committed offsets; they are applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetChange {
    /// Without a transaction: put each row. With one: check the transaction's row (epoch, open, holds this group) and put
    /// the rows beside the committed ones, for its end to make them so; if the check fails, store none of them and name
    /// the request and the code in [`crate::Event::Persisted`].
    Commit {
        request: RequestId,
        transaction: Option<Transaction>,
        rows: Vec<(String, PartitionIndex, OffsetRow)>,
    },
    /// Delete what OffsetDelete has named.
    Delete {
        request: RequestId,
        topic: String,
        partition: PartitionIndex,
    },
    /// Delete the row if it is still this one.
    Expire {
        topic: TopicId,
        partition: PartitionIndex,
        seen: OffsetRow,
    },
    /// All of the group's, those of open transactions too: the group is deleted.
    DeleteAll,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.group.is_none() && self.members.is_empty() && self.offsets.is_empty()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The newest version that was handed out.
    version: u64,
    in_flight: bool,
    collected: Changes,
    /// Answers of the event that is being handled.
    fresh: Vec<(RequestId, Reply)>,
    /// Answers that wait for a version to be durable, oldest first.
    held: VecDeque<(u64, RequestId, Reply)>,
}

impl Outbox {
    pub fn reply(&mut self, request: RequestId, reply: Reply) {
        self.fresh.push((request, reply));
    }
    pub fn put_group(&mut self, row: GroupRow) {
        self.collected.group = Some(Change::Put(row));
    }
    pub fn delete_group(&mut self) {
        self.collected.group = Some(Change::Delete);
    }
    pub fn put_member(&mut self, id: &str, row: MemberRow) {
        self.collected
            .members
            .insert(id.to_owned(), Change::Put(row));
    }
    pub fn delete_member(&mut self, id: &str) {
        self.collected.members.insert(id.to_owned(), Change::Delete);
    }
    pub fn change_offsets(&mut self, change: OffsetChange) {
        self.collected.offsets.push(change);
    }
    /// The newest version that is durable. It stands still exactly while nothing changes.
    pub fn durable_version(&self) -> u64 {
        self.version - u64::from(self.in_flight)
    }
    /// Whether the store holds all that the group has changed until now.
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.collected.is_empty()
    }

    /// Ends an event: the answers that may leave, and the next changes if none are on their way.
    pub fn flush(&mut self) -> Vec<Output> {
        let waits_for = match (self.collected.is_empty(), self.in_flight) {
            (false, _) => Some(self.version + 1),
            (true, true) => Some(self.version),
            (true, false) => None,
        };
        let mut out = Vec::new();
        for (request, reply) in self.fresh.drain(..) {
            match waits_for {
                Some(version) => self.held.push_back((version, request, reply)),
                None => out.push(Output::Reply(request, reply)),
            }
        }
        out.extend(self.next_changes().map(Output::Persist));
        out
    }

    fn next_changes(&mut self) -> Option<Persist> {
        if self.in_flight || self.collected.is_empty() {
            return None;
        }
        self.version += 1;
        self.in_flight = true;
        Some(Persist {
            version: self.version,
            changes: std::mem::take(&mut self.collected),
        })
    }

    /// The version is durable, but for the refused commits. An old or unknown version is ignored.
    pub fn persisted(&mut self, version: u64, refused: &[(RequestId, GroupError)]) -> Vec<Output> {
        if !self.in_flight || version != self.version {
            return Vec::new();
        }
        self.in_flight = false;
        let mut out = Vec::new();
        while let Some((_, request, mut reply)) = self.held.pop_front_if(|(v, ..)| *v <= version) {
            if let Some((_, code)) = refused.iter().find(|(id, _)| *id == request) {
                reply.refuse(*code);
            }
            out.push(Output::Reply(request, reply));
        }
        out.extend(self.next_changes().map(Output::Persist));
        out
    }

    /// Nothing will be durable any more: every answer that waits becomes a refusal.
    pub fn abandon(&mut self, code: GroupError) -> Vec<Output> {
        let held = self
            .held
            .drain(..)
            .map(|(_, request, reply)| (request, reply));
        let waiting: Vec<_> = held.chain(self.fresh.drain(..)).collect();
        self.collected = Changes::default();
        self.in_flight = false;
        let refuse = |(request, mut reply): (RequestId, Reply)| {
            reply.refuse(code);
            Output::Reply(request, reply)
        };
        waiting.into_iter().map(refuse).collect()
    }
}
