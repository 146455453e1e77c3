//! Reads by hand: each that is wrong, and beside it what only looks so.
use super::*;
use crate::torture::history::{BatchId, PartitionLog, RecordId};

fn found(offset: i64) -> Found {
    let batch = BatchId {
        source: 1,
        position: offset as u32,
    };
    Found {
        offset,
        id: Some(RecordId { batch, index: 0 }),
        digest: offset as u64,
    }
}

/// A log of partition 0 with records at these offsets.
fn log(offsets: &[i64], end: i64) -> Log {
    let records = offsets.iter().map(|o| found(*o)).collect();
    let part = PartitionLog {
        records,
        end,
        ..PartitionLog::default()
    };
    Log::from([(0, part)])
}

fn fetch(from: i64, offsets: &[i64], high_watermark: i64) -> Reads {
    let fetch = Fetch {
        consumer: 7,
        partition: 0,
        from,
        records: offsets.iter().map(|o| found(*o)).collect(),
        next: offsets.last().map_or(from, |last| last + 1),
        high_watermark,
        stable: high_watermark,
        committed: false,
    };
    Reads {
        fetches: vec![fetch],
        ..Reads::default()
    }
}

fn end(least: i64, told: i64) -> Reads {
    let end = End {
        partition: 0,
        least,
        told,
    };
    Reads {
        ends: vec![end],
        ..Reads::default()
    }
}

fn time(timestamp: i64, told: Option<(i64, i64)>) -> Reads {
    let lookup = TimeLookup {
        partition: 0,
        timestamp,
        told,
    };
    Reads {
        times: vec![lookup],
        ..Reads::default()
    }
}

fn bad(reads: &Reads, log: &Log) -> Vec<BadRead> {
    check(reads, log, log, &Timestamps::new())
}

#[test]
fn a_fetch_of_what_is_there_is_fine() {
    assert_eq!(bad(&fetch(1, &[1, 2], 3), &log(&[0, 1, 2], 3)), []);
    assert_eq!(bad(&fetch(3, &[], 3), &log(&[0, 1, 2], 3)), []);
}

#[test]
fn a_fetch_that_leaves_out_a_record_skips_it() {
    let skipped = |from, at| BadRead::Skipped {
        consumer: 7,
        partition: 0,
        from,
        record: found(at),
    };
    let log = log(&[0, 1, 2], 3);
    assert_eq!(bad(&fetch(0, &[1, 2], 3), &log), [skipped(0, 0)]);
    assert_eq!(bad(&fetch(0, &[0, 2], 3), &log), [skipped(1, 1)]);
}

#[test]
fn a_fetch_over_a_gap_skips_nothing() {
    assert_eq!(bad(&fetch(0, &[0, 5], 6), &log(&[0, 5], 6)), []);
}

#[test]
fn a_record_past_the_end_that_came_with_it_is_beyond_the_end() {
    let beyond = BadRead::BeyondEnd {
        partition: 0,
        offset: 2,
        high_watermark: 2,
    };
    let log = log(&[0, 1, 2], 3);
    assert_eq!(bad(&fetch(1, &[1, 2], 2), &log), [beyond]);
    assert_eq!(bad(&fetch(1, &[1], 2), &log), []);
}

#[test]
fn an_end_is_not_before_what_was_durable_and_not_past_what_is_there() {
    let log = log(&[0, 1, 2], 3);
    assert_eq!(bad(&end(2, 2), &log), []);
    assert_eq!(bad(&end(0, 3), &log), []);
    let behind = BadRead::EndBehind {
        partition: 0,
        least: 2,
        told: 1,
    };
    assert_eq!(bad(&end(2, 1), &log), [behind]);
    let ahead = BadRead::EndAhead {
        partition: 0,
        told: 4,
        end: 3,
    };
    assert_eq!(bad(&end(2, 4), &log), [ahead]);
}

#[test]
fn a_time_is_found_at_its_first_record_in_the_order_of_offsets() {
    let timestamps = Timestamps::from([(0, BTreeMap::from([(0, 50), (1, 90), (2, 70)]))]);
    let all = log(&[0, 1, 2], 3);
    let bad = |reads: Reads| check(&reads, &all, &all, &timestamps);
    assert_eq!(bad(time(60, Some((1, 90)))), []);
    assert_eq!(bad(time(91, None)), []);
    let wrong = |told| BadRead::WrongTime {
        lookup: (0, 60),
        told,
        right: Some((1, 90)),
    };
    // The record at 2 is nearer in time, and comes later in the log.
    assert_eq!(bad(time(60, Some((2, 70)))), [wrong(Some((2, 70)))]);
    assert_eq!(bad(time(60, None)), [wrong(None)]);
}

#[test]
fn an_offset_of_the_log_is_never_out_of_its_range() {
    let reads = Reads {
        out_of_range: vec![(7, 0, 2)],
        ..Reads::default()
    };
    let refused = BadRead::OutOfRange {
        consumer: 7,
        partition: 0,
        offset: 2,
    };
    assert_eq!(bad(&reads, &log(&[0, 1], 2)), [refused]);
}
