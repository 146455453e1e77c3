//! The Kafka record batch, version 2 (KIP-98): the wire format, and the storage format too.
//!
//! A [`Batch`] is bytes that were checked once; its header never has to be doubted again. Records inside a batch are read
//! only by those who need them ([`Batch::records`]): producing and fetching never decompress (see [`validate`]).
mod builder;
pub mod compression;
mod error;
mod header;
mod record;
mod rewrite;
mod sequence;
pub mod validate;
mod varint;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use builder::BatchBuilder;
pub use compression::Codec;
pub use error::BatchError;
pub use header::{BatchHeader, BatchProducer, HEADER_BYTES, TimestampType};
pub use record::{Header, Marker, Record, Records};
pub use sequence::{sequence_add, sequence_sub};
pub use validate::{Invalid, RecordError, ValidateRules};

use crate::{Offset, limits};
use header::at;

/// Bytes before the part that [`Batch::patched_prefix`] leaves alone: base offset, length, leader epoch.
pub const PREFIX_BYTES: usize = 16;

/// A record without a timestamp (Kafka's `RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;

/// One record batch whose length, magic, CRC and header were found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
}

impl Batch {
    /// Exactly one batch, as it came from a client: every field is checked that can be without reading records, and the CRC.
    pub fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        let (batch, rest) = Batch::split_checked(bytes)?;
        if rest.is_empty() {
            Ok(batch)
        } else {
            Err(BatchError::TrailingBytes { count: rest.len() })
        }
    }

    /// All batches of `records`, CRCs checked. (A produce request carries exactly one for each partition: [`Batch::parse`].)
    pub fn parse_all(records: Bytes) -> Result<Vec<Batch>, BatchError> {
        let mut batches = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            let (batch, tail) = Batch::split_checked(rest)?;
            batches.push(batch);
            rest = tail;
        }
        Ok(batches)
    }

    /// Exactly one batch that this program wrote itself and that something else vouches for: the CRC is not computed.
    pub fn parse_trusted(bytes: Bytes) -> Result<Batch, BatchError> {
        let (batch, rest) = Batch::split_trusted(bytes)?;
        if rest.is_empty() {
            Ok(batch)
        } else {
            Err(BatchError::TrailingBytes { count: rest.len() })
        }
    }

    /// The first batch of `bytes`, without its CRC computed, and what follows it.
    pub fn split_trusted(mut bytes: Bytes) -> Result<(Batch, Bytes), BatchError> {
        let size = header::batch_size(&bytes)?;
        let own = bytes.split_to(size);
        let header = BatchHeader::read(&own)?;
        Ok((Batch { header, bytes: own }, bytes))
    }

    fn split_checked(bytes: Bytes) -> Result<(Batch, Bytes), BatchError> {
        let size = header::batch_size(&bytes)?;
        if size > limits::BATCH_BYTES_MAX {
            let max = limits::BATCH_BYTES_MAX;
            return Err(BatchError::TooLarge { size, max });
        }
        let (stored, computed) = (
            at::crc(&bytes),
            crc32c::crc32c(&bytes[at::ATTRIBUTES..size]),
        );
        if stored != computed {
            return Err(BatchError::Crc { stored, computed });
        }
        Batch::split_trusted(bytes)
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it is stored. Base offset and leader epoch are those of its sender, see [`Batch::patched_prefix`].
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many offsets the batch takes (with compacted batches more than it has records).
    pub fn offsets(&self) -> Offset {
        Offset::from(self.header.last_offset_delta) + 1
    }

    /// The base offset that stands in the bytes. A client's batch says 0.
    pub fn base_offset(&self) -> Offset {
        at::base_offset(&self.bytes)
    }

    /// The partition leader epoch that stands in the bytes.
    pub fn leader_epoch(&self) -> i32 {
        at::leader_epoch(&self.bytes)
    }

    /// The first 16 bytes of this batch as a consumer gets it; the rest of the answer is [`Batch::unpatched_rest`]. Neither
    /// field is covered by the CRC, so nothing has to be computed.
    pub fn patched_prefix(&self, base_offset: Offset, leader_epoch: i32) -> [u8; PREFIX_BYTES] {
        header::prefix(base_offset, self.header.size, leader_epoch)
    }

    /// What follows the prefix, shared and not copied.
    pub fn unpatched_rest(&self) -> Bytes {
        self.bytes.slice(PREFIX_BYTES..)
    }

    /// The records as they are stored, perhaps compressed.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// Reads the records; decompresses first, within [`limits::BATCH_DECOMPRESSED_BYTES_MAX`].
    pub fn records(&self) -> Result<Records, BatchError> {
        let plain = self.decompressed()?;
        Ok(Records::new(self.header, plain))
    }

    /// The encoded records, decompressed (shared with the batch where it is not compressed).
    pub(crate) fn decompressed(&self) -> Result<Bytes, BatchError> {
        match self.header.codec() {
            Codec::None => Ok(self.payload()),
            // A compacted batch may have lost all its records; then there is no compressed stream either.
            _ if self.header.count == 0 => Ok(Bytes::new()),
            codec => compression::decompress(
                codec,
                &self.bytes[HEADER_BYTES..],
                limits::BATCH_DECOMPRESSED_BYTES_MAX,
            )
            .map(Bytes::from),
        }
    }

    /// What a control batch says; `None` for other batches and for control records of kinds that we do not know.
    pub fn marker(&self) -> Option<Marker> {
        if !self.header.is_control() {
            return None;
        }
        let first = self.records().ok()?.next()?.ok()?;
        Marker::read(&first)
    }
}
