//! The Kafka record batch, version 2 (KIP-98): the wire format, and the storage format too.
//!
//! A [`Batch`] is bytes that were checked once; its header never has to be doubted again.
use bytes::Bytes;

use crate::{Offset, ProducerEpoch, ProducerId};

/// Bytes of the fixed part of a batch, up to and with the record count.
pub const HEADER_BYTES: usize = 61;

/// The fields of a batch header that the house works with. (`base_offset` and `leader_epoch` lie outside the CRC and are
/// patched when a batch is read; they are not kept here.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Whole batch, with the 12 bytes of base offset and length.
    pub size: u32,
    pub attributes: u16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// `None` for a batch without a producer id.
    pub producer: Option<BatchProducer>,
    pub count: i32,
}

/// Who wrote a batch, and as which of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
}

/// One record batch whose length, magic, CRC and header were found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
}

impl Batch {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// How many offsets the batch takes (with compacted batches more than it has records).
    pub fn offsets(&self) -> Offset {
        Offset::from(self.header.last_offset_delta) + 1
    }
}
