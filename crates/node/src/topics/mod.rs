//! Creating, growing, deleting and bringing back topics.
//!
//! A topic is two rows, its name and itself, whatever its number of partitions: a partition without a head is an empty one.
//! Every change is a pure function over locked rows; racing agents meet at the lock of the name.
mod assignment;
mod create;
mod delete;
mod grow;
mod internal;
mod names;
mod purge;

pub use create::{CreatedTopic, NewTopic};
pub use delete::{DeleteOutcome, DeletedTopic};
pub use grow::NewPartitions;
pub(crate) use internal::check_writable;
pub(crate) use names::parse as legal_name;
pub use names::{CONSUMER_OFFSETS, TRANSACTION_STATE, is_internal};

use sh_base::{ErrorCode, Failure};

/// The most partitions that one request may create, as with Kafka.
const PARTITIONS_PER_REQUEST_MAX: i32 = 10_000;
/// Rows that one update may write (DESIGN 4).
const ROWS_PER_UPDATE: usize = sh_base::limits::UPDATE_EXTENTS_MAX;

fn too_many_partitions() -> Failure {
    let text = "Excessively large number of partitions per request.";
    Failure::new(ErrorCode::PolicyViolation, text)
}

fn duplicate_name() -> Failure {
    Failure::new(ErrorCode::InvalidRequest, "Duplicate topic name.")
}

/// Names that a request gives more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> std::collections::HashSet<String> {
    let mut seen = std::collections::HashSet::new();
    names
        .filter(|name| !seen.insert(*name))
        .map(str::to_owned)
        .collect()
}
