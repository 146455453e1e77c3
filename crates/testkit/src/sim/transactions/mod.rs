//! Transactions in the simulated world: producers with transactional ids that commit, abort, fall silent, are replaced while
//! they go on (zombies), and whose requests arrive late; copiers that commit what they consumed with what they produce.
//!
//! The clients are as hard on the server as the model's (`docs/model/Transactions.tla`), and believe what KIP-98 and KIP-890
//! let them believe. What they asked for and were told is a [`Transactions`]; [`check()`] judges it by what stands there in the end.
mod check;
mod history;
mod plan;
mod producer;
mod requests;
mod session;

pub use check::{End, TxnAnomaly, check};
pub use history::{Copied, Counts, Ending, Seen, Transaction, Transactions, TxnId};
pub use plan::{Flow, TransactionalPlan};
pub(super) use producer::TransactionalProducer;
pub(super) use requests::{committed_offset, connect_to_coordinator, fetch_offset};

/// The group that the copier of a transactional id commits for.
pub fn group_of(number: usize) -> String {
    format!("copies-{number}")
}
