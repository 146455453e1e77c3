//! What transactional clients did, asked for and were told.
use std::collections::BTreeMap;

use crate::torture::history::BatchId;

/// A transaction by who began it: the source of its batches, and the how many-th of that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxnId {
    pub source: u32,
    pub number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Commit,
    Abort,
}

/// What a copier consumed: the numbers `from..to` of an input without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Whose group; see [`super::group_of`].
    pub group: usize,
    pub from: i64,
    pub to: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub batches: Vec<BatchId>,
    pub copied: Option<Copied>,
    /// How its client wanted it to end; `None`: it never said.
    pub asked: Option<Ending>,
    /// It was told that it ended so.
    pub told: bool,
}

/// An answer to OffsetFetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub group: usize,
    /// What had been committed at least when it was asked for.
    pub least: i64,
    pub told: i64,
}

/// What the clients lived through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub committed: usize,
    pub aborted: usize,
    /// Zombies that were sent away.
    pub fenced: usize,
    /// Sessions that nobody had replaced and that were sent away: their transaction took too long.
    pub timed_out: usize,
    /// Offsets of groups that were committed with their transaction.
    pub offsets: usize,
    /// Requests that arrived late.
    pub late: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.committed += more.committed;
        self.aborted += more.aborted;
        self.fenced += more.fenced;
        self.timed_out += more.timed_out;
        self.offsets += more.offsets;
        self.late += more.late;
    }
}

#[derive(Clone, Debug, Default)]
pub struct Transactions {
    pub all: BTreeMap<TxnId, Transaction>,
    pub seen: Vec<Seen>,
    pub counts: Counts,
    /// What each group has committed at least.
    least: BTreeMap<usize, i64>,
}

impl Transactions {
    pub fn least(&self, group: usize) -> i64 {
        self.least.get(&group).copied().unwrap_or(0)
    }

    /// The group has now committed at least this.
    pub fn must_have(&mut self, group: usize, offset: i64) {
        let least = self.least.entry(group).or_default();
        *least = offset.max(*least);
    }

    /// The end was confirmed.
    pub fn tell(&mut self, id: TxnId, ending: Ending) {
        let Some(transaction) = self.all.get_mut(&id) else {
            return;
        };
        transaction.told = true;
        let copied = transaction.copied;
        match ending {
            Ending::Commit => self.counts.committed += 1,
            Ending::Abort => self.counts.aborted += 1,
        }
        if let Some(copied) = copied.filter(|_| ending == Ending::Commit) {
            self.counts.offsets += 1;
            self.must_have(copied.group, copied.to);
        }
    }
}
