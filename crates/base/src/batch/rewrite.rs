//! The rare changes of a batch that is already there. Each copies the batch and computes its CRC anew.
use super::{
    Batch, BatchError, BatchHeader, Codec, HEADER_BYTES, TimestampType, compression,
    header::{bits, seal},
};

impl Batch {
    /// The batch as a topic with `message.timestamp.type=LogAppendTime` stores it.
    pub fn stamp_log_append_time(&self, now_ms: i64) -> Batch {
        self.with_timestamps(TimestampType::LogAppendTime, now_ms)
    }

    /// The batch with this timestamp type and maximum; shares its bytes where they say so already.
    pub fn with_timestamps(&self, kind: TimestampType, max_timestamp: i64) -> Batch {
        if self.header.timestamp_type() == kind && self.header.max_timestamp == max_timestamp {
            return self.clone();
        }
        let attributes = match kind {
            TimestampType::CreateTime => self.header.attributes & !bits::LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.header.attributes | bits::LOG_APPEND_TIME,
        };
        let header = BatchHeader {
            attributes,
            max_timestamp,
            ..self.header
        };
        self.resealed(header, self.bytes.to_vec())
    }

    /// The batch with its records compressed by `codec` (`compression.type`, `segment.compression`). Control batches stay
    /// as they are, and so does a batch that has the codec already.
    pub fn recompress(&self, codec: Codec) -> Result<Batch, BatchError> {
        if self.header.codec() == codec || self.header.is_control() {
            return Ok(self.clone());
        }
        let plain = self.decompressed()?;
        let bytes = compression::compress_into(codec, &plain, vec![0; HEADER_BYTES])?;
        let attributes = self.header.attributes_with_codec(codec);
        Ok(self.resealed(
            BatchHeader {
                attributes,
                ..self.header
            },
            bytes,
        ))
    }

    /// `bytes` hold the payload behind room for the header.
    fn resealed(&self, mut header: BatchHeader, mut bytes: Vec<u8>) -> Batch {
        header.size = bytes.len() as u32;
        seal(&mut bytes, self.base_offset(), self.leader_epoch(), &header);
        Batch {
            header,
            bytes: bytes.into(),
        }
    }
}
