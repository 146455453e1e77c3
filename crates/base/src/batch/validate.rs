//! What a topic demands of a client's batch, beside that it is one.
//!
//! The hot path does not decompress. A plain batch gets a cheap walk over its records (numbers only, nothing allocated); a
//! compressed one is read only where something depends on its records: a compacted topic needs their keys, changed
//! timestamp limits or a suspicious maximum need their timestamps. Apache Kafka reads them always.
use super::{
    Batch, BatchError, Codec, NO_TIMESTAMP, TimestampType,
    header::at,
    record::{RecordSpan, Walk, record_timestamp},
};
use crate::ErrorCode;

/// Kafka's default of `message.timestamp.after.max.ms`: one hour (KIP-937, since 4.0).
pub const TIMESTAMP_AFTER_MAX_MS_DEFAULT: i64 = 3_600_000;
/// Kafka's default of `message.timestamp.before.max.ms`: any.
pub const TIMESTAMP_BEFORE_MAX_MS_DEFAULT: i64 = i64::MAX;

/// Where a batch is bound for, and what is asked of it there.
#[derive(Clone, Copy, Debug)]
pub struct ValidateRules<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// The wall clock.
    pub now_ms: i64,
}

/// A record that made its batch be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub index: i32,
    pub message: String,
}

/// A batch that is refused; nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    pub code: ErrorCode,
    /// In Apache Kafka's words where it has any.
    pub message: String,
    /// The records at fault (KIP-467), where single ones are.
    pub records: Vec<RecordError>,
}

impl From<BatchError> for Invalid {
    fn from(error: BatchError) -> Self {
        invalid(error.code(), error.to_string())
    }
}

fn invalid(code: ErrorCode, message: String) -> Invalid {
    Invalid {
        code,
        message,
        records: Vec::new(),
    }
}

impl Batch {
    /// Validates, and returns the batch as the topic stores it: stamped where the topic has LogAppendTime, with the maximum
    /// timestamp that its records have where they were looked at.
    pub fn admit(&self, rules: &ValidateRules) -> Result<Batch, Invalid> {
        let found = validate(self, rules)?;
        Ok(match rules.timestamp_type {
            TimestampType::LogAppendTime => self.stamp_log_append_time(rules.now_ms),
            TimestampType::CreateTime => {
                let max_timestamp = found.unwrap_or(self.header.max_timestamp);
                self.with_timestamps(TimestampType::CreateTime, max_timestamp)
            }
        })
    }
}

/// Checks a client's batch as Apache Kafka's log does before it appends. `Ok` holds the greatest timestamp of the records,
/// where they were read.
pub fn validate(batch: &Batch, rules: &ValidateRules) -> Result<Option<i64>, Invalid> {
    check_size(batch, rules)?;
    check_header(batch).map_err(|what| {
        let ValidateRules {
            topic, partition, ..
        } = rules;
        let message = format!("{what} in topic partition {topic}-{partition}");
        invalid(ErrorCode::InvalidRecord, message)
    })?;
    if !records_matter(batch, rules) {
        return Ok(None);
    }
    let plain = batch.decompressed()?;
    check_records(batch, &plain, rules).map(Some)
}

fn check_size(batch: &Batch, rules: &ValidateRules) -> Result<(), Invalid> {
    let (size, max) = (batch.header.size as usize, rules.max_message_bytes);
    if size <= max {
        return Ok(());
    }
    let ValidateRules {
        topic, partition, ..
    } = rules;
    let message = format!(
        "The record batch size in the append to {topic}-{partition} is {size} bytes which exceeds the maximum configured value of {max}."
    );
    Err(invalid(ErrorCode::MessageTooLarge, message))
}

fn check_header(batch: &Batch) -> Result<(), String> {
    let header = &batch.header;
    let (count, last) = (header.count, header.last_offset_delta);
    let base_offset = batch.base_offset();
    if base_offset != 0 {
        return Err(format!(
            "The baseOffset of the record batch should be 0, but it is {base_offset}"
        ));
    }
    if count == 0 {
        return Err(format!("Invalid reported count for record batch: {count}"));
    }
    if batch.offsets() != i64::from(count) {
        return Err(format!(
            "Inconsistent batch offset range [0, {last}] and count of records {count}"
        ));
    }
    if header.is_control() {
        return Err("Clients are not allowed to write control records".into());
    }
    check_producer(batch)
}

fn check_producer(batch: &Batch) -> Result<(), String> {
    let id = at::i64(&batch.bytes, at::PRODUCER_ID);
    match batch.header.producer {
        Some(p) if p.base_sequence < 0 => {
            let sequence = p.base_sequence;
            Err(format!(
                "Invalid sequence number {sequence} in record batch with producerId {id}"
            ))
        }
        Some(p) if p.epoch < 0 => Err(format!(
            "Invalid epoch {} in record batch with producerId {id}",
            p.epoch
        )),
        None if batch.header.is_transactional() => {
            Err("A transactional record batch needs a producer id".into())
        }
        _ => Ok(()),
    }
}

