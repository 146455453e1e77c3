//! What the producer of a transactional id does, as a seed decides it.
use serde::{Deserialize, Serialize};

use crate::torture::chance::Chance;

/// How a client speaks of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flow {
    /// KIP-890: each transaction has an epoch of its own, and writing adds the partition.
    Version2,
    /// KIP-98: partitions are added before, and the epoch stays. **Its flaws are known**: a request that arrives late may get
    /// into the next transaction, or end it.
    Classic,
    /// KIP-98 by a client that begins a new session whenever it does not know what became of a request: the new epoch keeps
    /// late ones away.
    Careful,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionalPlan {
    pub flow: Flow,
    /// How many it begins before the faults are over, at most.
    pub transactions: u32,
    /// Mean pause between two, milliseconds.
    pub pace_ms: u64,
    /// `transaction.timeout.ms`
    pub timeout_ms: i32,
    /// It consumes what it transforms: each transaction commits an offset for its group.
    pub copies: bool,
    /// Of a hundred transactions, how many are aborted though all went well.
    pub aborts: usize,
    /// After how many of a hundred it falls silent past its timeout before it ends them.
    pub silences: usize,
    /// After how many of a hundred another session takes its place, half of the time while it goes on.
    pub replaced: usize,
    /// Of a hundred requests, how many arrive late and are sent again meanwhile.
    pub late: usize,
}

impl Flow {
    pub fn is_version2(self) -> bool {
        self == Flow::Version2
    }
}

impl TransactionalPlan {
    pub fn by_chance(c: &mut Chance) -> TransactionalPlan {
        TransactionalPlan {
            flow: c.one_of(&[Flow::Version2, Flow::Version2, Flow::Careful]),
            transactions: 3 + c.below(15) as u32,
            pace_ms: c.one_of(&[1, 20, 200]),
            timeout_ms: c.one_of(&[1_000, 3_000, 20_000]),
            copies: c.below(2) == 0,
            aborts: c.one_of(&[0, 10, 40]),
            silences: c.one_of(&[0, 0, 10]),
            replaced: c.one_of(&[0, 10, 30]),
            late: c.one_of(&[0, 0, 10, 30]),
        }
    }
}
