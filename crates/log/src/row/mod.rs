//! The rows of the log in the metadata store: what each holds, and its bytes.
mod aborted;
mod extent;
mod fate;
mod head;
mod ids;
mod producer;

pub use aborted::AbortedTransaction;
pub use extent::{Extent, Place, TransactionMarker};
pub use fate::{Answer, Fate, Refusal, RunAnswers};
pub use head::{Head, Lease, OpenTransaction};
pub use ids::{put_object_id, put_partition, read_object_id, read_partition};
pub use producer::{BatchRecord, ProducerState, Verdict, check_replayed, check_sequence};