fn records_matter(batch: &Batch, rules: &ValidateRules) -> bool {
    let header = &batch.header;
    let claims_server_time = header.timestamp_type() == TimestampType::LogAppendTime;
    let timestamps_matter = rules.timestamp_type == TimestampType::CreateTime
        && (rules.timestamp_before_max_ms != TIMESTAMP_BEFORE_MAX_MS_DEFAULT
            || rules.timestamp_after_max_ms != TIMESTAMP_AFTER_MAX_MS_DEFAULT
            || out_of_range(header.max_timestamp, rules));
    header.codec() == Codec::None || rules.compacted || claims_server_time || timestamps_matter
}

/// Every record, once; returns the greatest timestamp.
fn check_records(batch: &Batch, plain: &[u8], rules: &ValidateRules) -> Result<i64, Invalid> {
    let mut max_timestamp = NO_TIMESTAMP;
    let mut bad = BadRecords::default();
    for (index, span) in (0..).zip(Walk::new(plain, batch.header.count)) {
        let span = span?;
        if span.offset_delta != index {
            let reason = "its offset delta is not its place in the batch";
            return Err(BatchError::Record { index, reason }.into());
        }
        let timestamp = record_timestamp(&batch.header, span.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        bad.note(index, record_fault(batch, &span, timestamp, rules));
    }
    bad.into_result().map(|()| max_timestamp)
}

fn record_fault(
    batch: &Batch,
    span: &RecordSpan,
    timestamp: i64,
    rules: &ValidateRules,
) -> Option<(ErrorCode, String)> {
    if rules.compacted && span.key.is_none() {
        let ValidateRules {
            topic, partition, ..
        } = rules;
        let message = format!(
            "Compacted topic cannot accept message without key in topic partition {topic}-{partition}"
        );
        return Some((ErrorCode::InvalidRecord, message));
    }
    let checked = rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP;
    if checked && out_of_range(timestamp, rules) {
        return Some((
            ErrorCode::InvalidTimestamp,
            range_message(span, timestamp, rules),
        ));
    }
    if !checked && batch.header.timestamp_type() == TimestampType::LogAppendTime {
        return Some((ErrorCode::InvalidTimestamp, type_message(span, timestamp)));
    }
    None
}

fn out_of_range(timestamp: i64, rules: &ValidateRules) -> bool {
    let age = i128::from(rules.now_ms) - i128::from(timestamp);
    age > rules.timestamp_before_max_ms.into() || -age > rules.timestamp_after_max_ms.into()
}

fn range_message(span: &RecordSpan, timestamp: i64, rules: &ValidateRules) -> String {
    let from = rules.now_ms.wrapping_sub(rules.timestamp_before_max_ms);
    let to = rules.now_ms.wrapping_add(rules.timestamp_after_max_ms);
    let offset = span.offset_delta;
    format!(
        "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{from}, {to}]"
    )
}

fn type_message(span: &RecordSpan, timestamp: i64) -> String {
    let offset = span.offset_delta;
    let size = |part: &Option<std::ops::Range<usize>>| part.as_ref().map_or(0, |r| r.len());
    let (key, value) = (size(&span.key), size(&span.value));
    format!(
        "Invalid timestamp type in message DefaultRecord(offset={offset}, timestamp={timestamp}, key={key} bytes, value={value} bytes). Producer should not set timestamp type to LogAppendTime."
    )
}

/// So many records at fault are named in an answer. Kafka names them all, which lets a batch of tiny records ask for an
/// answer many times its own size.
const RECORD_ERRORS_MAX: usize = 1_000;

/// The records at fault.
#[derive(Default)]
struct BadRecords {
    timestamps: bool,
    total: usize,
    records: Vec<RecordError>,
}

impl BadRecords {
    fn note(&mut self, index: i32, fault: Option<(ErrorCode, String)>) {
        let Some((code, message)) = fault else { return };
        self.timestamps |= code == ErrorCode::InvalidTimestamp;
        self.total += 1;
        if self.records.len() < RECORD_ERRORS_MAX {
            self.records.push(RecordError { index, message });
        }
    }

    fn into_result(self) -> Result<(), Invalid> {
        let records = self.records;
        if records.is_empty() {
            return Ok(());
        }
        if self.timestamps {
            let message = "One or more records have been rejected due to invalid timestamp".into();
            return Err(Invalid {
                code: ErrorCode::InvalidTimestamp,
                message,
                records,
            });
        }
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
            self.total,
            first_three(&records)
        );
        Err(Invalid {
            code: ErrorCode::InvalidRecord,
            message,
            records,
        })
    }
}

fn first_three(records: &[RecordError]) -> String {
    let shown = records
        .iter()
        .take(3)
        .map(|RecordError { index, message }| {
            format!("RecordError(batchIndex={index}, message='{message}')")
        });
    shown.collect::<Vec<_>>().join(", ")
}
