//! The records inside a batch.
//!
//! ```text
//! length | attributes: i8 | timestamp delta | offset delta | key length | key | value length | value
//!        | header count | (name length | name | value length | value)*
//! ```
//! Lengths, deltas and the count are zigzag varints; a length of -1 is null, which is not the same as empty.
use std::ops::Range;

use bytes::Bytes;

use super::{BatchError, BatchHeader, TimestampType, varint::Reader};

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 by the protocol; not checked here, as brokers do not.
    pub name: Bytes,
    pub value: Option<Bytes>,
}

/// One record; keys, values and headers share the batch's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds since the epoch, -1 for none. That of the batch where the batch has LogAppendTime.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

/// What a control batch tells about its producer's transaction (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

impl Marker {
    pub(super) fn read(record: &Record) -> Option<Marker> {
        // Key: version i16, type i16.
        match record.key.as_deref()? {
            [_, _, 0, 0, ..] => Some(Marker::Abort),
            [_, _, 0, 1, ..] => Some(Marker::Commit),
            _ => None,
        }
    }
    pub(super) fn key(self) -> [u8; 4] {
        [0, 0, 0, self as u8]
    }
}

/// Where the parts of one record lie; made without allocating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordSpan {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
    header_count: i32,
    headers_at: usize,
}

/// Walks over encoded records; every record is checked whole (KIP-98 layout), and the last must end where the bytes end.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    index: i32,
    count: i32,
}

impl<'a> Walk<'a> {
    pub fn new(bytes: &'a [u8], count: i32) -> Self {
        Walk {
            bytes,
            at: 0,
            index: 0,
            count,
        }
    }

    fn step(&mut self) -> Result<Option<RecordSpan>, BatchError> {
        if self.index == self.count {
            let rest = self.bytes.len() - self.at;
            return if rest == 0 {
                Ok(None)
            } else {
                Err(self.bad("records still remaining"))
            };
        }
        let mut reader = Reader::new(self.bytes, self.at);
        let span = read_record(&mut reader).map_err(|reason| self.bad(reason))?;
        self.at = reader.at;
        self.index += 1;
        Ok(Some(span))
    }

    fn bad(&self, reason: &'static str) -> BatchError {
        BatchError::Record {
            index: self.index,
            reason,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<RecordSpan, BatchError>;
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            // Nothing can be read behind a damaged record.
            *self = Walk::new(&[], 0);
        }
        step.transpose()
    }
}

fn read_record(reader: &mut Reader) -> Result<RecordSpan, &'static str> {
    let size = reader.varint().ok_or("no length")?;
    let size = usize::try_from(size).map_err(|_| "negative length")?;
    if size > reader.remaining() {
        return Err("premature end of the batch");
    }
    let end = reader.at + size;
    let span = read_fields(reader).ok_or("a field is cut off or has an illegal length")?;
    if reader.at == end {
        Ok(span)
    } else {
        Err("its fields do not fill its length")
    }
}

fn read_fields(reader: &mut Reader) -> Option<RecordSpan> {
    let _attributes = reader.u8()?;
    let timestamp_delta = reader.varlong()?;
    let offset_delta = reader.varint()?;
    let key = read_nullable(reader)?;
    let value = read_nullable(reader)?;
    let header_count = reader.varint().filter(|n| *n >= 0)?;
    let headers_at = reader.at;
    for _ in 0..header_count {
        read_header(reader)?;
    }
    Some(RecordSpan {
        timestamp_delta,
        offset_delta,
        key,
        value,
        header_count,
        headers_at,
    })
}

fn read_header(reader: &mut Reader) -> Option<(Range<usize>, Option<Range<usize>>)> {
    let name = read_nullable(reader)??;
    Some((name, read_nullable(reader)?))
}

fn read_nullable(reader: &mut Reader) -> Option<Option<Range<usize>>> {
    let length = reader.varint()?;
    if length < 0 {
        return Some(None);
    }
    let begin = reader.skip(length as usize)?;
    Some(Some(begin..reader.at))
}

/// The records of one batch, one after the other. After an error it ends.
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    at: usize,
    index: i32,
}

impl Records {
    pub(super) fn new(header: BatchHeader, bytes: Bytes) -> Self {
        Records {
            header,
            bytes,
            at: 0,
            index: 0,
        }
    }

    fn record(&self, span: RecordSpan) -> Record {
        let slice = |range: Option<Range<usize>>| range.map(|r| self.bytes.slice(r));
        Record {
            offset_delta: span.offset_delta,
            timestamp: record_timestamp(&self.header, span.timestamp_delta),
            key: slice(span.key.clone()),
            value: slice(span.value.clone()),
            headers: self.headers(&span),
        }
    }

    fn headers(&self, span: &RecordSpan) -> Vec<Header> {
        let mut reader = Reader::new(&self.bytes, span.headers_at);
        // The walk has read them already, so none is missing here.
        let ranges = (0..span.header_count).map_while(|_| read_header(&mut reader));
        ranges
            .map(|(name, value)| Header {
                name: self.bytes.slice(name),
                value: value.map(|r| self.bytes.slice(r)),
            })
            .collect()
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;
    fn next(&mut self) -> Option<Self::Item> {
        let count = self.header.count;
        let mut walk = Walk {
            bytes: &self.bytes,
            at: self.at,
            index: self.index,
            count,
        };
        let next = walk.next();
        let (at, index) = (walk.at, walk.index);
        match next? {
            Ok(span) => {
                (self.at, self.index) = (at, index);
                Some(Ok(self.record(span)))
            }
            Err(error) => {
                (self.bytes, self.at, self.index, self.header.count) = (Bytes::new(), 0, 0, 0);
                Some(Err(error))
            }
        }
    }
}

/// The timestamp of a record of this batch. Additions wrap, as they do in the Java broker.
pub(super) fn record_timestamp(header: &BatchHeader, delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}
