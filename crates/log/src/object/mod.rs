//! The L0 object: one window of one agent, many partitions, immutable.
//!
//! ```text
//! 0       4         8                            f        f+n   n: bytes of the footer
//! | "SHL0" | version | runs: batches, back to back | footer | crc | n   | "0LHS" |
//!    4        4 (u32)                                 n        4     4     4
//! ```
//! All numbers are big-endian; a *list* is a count (u32) and its items. `crc` is the CRC32C of the footer; batches carry their
//! own. The footer alone tells what the object holds, so that the metadata store can be rebuilt from footers (DESIGN 9):
//!
//! | footer field | bytes | meaning |
//! |---|---|---|
//! | id | 24 | agent u32, epoch u32, nonce u64, seq u64: the object's own name |
//! | replaces | list of ids | aborted objects whose batches this one holds again |
//! | runs | list of runs | sorted by (org, topic, partition), each once; they tile `[8, f)` |
//! | answers | list of (id, list of [`RunAnswers`]) | what became of the agent's previous objects |
//!
//! A run: org (u8 length and text), topic id (16), partition (i32), start (u64), list of batches. Its batches lie one after the
//! other from `start`:
//!
//! | batch field | bytes | meaning |
//! |---|---|---|
//! | len | u32 | bytes of the batch |
//! | offsets | u32 | how many offsets it takes |
//! | attributes | u16 | Kafka's: codec, timestamp type, transactional, control |
//! | producer | 1 or 15 | 0, or 1 and producer id i64, epoch i16, base sequence i32 |
//! | min timestamp | i64 | of its first record (with LogAppendTime: the stamp); -1 for none |
//! | max timestamp | i64 | of its records; -1 for none |
//!
//! *Invariant:* offsets are not in the object. The commit assigns them; an object that was never committed holds nothing.
mod inspect;
mod parse;
mod write;

use bytes::Bytes;
use sh_base::{
    ObjectId, Offset, Org, TopicPartition,
    batch::{Batch, BatchProducer, TimestampType},
};

pub use inspect::describe;
pub use parse::{ObjectError, read_footer};
pub use write::{BuiltObject, BuiltRun, ObjectBuilder};

use crate::row::{Place, RunAnswers};

const MAGIC: &[u8; 4] = b"SHL0";
const END_MAGIC: &[u8; 4] = b"0LHS";
const VERSION: u32 = 1;
/// Magic and version.
pub const HEADER_BYTES: u64 = 8;
/// CRC, footer length and magic, after the footer.
pub const TRAILER_BYTES: usize = 12;
/// A longer footer is damage, not data: a full window of the smallest batches needs a tenth of it.
pub const FOOTER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFooter {
    pub id: ObjectId,
    /// Aborted objects whose batches this one holds again: a rebuild must not count both.
    pub replaces: Vec<ObjectId>,
    pub runs: Vec<RunEntry>,
    /// What became of the batches of the agent's previous objects.
    pub answers: Vec<(ObjectId, Vec<RunAnswers>)>,
}

/// The batches of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    pub org: Org,
    pub partition: TopicPartition,
    /// Where its first batch begins, counted from the object's first byte.
    pub start: u64,
    pub batches: Vec<BatchEntry>,
}

/// One batch, as far as commit and rebuild need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// Bytes of the whole batch.
    pub len: u32,
    /// How many offsets it takes.
    pub offsets: u32,
    pub attributes: u16,
    pub producer: Option<BatchProducer>,
    pub min_timestamp: i64,
    pub max_timestamp: i64,
}

impl RunEntry {
    /// Bytes of all its batches.
    pub fn len(&self) -> u64 {
        self.batches.iter().map(|b| u64::from(b.len)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Where its batches number `from` to `to` (half-open) lie; `None` where there are no such batches.
    pub fn place(&self, object: ObjectId, from: usize, to: usize) -> Option<Place> {
        let bytes = |batches: &[BatchEntry]| batches.iter().map(|b| u64::from(b.len)).sum::<u64>();
        let len = bytes(self.batches.get(from..to)?);
        Some(Place {
            object,
            start: self.start + bytes(&self.batches[..from]),
            len: u32::try_from(len).ok()?,
        })
    }
}

impl BatchEntry {
    pub fn of(batch: &Batch) -> BatchEntry {
        let header = batch.header();
        let min_timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp,
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        BatchEntry {
            len: header.size,
            offsets: offsets_u32(batch.offsets()),
            attributes: header.attributes,
            producer: header.producer,
            min_timestamp,
            max_timestamp: header.max_timestamp,
        }
    }
}

/// A batch takes at most 2^31 offsets: its last offset delta is a checked, non-negative i32.
fn offsets_u32(offsets: Offset) -> u32 {
    offsets.clamp(1, 1 << 31) as u32
}

/// The parts of a window as the cache keeps them: (start in the object, its batches' bytes).
pub type RunBytes = (u64, Vec<Bytes>);

#[cfg(test)]
mod tests;
