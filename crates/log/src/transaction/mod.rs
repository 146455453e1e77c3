//! Transactions (DESIGN 10, KIP-98, KIP-360, KIP-447, KIP-890): one row for each transactional id, and pure functions over it.
//!
//! **Every transactional batch locks its producer's row and must match its epoch and an open state; what ends the transaction
//! locks the same row.** So a batch is either before the end, and gets its marker, or after it, and is refused. The rules are
//! those of `docs/model/Transactions.tla`; where a function states one, its doc names the run that fails without it.
//!
//! There is no state between open and ended: **one update ends a transaction**, with its markers in all partitions and its
//! offsets in all groups. So no client ever has to wait for an end that is under way, and nothing has to be completed after a
//! crash.
mod end;
mod mark;
mod row;
mod rules;

pub use end::{EndOutcome, EndPlan};
pub use mark::{leased, mark};
pub use row::{NO_EPOCH, TransactionRow, TransactionState};
pub use rules::{
    Close, EndAsk, Ending, InitAsk, InitOutcome, PARTITIONS_MAX, add, admit_batch, admit_offsets,
    end, fence, fence_for, init, is_expired, is_overdue, verify,
};

/// What markers name as the epoch of their coordinator: rows need no coordinator, and so none is ever replaced.
pub const COORDINATOR_EPOCH: i32 = 0;
