//! The fixed 61 bytes at the front of a batch.
//!
//! ```text
//! 0            8       12            16     17    21          23                 27
//! | base offset | length | leader epoch | magic | crc | attributes | last offset delta |
//! 27               35              43            51      53             57      61
//! | base timestamp | max timestamp | producer id | epoch | base sequence | count | records...
//! ```
//! All big-endian. `length` counts from byte 12; `crc` (CRC32C) covers everything from byte 21.
use super::{BatchError, Codec, sequence_add};
use crate::{Offset, ProducerEpoch, ProducerId};

/// Bytes of the fixed part of a batch, up to and with the record count.
pub const HEADER_BYTES: usize = 61;

/// Base offset and length: what is not counted by `length`.
const OVERHEAD_BYTES: usize = 12;
/// Kafka calls anything shorter than the smallest legacy message corrupt.
const LEGACY_LENGTH_MIN: i32 = 14;
const MAGIC: i8 = 2;

/// Attribute bits.
pub(crate) mod bits {
    pub const CODEC: u16 = 0b111;
    pub const LOG_APPEND_TIME: u16 = 1 << 3;
    pub const TRANSACTIONAL: u16 = 1 << 4;
    pub const CONTROL: u16 = 1 << 5;
}

/// Field positions and readers. The readers index: call them on at least [`HEADER_BYTES`] bytes.
pub(crate) mod at {
    pub const LENGTH: usize = 8;
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const COUNT: usize = 57;

    fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        std::array::from_fn(|i| bytes[at + i])
    }
    pub fn i16(bytes: &[u8], at: usize) -> i16 {
        i16::from_be_bytes(array(bytes, at))
    }
    pub fn i32(bytes: &[u8], at: usize) -> i32 {
        i32::from_be_bytes(array(bytes, at))
    }
    pub fn i64(bytes: &[u8], at: usize) -> i64 {
        i64::from_be_bytes(array(bytes, at))
    }
    pub fn base_offset(bytes: &[u8]) -> i64 {
        i64(bytes, 0)
    }
    pub fn leader_epoch(bytes: &[u8]) -> i32 {
        i32(bytes, LEADER_EPOCH)
    }
    pub fn crc(bytes: &[u8]) -> u32 {
        i32(bytes, CRC) as u32
    }
}

/// What a batch's timestamps mean (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    CreateTime,
    /// The server's: all records have the batch's maximum.
    LogAppendTime,
}

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

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begins with (61 bytes are enough), and checks what can be checked of it.
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let length = checked_length(bytes)?;
        let header = BatchHeader {
            size: (length + OVERHEAD_BYTES) as u32,
            attributes: at::i16(bytes, at::ATTRIBUTES) as u16,
            last_offset_delta: at::i32(bytes, at::LAST_OFFSET_DELTA),
            base_timestamp: at::i64(bytes, at::BASE_TIMESTAMP),
            max_timestamp: at::i64(bytes, at::MAX_TIMESTAMP),
            producer: read_producer(bytes),
            count: at::i32(bytes, at::COUNT),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), BatchError> {
        let (count, last_offset_delta) = (self.count, self.last_offset_delta);
        if last_offset_delta < 0 {
            return Err(BatchError::OffsetRange { last_offset_delta });
        }
        if count < 0 {
            return Err(BatchError::Count { count });
        }
        if i64::from(count) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::CountAndRange {
                count,
                last_offset_delta,
            });
        }
        let id = (self.attributes & bits::CODEC) as u8;
        Codec::try_from(id).map(|_| ())
    }

    pub fn codec(&self) -> Codec {
        // The header was checked: other ids do not occur.
        Codec::try_from((self.attributes & bits::CODEC) as u8).unwrap_or(Codec::None)
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & bits::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & bits::TRANSACTIONAL != 0
    }

    /// Holds transaction markers, not records of a user.
    pub fn is_control(&self) -> bool {
        self.attributes & bits::CONTROL != 0
    }

    /// The sequence of the batch's last offset; `None` without a producer or a sequence (markers have none).
    pub fn last_sequence(&self) -> Option<i32> {
        let base = self.producer?.base_sequence;
        (base >= 0).then(|| sequence_add(base, self.last_offset_delta))
    }

    /// The attributes with another codec.
    pub(crate) fn attributes_with_codec(&self, codec: Codec) -> u16 {
        self.attributes & !bits::CODEC | u16::from(codec.id())
    }
}

