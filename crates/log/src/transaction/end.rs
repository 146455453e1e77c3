//! The one update that ends a transaction: its row and its markers. The offsets that it commits for groups are written with
//! them; the room above adds those.
use sh_base::{Org, ProducerId, TopicPartition};
use sh_meta::{Key, View, Write};

use super::{
    COORDINATOR_EPOCH, Close, TransactionRow,
    mark::{leased, locked, mark},
};
use crate::{codec::Malformed, mutant, row::TransactionMarker};

/// An end, planned on a row as it was read.
#[derive(Clone, Debug)]
pub struct EndPlan {
    pub org: Org,
    pub transactional_id: String,
    /// The version of the row that was read. The partitions are that row's.
    pub seen: u64,
    pub producer: ProducerId,
    pub partitions: Vec<TopicPartition>,
    pub close: Close,
    pub now_ms: i64,
}

/// What came of the update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// The transaction is ended.
    Ended(Vec<Write>),
    /// The row is not the one that was read: read it again.
    Changed,
    /// Leases of these partitions have to be given up first.
    Leased(Vec<TopicPartition>),
}

impl EndPlan {
    pub fn new(
        org: Org,
        transactional_id: String,
        (seen, row): (u64, &TransactionRow),
        close: Close,
        now_ms: i64,
    ) -> EndPlan {
        EndPlan {
            org,
            transactional_id,
            seen,
            producer: row.producer(),
            partitions: row.partitions().collect(),
            close,
            now_ms,
        }
    }

    fn key(&self) -> Key {
        Key::Transaction(self.org.clone(), self.transactional_id.clone())
    }

    pub fn locks(&self) -> Vec<Key> {
        let heads = self.partitions.iter().map(|tp| Key::Head(*tp));
        let producer = |tp: &TopicPartition| Key::Producer(*tp, self.producer);
        let producers = self.partitions.iter().map(producer);
        std::iter::once(self.key())
            .chain(heads)
            .chain(producers)
            .collect()
    }

    /// **One update ends a transaction** (model: `bug_torn`), **and none if the row has changed since it was read** (model:
    /// `bug_end_stale`): a batch may have opened another partition.
    pub fn decide(&self, view: &View) -> Result<EndOutcome, Malformed> {
        let unchanged = view.row(&self.key()).version == self.seen;
        if !unchanged && !mutant::is("txn_end_stale") {
            return Ok(EndOutcome::Changed);
        }
        let leased = leased(view, &self.partitions)?;
        if !leased.is_empty() {
            return Ok(EndOutcome::Leased(leased));
        }
        let marker = TransactionMarker {
            producer: self.producer,
            epoch: self.close.marker_epoch,
            coordinator_epoch: COORDINATOR_EPOCH,
            committed: self.close.commit,
        };
        let mut writes = vec![locked(self.key(), self.close.next.encode())];
        let marked = if mutant::is("txn_torn") {
            1
        } else {
            usize::MAX
        };
        for tp in self.partitions.iter().take(marked) {
            writes.extend(mark(view, *tp, &marker, self.now_ms)?);
        }
        Ok(EndOutcome::Ended(writes))
    }
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
