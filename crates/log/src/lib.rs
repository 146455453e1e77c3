//! The engine of the log: ingest windows, WAL, objects, commits, leases, the extent index and fetches.
//!
//! The write path is `../shared/model/WritePath.tla` in Rust; where a function states a rule of the model, its doc names it.
pub mod agent;
pub mod api;
mod cache;
pub mod cluster;
pub mod codec;
pub mod commit;
pub mod delete;
pub mod engine;
mod follow;
mod hear;
mod hints;
pub mod index;
pub mod ingest;
pub mod mutant;
pub mod object;
pub mod offsets;
pub mod peers;
mod read;
pub mod reader;
pub mod replay;
pub mod row;
#[cfg(test)]
mod test_env;
pub mod transaction;
mod wait;
pub mod wal;

pub use api::{Ack, Append, AppendResult, Appended, Charge, Ticket, Transactional};
pub use delete::delete_records;
pub use engine::{Log, LogConfig, LogOpenError, LogParts};
pub use reader::{
    Ends, EntryListener, HeadChange, ReadAnswer, ReadConfig, ReadError, ReadRequest, Reader,
    StoredBatch, Waiter,
};
pub use row::{
    AbortedTransaction, Answer, BatchRecord, Extent, Fate, Head, Lease, OpenTransaction, Place,
    ProducerState, Refusal, RunAnswers, TransactionMarker,
};
