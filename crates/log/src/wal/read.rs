//! Reading WAL files: at the start of an agent, and for `inspect`.
use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Recovered, WalError,
    files::{Files, Segment},
    record::{self, FRAME_BYTES, Numbered, WalRecord},
    segment::{self, Salt},
    writer::SPARE,
};

/// One file, as far as it can be read.
struct Scan {
    records: Vec<(u64, WalRecord)>,
    salt: Salt,
    /// Where reading ended.
    end: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Sealed,
    /// Behind its last whole record there is nothing that was ever synced.
    Open,
    Damaged,
}

/// What recovery does to files, wherever they lie.
pub(super) trait Disk {
    /// All WAL files, oldest first.
    fn files(&self) -> Result<Vec<PathBuf>, WalError>;
    fn read(&self, path: &Path) -> std::io::Result<Bytes>;
    /// Cuts a file behind its last whole record and marks its end.
    fn seal(&self, path: &Path, end: u64, salt: Salt) -> std::io::Result<()>;
    fn remove(&self, path: &Path) -> std::io::Result<()>;
    /// Removes the file that was kept to be written again.
    fn forget_spare(&self) -> Result<(), WalError>;
}

/// A folder of the file system.
pub(super) struct Folder(pub PathBuf);

impl Disk for Folder {
    fn files(&self) -> Result<Vec<PathBuf>, WalError> {
        files(&self.0)
    }
    fn read(&self, path: &Path) -> std::io::Result<Bytes> {
        fs::read(path).map(Bytes::from)
    }
    fn seal(&self, path: &Path, end: u64, salt: Salt) -> std::io::Result<()> {
        segment::seal(path, end, salt)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        segment::remove(path)
    }
    fn forget_spare(&self) -> Result<(), WalError> {
        let spare = self.0.join(SPARE);
        segment::remove(&spare).map_err(|e| WalError::io(&spare, e))
    }
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
pub(super) fn recover(disk: &dyn Disk) -> Result<(Recovered, Files), WalError> {
    let (mut recovered, mut segments) = (Recovered::default(), Vec::new());
    // Not written again by another life: its numbers may begin anew.
    disk.forget_spare()?;
    let paths = disk.files()?;
    for (i, path) in paths.iter().enumerate() {
        let bytes = disk.read(path).map_err(|e| WalError::io(path, e))?;
        let scan = scan_bytes(&bytes);
        let newest = i + 1 == paths.len();
        if scan.state == State::Damaged || (scan.state == State::Open && !newest) {
            return Err(WalError::Damaged {
                path: path.clone(),
                at: scan.end,
            });
        }
        if let Some(segment) = keep(disk, path, &scan).map_err(|e| WalError::io(path, e))? {
            segments.push(segment);
            recovered.records.extend(scan.records);
        }
    }
    recovered.last = recovered.records.last().map_or(0, |(n, _)| *n);
    let files = Files::sealed(segments);
    recovered.oldest = files.oldest_object();
    Ok((recovered, files))
}

/// SUBTLE: a file without a record must not stay. The next file is named after the next record, and so might be this one: it
/// would be trimmed as the old file that it was.
fn keep(disk: &dyn Disk, path: &Path, scan: &Scan) -> std::io::Result<Option<Segment>> {
    if scan.records.is_empty() {
        disk.remove(path)?;
        return Ok(None);
    }
    if scan.state == State::Open {
        disk.seal(path, scan.end, scan.salt)?;
    }
    let mut segment = Segment::new(path.to_owned());
    scan.records
        .iter()
        .for_each(|(number, record)| segment.add(*number, record));
    Ok(Some(segment))
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
        let state = match scan.state {
            State::Sealed => "sealed",
            State::Open => "open",
            State::Damaged => "damaged",
        };
        lines.push(format!(
            "{} ({state}, {} bytes used)",
            path.display(),
            scan.end
        ));
        lines.extend(
            scan.records
                .iter()
                .map(|(number, record)| describe(*number, record)),
        );
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
    let bytes = fs::read(path).map_err(|e| WalError::io(path, e))?;
    Ok(scan_bytes(&Bytes::from(bytes)))
}

fn scan_bytes(bytes: &Bytes) -> Scan {
    let mut scan = Scan {
        records: Vec::new(),
        salt: Salt(0),
        end: 0,
        state: State::Damaged,
    };
    let Some(salt) = segment::read_header(bytes) else {
        // A file gets its name when its header is synced.
        return scan;
    };
    scan.salt = salt;
    let mut at = segment::HEADER_BYTES;
    while let Some((Numbered { number, record, .. }, end)) = next(bytes, at, salt) {
        scan.records.push((number, record));
        at = end;
    }
    scan.end = at as u64;
    scan.state = what_follows(bytes, at, salt);
    scan
}

/// What lies where no whole record does. **A record of a later write proves that the one which cannot be read was synced**: a
/// write begins when the one before it is on the disk.
fn what_follows(bytes: &Bytes, torn: usize, salt: Salt) -> State {
    let end_mark = segment::end_mark(salt);
    if bytes.get(torn..torn + end_mark.len()) == Some(&end_mark[..]) {
        return State::Sealed;
    }
    let of_a_later_write = |at| {
        may_be_of_a_later_write(bytes, at, torn, salt)
            && next(bytes, at, salt)
                .is_some_and(|(found, _)| at.saturating_sub(found.into as usize) > torn)
    };
    match (torn + 1..end_of_writing(bytes)).any(of_a_later_write) {
        true => State::Damaged,
        false => State::Open,
    }
}

/// Where the zeros begin that the file was made of: nothing was written there. Whole chunks, as looking at each byte of a
/// preallocated file would hold up every start.
fn end_of_writing(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let is_zero = |chunk: &&[u8]| *chunk == &ZEROS[..chunk.len()];
    let zeros: usize = bytes
        .rchunks(ZEROS.len())
        .take_while(is_zero)
        .map(<[u8]>::len)
        .sum();
    bytes.len() - zeros
}

/// What can be told before the CRC of everything behind it is computed: the bytes of a torn write hold many lengths.
fn may_be_of_a_later_write(bytes: &[u8], at: usize, torn: usize, salt: Salt) -> bool {
    if word(bytes, at + TAG_AT) != Some(salt.tag()) {
        return false;
    }
    let into = word(bytes, at + FRAME_BYTES + size_of::<u64>());
    into.is_some_and(|into| at.saturating_sub(into as usize) > torn)
}

/// Where the tag stands in a record.
const TAG_AT: usize = 8;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(word))
}

/// The record at `at` and where it ends, or `None` where there is no whole one.
fn next(bytes: &Bytes, at: usize, salt: Salt) -> Option<(Numbered, usize)> {
    if word(bytes, at + TAG_AT)? != salt.tag() {
        return None;
    }
    let len = word(bytes, at)?;
    let (start, end) = (
        at + FRAME_BYTES,
        (at + FRAME_BYTES).checked_add(len as usize)?,
    );
    if len == 0 || end > bytes.len() {
        return None;
    }
    let crc = word(bytes, at + 4)?;
    if crc32c::crc32c(&bytes[start..end]) ^ salt.mask() != crc {
        return None;
    }
    Some((record::decode(&bytes.slice(start..end))?, end))
}
