//! Making batches: for producers, for compaction, for transaction markers and for tests.
use super::{
    Batch, BatchError, BatchHeader, BatchProducer, Codec, HEADER_BYTES, Marker, NO_TIMESTAMP,
    Record, compression,
    header::{bits, seal},
    varint::{put_varint, put_varlong, varlong_size},
};
use crate::{Offset, ProducerEpoch, ProducerId};

/// A borrowed record header: name and value.
pub type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Collects records; they are encoded as they come, so that [`BatchBuilder::build`] copies nothing of a plain batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    codec: Codec,
    attributes: u16,
    producer: Option<BatchProducer>,
    base_offset: Offset,
    leader_epoch: i32,
    /// Room for the header, then the encoded records.
    bytes: Vec<u8>,
    count: i32,
    next_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    pub fn new(codec: Codec) -> Self {
        BatchBuilder {
            codec,
            attributes: 0,
            producer: None,
            base_offset: 0,
            leader_epoch: -1,
            bytes: vec![0; HEADER_BYTES],
            count: 0,
            next_offset_delta: 0,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// The batch that ends a producer's transaction in one partition (KIP-98): one control record without a sequence.
    pub fn marker(
        marker: Marker,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        timestamp: i64,
    ) -> Batch {
        let producer = BatchProducer {
            id: producer_id,
            epoch,
            base_sequence: -1,
        };
        let mut builder = BatchBuilder::new(Codec::None)
            .producer(producer)
            .transactional();
        builder.attributes |= bits::CONTROL;
        let mut value = vec![0, 0];
        value.extend_from_slice(&coordinator_epoch.to_be_bytes());
        builder.push(timestamp, Some(&marker.key()), Some(&value), &[]);
        builder.sealed(builder.bytes.clone(), Codec::None)
    }

    pub fn producer(mut self, producer: BatchProducer) -> Self {
        self.producer = Some(producer);
        self
    }

    pub fn transactional(mut self) -> Self {
        self.attributes |= bits::TRANSACTIONAL;
        self
    }

    /// All records get this time; what [`BatchBuilder::push`] says stays in the bytes as deltas only.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.attributes |= bits::LOG_APPEND_TIME;
        self.max_timestamp = now_ms;
        self
    }

    /// Offset and leader epoch that stand in the bytes (a client writes 0 and -1).
    pub fn placed(mut self, base_offset: Offset, leader_epoch: i32) -> Self {
        (self.base_offset, self.leader_epoch) = (base_offset, leader_epoch);
        self
    }

    /// Appends a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef],
    ) {
        self.push_at(self.next_offset_delta, timestamp, key, value, headers);
    }

    /// Appends a record at an offset after a gap (compaction). Offset deltas must rise.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef],
    ) {
        let timestamp_delta = self.note_timestamp(timestamp);
        let size = record_size(timestamp_delta, offset_delta, key, value, headers);
        let out = &mut self.bytes;
        out.reserve(size + 5);
        put_varint(out, size as i32);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for (name, value) in headers {
            put_nullable(out, Some(name));
            put_nullable(out, *value);
        }
        self.count += 1;
        self.next_offset_delta = offset_delta + 1;
    }

    /// Appends a record of another batch at its own offset delta.
    pub fn push_record(&mut self, record: &Record) {
        let headers: Vec<HeaderRef> = record
            .headers
            .iter()
            .map(|h| (&h.name[..], h.value.as_deref()))
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.push_at(record.offset_delta, record.timestamp, key, value, &headers);
    }

    fn note_timestamp(&mut self, timestamp: i64) -> i64 {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        if self.attributes & bits::LOG_APPEND_TIME == 0 {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        timestamp.wrapping_sub(self.base_timestamp)
    }

    /// Keeps offsets up to `last_offset_delta`, though their records are gone (compaction).
    pub fn extend_to(mut self, last_offset_delta: i32) -> Self {
        self.next_offset_delta = self.next_offset_delta.max(last_offset_delta + 1);
        self
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it ended here and were not compressed.
    pub fn uncompressed_size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that one more record adds, before compression (an upper bound).
    pub fn record_size_bound(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef],
    ) -> usize {
        record_size(i64::MAX, i32::MAX, key, value, headers) + 5
    }

    /// The batch. The caller keeps it under [`crate::limits::BATCH_BYTES_MAX`]; larger ones are refused.
    pub fn build(mut self) -> Result<Batch, BatchError> {
        let plain = std::mem::take(&mut self.bytes);
        let codec = if self.count == 0 {
            Codec::None
        } else {
            self.codec
        };
        let bytes = match codec {
            Codec::None => plain,
            codec => {
                compression::compress_into(codec, &plain[HEADER_BYTES..], vec![0; HEADER_BYTES])?
            }
        };
        let (size, max) = (bytes.len(), crate::limits::BATCH_BYTES_MAX);
        if size > max {
            return Err(BatchError::TooLarge { size, max });
        }
        Ok(self.sealed(bytes, codec))
    }

    fn sealed(&self, mut bytes: Vec<u8>, codec: Codec) -> Batch {
        let header = BatchHeader {
            size: bytes.len() as u32,
            attributes: self.attributes | u16::from(codec.id()),
            last_offset_delta: self.next_offset_delta - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            count: self.count,
        };
        seal(&mut bytes, self.base_offset, self.leader_epoch, &header);
        Batch {
            header,
            bytes: bytes.into(),
        }
    }
}

/// Bytes of a record without its own length.
fn record_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[HeaderRef],
) -> usize {
    let headers_size: usize = headers
        .iter()
        .map(|(name, value)| nullable_size(Some(name)) + nullable_size(*value))
        .sum();
    1 + varlong_size(timestamp_delta)
        + varlong_size(offset_delta.into())
        + nullable_size(key)
        + nullable_size(value)
        + varlong_size(headers.len() as i64)
        + headers_size
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varlong_size(b.len() as i64) + b.len())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(b) => {
            put_varint(out, b.len() as i32);
            out.extend_from_slice(b);
        }
    }
}
