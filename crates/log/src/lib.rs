//! The engine of the log: ingest windows, WAL, objects, commits, leases, the extent index and fetches.
//!
//! The write path is `../shared/model/WritePath.tla` in Rust; where a function states a rule of the model, its doc names it.
pub mod codec;
pub mod row;

pub use row::{
    Answer, BatchRecord, Extent, Fate, Head, Lease, OpenTransaction, Place, ProducerState, Refusal,
    RunAnswers,
};
