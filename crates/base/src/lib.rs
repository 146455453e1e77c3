//! The vocabulary of the house: ids, names, offsets, limits, errors, time and chance as values.
//!
//! No tokio, no I/O, no clock: whatever is read from the outside is handed in (see [`mod@env`]).
pub mod batch;
pub mod env;
pub mod error;
pub mod ids;
pub mod limits;
pub mod rendezvous;

pub use env::{Clock, Env, Rng};
pub use error::{Advice, ErrorCode, Failure};
pub use ids::{
    AgentId, Incarnation, ObjectId, Offset, Org, PartitionIndex, ProducerEpoch, ProducerId,
    TopicId, TopicName, TopicPartition,
};
