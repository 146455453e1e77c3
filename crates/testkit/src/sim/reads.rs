//! What readers were told while the world ran, and whether it fits with what stands there at the end.
use std::collections::BTreeMap;

use crate::torture::history::{Found, Log};

/// One answer to a fetch of one partition.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub consumer: usize,
    pub partition: i32,
    /// The offset that was asked for.
    pub from: i64,
    /// The records from there on, as a consumer of its isolation is given them.
    pub records: Vec<Found>,
    /// Where the consumer goes on: behind all that was sent, markers and what was aborted included.
    pub next: i64,
    pub high_watermark: i64,
    /// The last stable offset.
    pub stable: i64,
    /// It was asked for with the isolation read_committed.
    pub committed: bool,
}

/// One answer to ListOffsets(latest).
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub partition: i32,
    /// Past which offset the end had to be when it was asked for.
    pub least: i64,
    pub told: i64,
}

/// One answer to ListOffsets of a time, asked when nothing was written any more.
#[derive(Clone, Copy, Debug)]
pub struct TimeLookup {
    pub partition: i32,
    pub timestamp: i64,
    /// Offset and timestamp of the first record that is not older; `None` for none.
    pub told: Option<(i64, i64)>,
}

/// Everything that readers were told.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    pub fetches: Vec<Fetch>,
    pub ends: Vec<End>,
    pub times: Vec<TimeLookup>,
    /// An offset within the log was refused as out of its range: who, partition, offset.
    pub out_of_range: Vec<(usize, i32, i64)>,
}

/// Timestamps by offset, of each partition.
pub type Timestamps = BTreeMap<i32, BTreeMap<i64, i64>>;

/// A read that was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRead {
    /// A reader was led past a record.
    Skipped {
        consumer: usize,
        partition: i32,
        from: i64,
        record: Found,
    },
    /// A record lies at or past the end that came with it.
    BeyondEnd {
        partition: i32,
        offset: i64,
        high_watermark: i64,
    },
    /// An end before what was acknowledged as durable, or read.
    EndBehind {
        partition: i32,
        least: i64,
        told: i64,
    },
    /// An end past what is there when everything is over.
    EndAhead { partition: i32, told: i64, end: i64 },
    /// An offset of the log is said not to be one.
    OutOfRange {
        consumer: usize,
        partition: i32,
        offset: i64,
    },
    /// Not the first record that is not older than the time.
    WrongTime {
        lookup: (i32, i64),
        told: Option<(i64, i64)>,
        right: Option<(i64, i64)>,
    },
}

/// Every wrong read. `committed` is the log as read_committed shows it.
pub fn check(reads: &Reads, log: &Log, committed: &Log, timestamps: &Timestamps) -> Vec<BadRead> {
    let mut bad = Vec::new();
    for fetch in &reads.fetches {
        let right = if fetch.committed { committed } else { log };
        skips_nothing(fetch, right, &mut bad);
        ends_behind_its_records(fetch, &mut bad);
    }
    for end in &reads.ends {
        is_the_end(end, log, &mut bad);
    }
    for lookup in &reads.times {
        is_the_first_of_its_time(lookup, timestamps, &mut bad);
    }
    let refused = reads.out_of_range.iter();
    bad.extend(
        refused.map(|(consumer, partition, offset)| BadRead::OutOfRange {
            consumer: *consumer,
            partition: *partition,
            offset: *offset,
        }),
    );
    bad
}

fn skips_nothing(fetch: &Fetch, log: &Log, out: &mut Vec<BadRead>) {
    let Some(part) = log.get(&fetch.partition) else {
        return;
    };
    let mut next = fetch.from;
    let given = fetch.records.iter().map(|found| found.offset);
    for offset in given.chain([fetch.next]) {
        let skipped = next..offset;
        let between = part.records.iter().find(|r| skipped.contains(&r.offset));
        if let Some(record) = between {
            out.push(BadRead::Skipped {
                consumer: fetch.consumer,
                partition: fetch.partition,
                from: next,
                record: *record,
            });
        }
        next = offset + 1;
    }
}

fn ends_behind_its_records(fetch: &Fetch, out: &mut Vec<BadRead>) {
    let last = fetch.records.last();
    if let Some(last) = last.filter(|r| r.offset >= fetch.high_watermark) {
        out.push(BadRead::BeyondEnd {
            partition: fetch.partition,
            offset: last.offset,
            high_watermark: fetch.high_watermark,
        });
    }
}

fn is_the_end(end: &End, log: &Log, out: &mut Vec<BadRead>) {
    let End {
        partition,
        least,
        told,
    } = *end;
    if told < least {
        out.push(BadRead::EndBehind {
            partition,
            least,
            told,
        });
    }
    if let Some(part) = log.get(&partition).filter(|part| told > part.end) {
        let end = part.end;
        out.push(BadRead::EndAhead {
            partition,
            told,
            end,
        });
    }
}

fn is_the_first_of_its_time(lookup: &TimeLookup, timestamps: &Timestamps, out: &mut Vec<BadRead>) {
    let of_partition = timestamps.get(&lookup.partition);
    let right = of_partition
        .into_iter()
        .flatten()
        .find(|(_, timestamp)| **timestamp >= lookup.timestamp)
        .map(|(offset, timestamp)| (*offset, *timestamp));
    if right != lookup.told {
        out.push(BadRead::WrongTime {
            lookup: (lookup.partition, lookup.timestamp),
            told: lookup.told,
            right,
        });
    }
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