fn read_producer(bytes: &[u8]) -> Option<BatchProducer> {
    let id = at::i64(bytes, at::PRODUCER_ID);
    (id >= 0).then(|| BatchProducer {
        id: ProducerId(id),
        epoch: at::i16(bytes, at::PRODUCER_EPOCH),
        base_sequence: at::i32(bytes, at::BASE_SEQUENCE),
    })
}

/// The size of the first batch of `bytes`, all of which is there.
pub(crate) fn batch_size(bytes: &[u8]) -> Result<usize, BatchError> {
    let size = checked_length(bytes)? + OVERHEAD_BYTES;
    if bytes.len() < size {
        return Err(BatchError::Truncated {
            need: size,
            have: bytes.len(),
        });
    }
    Ok(size)
}

/// Length and magic, in the order in which Kafka looks at them: it meets the magic of old formats before it misses bytes.
fn checked_length(bytes: &[u8]) -> Result<usize, BatchError> {
    let truncated = |need| BatchError::Truncated {
        need,
        have: bytes.len(),
    };
    if bytes.len() < OVERHEAD_BYTES {
        return Err(truncated(OVERHEAD_BYTES));
    }
    let length = at::i32(bytes, at::LENGTH);
    if length < LEGACY_LENGTH_MIN {
        return Err(BatchError::Length { length });
    }
    let magic = *bytes.get(at::MAGIC).ok_or(truncated(at::MAGIC + 1))? as i8;
    if magic != MAGIC {
        return Err(BatchError::Magic { magic });
    }
    if (length as usize) < HEADER_BYTES - OVERHEAD_BYTES {
        return Err(BatchError::Length { length });
    }
    if bytes.len() < HEADER_BYTES {
        return Err(truncated(HEADER_BYTES));
    }
    Ok(length as usize)
}

/// Base offset, length, leader epoch.
pub(crate) fn prefix(base_offset: Offset, size: u32, leader_epoch: i32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..at::LENGTH].copy_from_slice(&base_offset.to_be_bytes());
    out[at::LENGTH..at::LEADER_EPOCH]
        .copy_from_slice(&(size - OVERHEAD_BYTES as u32).to_be_bytes());
    out[at::LEADER_EPOCH..].copy_from_slice(&leader_epoch.to_be_bytes());
    out
}

/// Writes `header` (its size set by `bytes`) into the first 61 of `bytes`, then the CRC over what follows it.
pub(crate) fn seal(bytes: &mut [u8], base_offset: Offset, leader_epoch: i32, header: &BatchHeader) {
    let size = bytes.len() as u32;
    let producer = header.producer.unwrap_or(BatchProducer {
        id: ProducerId(-1),
        epoch: -1,
        base_sequence: -1,
    });
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &prefix(base_offset, size, leader_epoch));
    put(at::MAGIC, &MAGIC.to_be_bytes());
    put(at::ATTRIBUTES, &header.attributes.to_be_bytes());
    put(
        at::LAST_OFFSET_DELTA,
        &header.last_offset_delta.to_be_bytes(),
    );
    put(at::BASE_TIMESTAMP, &header.base_timestamp.to_be_bytes());
    put(at::MAX_TIMESTAMP, &header.max_timestamp.to_be_bytes());
    put(at::PRODUCER_ID, &producer.id.0.to_be_bytes());
    put(at::PRODUCER_EPOCH, &producer.epoch.to_be_bytes());
    put(at::BASE_SEQUENCE, &producer.base_sequence.to_be_bytes());
    put(at::COUNT, &header.count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}
