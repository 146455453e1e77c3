//! Reading WAL files: at the start of an agent, and for `inspect`.
use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Recovered, WalError,
    record::{self, END_MARK, FRAME_BYTES, WalRecord},
    segment::{self, Segment},
};

/// One file, as far as it can be read.
struct Scan {
    records: Vec<(u64, WalRecord)>,
    /// Where reading ended.
    end: u64,
    sealed: bool,
}

/// The WAL files of a folder, oldest first.
fn files(dir: &Path) -> Result<Vec<PathBuf>, WalError> {
    let listing = fs::read_dir(dir).map_err(|e| WalError::io(dir, e))?;
    let mut found = Vec::new();
    for entry in listing {
        let path = entry.map_err(|e| WalError::io(dir, e))?.path();
        if path.extension().is_some_and(|x| x == "wal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads everything, seals the newest file behind its last whole record, and says what each file holds.
pub(super) fn recover(dir: &Path) -> Result<(Recovered, Vec<Segment>), WalError> {
    let (mut recovered, mut segments) = (Recovered::default(), Vec::new());
    let paths = files(dir)?;
    for (i, path) in paths.iter().enumerate() {
        let scan = scan(path)?;
        if !scan.sealed {
            if i + 1 < paths.len() {
                return Err(WalError::Damaged { path: path.clone(), at: scan.end });
            }
            segment::seal(path, scan.end).map_err(|e| WalError::io(path, e))?;
            if scan.end == 0 {
                continue;
            }
        }
        let numbers = scan.records.iter().filter(|(_, r)| matches!(r, WalRecord::Batch(_)));
        segments.push(Segment::sealed(path.clone(), numbers.map(|(n, _)| *n).collect()));
        recovered.records.extend(scan.records);
    }
    recovered.last = recovered.records.last().map_or(0, |(n, _)| *n);
    Ok((recovered, segments))
}

/// All records of a folder's files that can be read, without changing anything.
pub fn read_all(dir: &Path) -> Result<Vec<(u64, WalRecord)>, WalError> {
    let mut all = Vec::new();
    for path in files(dir)? {
        all.extend(scan(&path)?.records);
    }
    Ok(all)
}

/// A line for each record, for people.
pub fn inspect(dir: &Path) -> Result<Vec<String>, WalError> {
    let mut lines = Vec::new();
    for path in files(dir)? {
        let scan = scan(&path)?;
        let state = if scan.sealed { "sealed" } else { "open" };
        lines.push(format!("{} ({state}, {} bytes used)", path.display(), scan.end));
        lines.extend(scan.records.iter().map(|(number, record)| describe(*number, record)));
    }
    Ok(lines)
}

fn describe(number: u64, record: &WalRecord) -> String {
    match record {
        WalRecord::Batch(b) => format!(
            "  {number}: batch of {:?} at offset {} under lease {}, {} bytes, in {} as #{}",
            b.partition,
            b.base_offset,
            b.lease_epoch,
            b.bytes.len(),
            b.object,
            b.ordinal
        ),
        WalRecord::Moved { to, batches } => {
            let numbers: Vec<_> = batches.iter().map(|(n, _)| n.to_string()).collect();
            format!("  {number}: {} now in {to}", numbers.join(", "))
        }
    }
}

fn scan(path: &Path) -> Result<Scan, WalError> {
    let bytes = Bytes::from(fs::read(path).map_err(|e| WalError::io(path, e))?);
    let mut scan = Scan { records: Vec::new(), end: 0, sealed: false };
    if !bytes.starts_with(&segment::header()) {
        // A file that was being made: nothing was ever acknowledged from it.
        return Ok(scan);
    }
    let mut at = segment::header().len();
    scan.end = at as u64;
    while let Some(step) = next(&bytes, at) {
        match step {
            Step::Record(number, record, end) => {
                scan.records.push((number, record));
                at = end;
                scan.end = at as u64;
            }
            Step::End => {
                scan.sealed = true;
                break;
            }
        }
    }
    Ok(scan)
}

enum Step {
    Record(u64, WalRecord, usize),
    End,
}

/// The record at `at`, or `None` where there is no whole one.
fn next(bytes: &Bytes, at: usize) -> Option<Step> {
    let len = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    if len == END_MARK {
        return Some(Step::End);
    }
    let crc = u32::from_be_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?);
    let (start, end) = (at + FRAME_BYTES, (at + FRAME_BYTES).checked_add(len as usize)?);
    if len == 0 || end > bytes.len() || crc32c::crc32c(&bytes[start..end]) != crc {
        return None;
    }
    let (number, record) = record::decode(&bytes.slice(start..end))?;
    Some(Step::Record(number, record, end))
}
