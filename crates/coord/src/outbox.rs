//! The ordering rule of a group's answers: **no answer leaves before what it rests on is durable**. An answer about members
//! rests on every change of the group and its members until then, whether it depends on it or not; one about offsets rests on
//! every change at all. So no client ever learns of a state that a take-over would not know, and a heartbeat does not wait
//! for commits: while the store is away a group at rest keeps its members.
//!
//! One set of changes is on its way at a time; what changes meanwhile is collected and goes next. That is also what makes
//! many commits one write.
use std::collections::{BTreeMap, VecDeque};

use crate::{
    command::{RequestId, Transaction},
    error::GroupError,
    mutant,
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
        !self.concern_members() && self.offsets.is_empty()
    }
    fn concern_members(&self) -> bool {
        self.group.is_some() || !self.members.is_empty()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The newest version that was handed out.
    version: u64,
    in_flight: bool,
    /// What is on its way changes the group or its members.
    members_in_flight: bool,
    collected: Changes,
    /// Answers of the event that is being handled.
    fresh: Vec<(RequestId, Reply)>,
    /// Answers that wait for a version to be durable, oldest first: about members, and about offsets.
    held: [VecDeque<(u64, RequestId, Reply)>; 2],
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

    /// Whether the group has changed itself or its members and that is not durable yet: answers about members wait.
    pub fn members_wait(&self) -> bool {
        self.members_in_flight || self.collected.concern_members()
    }

    /// The version that an answer rests on; `None`: all that it rests on is durable.
    fn rests_on(&self, about_offsets: bool) -> Option<u64> {
        let (collected, in_flight) = match about_offsets || mutant::is("heartbeats_wait") {
            true => (!self.collected.is_empty(), self.in_flight),
            false => (self.collected.concern_members(), self.members_in_flight),
        };
        match (collected, in_flight) {
            _ if mutant::is("answer_early") => None,
            (true, _) => Some(self.version + 1),
            (false, true) => Some(self.version),
            (false, false) => None,
        }
    }

    /// Ends an event: the answers that may leave, and the next changes if none are on their way.
    pub fn flush(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        for (request, reply) in std::mem::take(&mut self.fresh) {
            let about_offsets = reply.is_about_offsets();
            match self.rests_on(about_offsets) {
                Some(version) => {
                    self.held[usize::from(about_offsets)].push_back((version, request, reply));
                }
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
        self.members_in_flight = self.collected.concern_members();
        Some(Persist {
            version: self.version,
            changes: std::mem::take(&mut self.collected),
        })
    }

    /// The version is durable, but for the refused commits: the answers that may leave now. An old or unknown version is
    /// ignored.
    pub fn persisted(&mut self, version: u64, refused: &[(RequestId, GroupError)]) -> Vec<Output> {
        if !self.in_flight || version != self.version {
            return Vec::new();
        }
        (self.in_flight, self.members_in_flight) = (false, false);
        let mut out = Vec::new();
        for held in &mut self.held {
            while let Some((_, request, mut reply)) = held.pop_front_if(|(v, ..)| *v <= version) {
                if let Some((_, code)) = refused.iter().find(|(id, _)| *id == request) {
                    reply.refuse(*code);
                }
                out.push(Output::Reply(request, reply));
            }
        }
        out
    }

    /// Nothing will be durable any more: every answer that waits becomes a refusal.
    pub fn abandon(&mut self, code: GroupError) -> Vec<Output> {
        let held = self.held.iter_mut().flat_map(|held| held.drain(..));
        let held = held.map(|(_, request, reply)| (request, reply));
        let waiting: Vec<_> = held.chain(self.fresh.drain(..)).collect();
        self.collected = Changes::default();
        (self.in_flight, self.members_in_flight) = (false, false);
        let refuse = |(request, mut reply): (RequestId, Reply)| {
            reply.refuse(code);
            Output::Reply(request, reply)
        };
        waiting.into_iter().map(refuse).collect()
    }
}
