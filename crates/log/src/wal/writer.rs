//! The writer thread: one owner of the files.
use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use super::{
    Order, Outcome, WalConfig,
    record::{self, END_MARK, WalRecord},
    segment::{self, Segment},
};

/// Bytes of one gathered write; more would only make its fsync longer.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often space is looked for on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);

type Report = Box<dyn Fn(Outcome) + Send>;

pub(super) struct Writer {
    cfg: WalConfig,
    /// Oldest first; the last one is being written if `current` is set.
    segments: VecDeque<Segment>,
    current: Option<Current>,
    /// The next file, being made ahead.
    next: Option<JoinHandle<io::Result<File>>>,
    report: Report,
}

struct Current {
    file: File,
    used: u64,
    size: u64,
}

/// Records of one write.
#[derive(Default)]
struct Group {
    records: Vec<(u64, WalRecord)>,
    encoded: Vec<(Vec<u8>, Bytes)>,
    bytes: usize,
}

impl Writer {
    pub fn new(cfg: WalConfig, segments: Vec<Segment>, report: Report) -> Writer {
        Writer { cfg, segments: segments.into(), current: None, next: None, report }
    }

    pub fn dir(&self) -> &Path {
        &self.cfg.dir
    }

    /// Until the handle is dropped, or the disk fails.
    pub fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let group = match self.gather(inbox) {
                Some(group) => group,
                None => return,
            };
            self.trim();
            if group.records.is_empty() {
                continue;
            }
            if let Err(why) = self.write(group, inbox) {
                let text = format!("the WAL in {} failed: {why}", self.cfg.dir.display());
                (self.report)(Outcome::Failed(text));
                return;
            }
        }
    }

    /// Waits for an order and takes what else is queued.
    fn gather(&mut self, inbox: &Receiver<Order>) -> Option<Group> {
        let mut group = Group::default();
        self.take(inbox.recv().ok()?, &mut group);
        while group.bytes < GROUP_BYTES_MAX
            && let Ok(order) = inbox.try_recv()
        {
            self.take(order, &mut group);
        }
        Some(group)
    }

    fn take(&mut self, order: Order, group: &mut Group) {
        match order {
            Order::Append(number, record) => group.push(number, record),
            Order::Finish(number) => {
                for segment in &mut self.segments {
                    if segment.needed.remove(&number) {
                        return;
                    }
                }
            }
        }
    }

    /// **Files go oldest first**: a later file may say where the batches of an older one went.
    fn trim(&mut self) {
        let keep = usize::from(self.current.is_some());
        while self.segments.len() > keep
            && self.segments.front().is_some_and(|s| s.needed.is_empty())
            && let Some(segment) = self.segments.pop_front()
        {
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "a finished WAL file stays");
            }
        }
    }

    fn write(&mut self, mut group: Group, inbox: &Receiver<Order>) -> io::Result<()> {
        let mut upto = group.last();
        while let Err(error) = self.make_room(&group) {
            if error.kind() != io::ErrorKind::StorageFull {
                return Err(error);
            }
            group = self.without_space(group, inbox);
            upto = upto.max(group.last());
            if group.records.is_empty() {
                (self.report)(Outcome::Synced(upto));
                return Ok(());
            }
        }
        self.append(&group)?;
        (self.report)(Outcome::Synced(upto));
        Ok(())
    }

    /// **A full disk loses nothing**: batches fall back to being durable, and moves wait (without them a replay would submit a
    /// committed record again), while finished files go.
    fn without_space(&mut self, group: Group, inbox: &Receiver<Order>) -> Group {
        let (moves, batches): (Vec<_>, Vec<_>) =
            group.records.into_iter().partition(|(_, r)| matches!(r, WalRecord::Moved { .. }));
        if !batches.is_empty() {
            let dir = self.cfg.dir.display();
            tracing::warn!(%dir, "the WAL's disk is full: acks=1 waits for the upload instead");
            (self.report)(Outcome::Skipped(batches.iter().map(|(n, _)| *n).collect()));
        }
        let mut rest = Group::default();
        moves.into_iter().for_each(|(number, record)| rest.push(number, record));
        if !rest.records.is_empty() {
            match inbox.recv_timeout(FULL_RETRY) {
                Ok(order) => self.take(order, &mut rest),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Group::default(),
            }
            self.trim();
        }
        rest
    }

    fn append(&mut self, group: &Group) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let slices: Vec<&[u8]> =
            group.encoded.iter().flat_map(|(head, payload)| [&head[..], &payload[..]]).collect();
        segment::write_all_vectored(&mut current.file, &slices)?;
        current.file.sync_data()?;
        current.used += group.bytes as u64;
        let numbers = group.records.iter().filter(|(_, r)| matches!(r, WalRecord::Batch(_)));
        if let Some(segment) = self.segments.back_mut() {
            segment.needed.extend(numbers.map(|(n, _)| *n));
        }
        Ok(())
    }

    /// Makes sure that the current file takes the group and an end mark after it.
    fn make_room(&mut self, group: &Group) -> io::Result<()> {
        let mark = END_MARK.to_be_bytes();
        let wanted = (group.bytes + mark.len()) as u64;
        if self.current.as_ref().is_some_and(|c| c.used + wanted <= c.size) {
            return Ok(());
        }
        let size = self.cfg.file_bytes.max(wanted + segment::header().len() as u64);
        let file = self.next_file(size)?;
        if let Some(mut old) = self.current.take() {
            segment::write_all_vectored(&mut old.file, &[&mark])?;
            old.file.sync_data()?;
        }
        let first = group.records.first().map_or(0, |(n, _)| *n);
        let path = self.cfg.dir.join(format!("{first:020}.wal"));
        fs::rename(self.prepared_path(), &path)?;
        segment::sync_dir(&self.cfg.dir)?;
        self.segments.push_back(Segment::sealed(path, BTreeSet::new()));
        self.current = Some(Current { file, used: segment::header().len() as u64, size });
        self.prepare_ahead();
        Ok(())
    }

    fn prepared_path(&self) -> PathBuf {
        self.cfg.dir.join("next.tmp")
    }

    fn next_file(&mut self, size: u64) -> io::Result<File> {
        let ahead = self.next.take().and_then(|thread| thread.join().ok());
        match ahead {
            Some(Ok(file)) if size == self.cfg.file_bytes => Ok(file),
            _ => segment::prepare(&self.prepared_path(), size),
        }
    }

    fn prepare_ahead(&mut self) {
        let (path, bytes) = (self.prepared_path(), self.cfg.file_bytes);
        let thread = std::thread::Builder::new().name("wal-ahead".into());
        self.next = thread.spawn(move || segment::prepare(&path, bytes)).ok();
    }
}

impl Group {
    fn last(&self) -> u64 {
        self.records.last().map_or(0, |(n, _)| *n)
    }

    fn push(&mut self, number: u64, record: WalRecord) {
        let (head, payload) = record::encode(number, &record);
        self.bytes += head.len() + payload.len();
        self.encoded.push((head, payload));
        self.records.push((number, record));
    }
}
