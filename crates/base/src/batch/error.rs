//! Why bytes are not a batch, or a batch not readable.
use crate::ErrorCode;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the record batch is cut off: {have} bytes where {need} are needed")]
    Truncated { need: usize, have: usize },
    #[error(
        "the record batch is followed by {count} more bytes; send exactly one batch for each partition"
    )]
    TrailingBytes { count: usize },
    #[error("a record batch cannot be {length} bytes long")]
    Length { length: i32 },
    #[error(
        "message format v{magic} is not supported; use a client that writes record batches (v2)"
    )]
    Magic { magic: i8 },
    #[error("Record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    Crc { stored: u32, computed: u32 },
    #[error("The record batch size is {size} bytes, which exceeds the maximum of {max}")]
    TooLarge { size: usize, max: usize },
    #[error("Batch has an invalid offset range: its last offset delta is {last_offset_delta}")]
    OffsetRange { last_offset_delta: i32 },
    #[error("Invalid reported count for record batch: {count}")]
    Count { count: i32 },
    #[error(
        "Inconsistent batch offset range [0, {last_offset_delta}] and count of records {count}"
    )]
    CountAndRange { count: i32, last_offset_delta: i32 },
    #[error("Unknown compression type id: {id}")]
    Codec { id: u8 },
    #[error("the {codec} data of the record batch is damaged: {reason}")]
    Compression { codec: &'static str, reason: String },
    #[error("the record batch holds more than {max} bytes when decompressed")]
    Bomb { max: usize },
    #[error("Found invalid record structure at record {index}: {reason}")]
    Record { index: i32, reason: &'static str },
}

impl BatchError {
    /// What a producer is told, as Apache Kafka's validation of a produce request decides it.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::Magic { magic: 0 | 1 } => ErrorCode::UnsupportedForMessageFormat,
            BatchError::Magic { .. }
            | BatchError::Length { .. }
            | BatchError::Crc { .. }
            | BatchError::Compression { .. } => ErrorCode::CorruptMessage,
            BatchError::TooLarge { .. } | BatchError::Bomb { .. } => ErrorCode::MessageTooLarge,
            BatchError::Codec { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::Truncated { .. }
            | BatchError::TrailingBytes { .. }
            | BatchError::OffsetRange { .. }
            | BatchError::Count { .. }
            | BatchError::CountAndRange { .. }
            | BatchError::Record { .. } => ErrorCode::InvalidRecord,
        }
    }
}
