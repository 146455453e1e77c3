//! DeleteRecords: the log start moves; extents and aborted transactions that lie before it wholly are deleted.
use std::time::Duration;

use bytes::Bytes;
use sh_base::{ErrorCode, Failure, Offset, TopicPartition};
use sh_meta::{Decision, Key, KeyRange, Lane, Plan, Row, View, Write};

use crate::{
    codec::{Malformed, Reader},
    index::scan::{head_of, malformed, unavailable},
    row::{Extent, Head},
};

/// Extents deleted by one update: the head's lock is not held for long.
const CHUNK: usize = 500;
/// How long one update may be asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// "Up to the high watermark" (Kafka's `DeleteRecordsRequest.HIGH_WATERMARK`).
pub const HIGH_WATERMARK: Offset = -1;

/// Moves the log start up to `before` ([`HIGH_WATERMARK`] for the end), and returns where it is. Records themselves are not
/// touched: an extent that begins before the log start and ends after it stays. The lane's hooks hear of every step.
///
/// `OffsetOutOfRange` beyond the high watermark; nothing has changed then.
pub async fn delete_records(
    lane: &Lane,
    partition: TopicPartition,
    before: Offset,
) -> Result<Offset, Failure> {
    let mut before = before;
    loop {
        let plan = Plan {
            locks: vec![Key::Head(partition)],
            scans: vec![
                (
                    KeyRange::extents(partition, Offset::MIN, Offset::MAX),
                    CHUNK,
                ),
                (
                    KeyRange::aborted_transactions(partition, Offset::MIN, Offset::MAX),
                    CHUNK,
                ),
            ],
            ..Plan::default()
        };
        let target = before;
        let apply = move |view: &View| apply(view, partition, target);
        let entry = lane
            .update(plan, PATIENCE, apply)
            .await
            .map_err(unavailable)?;
        match Reply::decode(&entry.reply) {
            Reply::Done(log_start) => return Ok(log_start),
            Reply::More(log_start) => before = log_start,
            Reply::OutOfRange => return Err(out_of_range(before)),
            Reply::Deleted => return Err(ErrorCode::UnknownTopicOrPartition.into()),
            Reply::Malformed => return Err(malformed(Malformed("head or extent row"))),
        }
    }
}

fn out_of_range(before: Offset) -> Failure {
    let what = format!("offset {before} is not within the partition; use -1 for its end");
    Failure::new(ErrorCode::OffsetOutOfRange, what)
}

/// What an update made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Done(Offset),
    /// The log start is here; more extents before it are to be deleted.
    More(Offset),
    OutOfRange,
    Deleted,
    Malformed,
}

impl Reply {
    fn encode(self) -> Bytes {
        let (tag, offset) = match self {
            Reply::Done(offset) => (0, offset),
            Reply::More(offset) => (1, offset),
            Reply::OutOfRange => (2, 0),
            Reply::Deleted => (3, 0),
            Reply::Malformed => (4, 0),
        };
        let mut out = vec![tag];
        out.extend(Offset::to_be_bytes(offset));
        out.into()
    }

    fn decode(bytes: &[u8]) -> Reply {
        let mut r = Reader(bytes);
        match (r.u8(), r.i64()) {
            (Some(0), Some(offset)) => Reply::Done(offset),
            (Some(1), Some(offset)) => Reply::More(offset),
            (Some(2), _) => Reply::OutOfRange,
            (Some(3), _) => Reply::Deleted,
            _ => Reply::Malformed,
        }
    }
}

fn apply(view: &View, partition: TopicPartition, before: Offset) -> Decision {
    decide(view, partition, before).unwrap_or_else(|_| refuse(Reply::Malformed))
}

fn refuse(reply: Reply) -> Decision {
    Decision {
        writes: Vec::new(),
        reply: reply.encode(),
    }
}

/// The pure decision: old head and its first extents in, new head and deletions out.
fn decide(view: &View, partition: TopicPartition, before: Offset) -> Result<Decision, Malformed> {
    let row = view.row(&Key::Head(partition));
    let head = head_of(row)?;
    if head.deleted {
        return Ok(refuse(Reply::Deleted));
    }
    let target = if before == HIGH_WATERMARK {
        head.next_offset
    } else {
        before
    };
    if !(0..=head.next_offset).contains(&target) {
        return Ok(refuse(Reply::OutOfRange));
    }
    let log_start = head.log_start.max(target);
    let version = row.version + 1;
    let writes = deletions(view, log_start, version)?;
    let reply = match writes.iter().any(|writes| writes.len() == CHUNK) {
        true => Reply::More(log_start),
        false => Reply::Done(log_start),
    };
    let mut writes = writes.concat();
    if writes.is_empty() && log_start == head.log_start {
        return Ok(refuse(reply));
    }
    let head = Head { log_start, ..head };
    writes.push(Write {
        key: Key::Head(partition),
        value: Some(head.encode()),
        version: None,
    });
    Ok(Decision {
        writes,
        reply: reply.encode(),
    })
}

/// Deletes those of the scanned rows, the partition's first of each kind, that lie before the log start.
fn deletions(view: &View, log_start: Offset, version: u64) -> Result<Vec<Vec<Write>>, Malformed> {
    let mut all = Vec::new();
    for scan in &view.scans {
        let mut writes = Vec::new();
        for (key, row) in scan {
            if end_of(key, row)?.is_some_and(|end| end > log_start) {
                break;
            }
            writes.push(Write {
                key: key.clone(),
                value: None,
                version: Some(version),
            });
        }
        all.push(writes);
    }
    Ok(all)
}

/// One past the last offset that a row speaks of: an extent's records, an aborted transaction's marker.
fn end_of(key: &Key, row: &Row) -> Result<Option<Offset>, Malformed> {
    if let Key::AbortedTransaction(_, marker) = key {
        return Ok(Some(marker + 1));
    }
    let extent = row.value.as_deref().map(Extent::decode).transpose()?;
    Ok(extent.map(|e| e.end))
}
