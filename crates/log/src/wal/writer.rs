//! The writer thread: one owner of the files.
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

use sh_base::ObjectId;

use super::{
    Order, Outcome, Prepare, Report, WalConfig,
    files::Files,
    record::{self, Encoded, WalRecord},
    segment::{self, END_BYTES, HEADER_BYTES, Salt},
};

/// Bytes of one gathered write; more would only make its fsync longer.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A finished file on its way to be written again.
pub(super) const SPARE: &str = "spare.tmp";
/// Size of a life's first file: small enough to be made while somebody waits.
const FIRST_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How often space is looked for on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    cfg: WalConfig,
    files: Files,
    current: Option<Current>,
    /// The next file, being made ahead.
    next: Option<JoinHandle<io::Result<File>>>,
    prepare: Prepare,
    report: Report,
    /// Orders that came with others and did not fit into the group.
    queued: VecDeque<Order>,
    /// What was last reported as [`Outcome::Holds`].
    holds: Option<ObjectId>,
    /// A finished file could not be removed, and that was said.
    stuck: bool,
}

struct Current {
    file: File,
    salt: Salt,
    used: u64,
    size: u64,
}

/// Records of one write.
#[derive(Default)]
pub(super) struct Group {
    pub records: Vec<(u64, WalRecord)>,
    pub encoded: Vec<Encoded>,
    pub bytes: usize,
}

/// A file that is being made ahead must not come into the way of whoever opens the folder next.
impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(ahead) = self.next.take() {
            // It failed or not: the file has a name that recovery does not read.
            let _ = ahead.join();
        }
    }
}

impl Writer {
    pub fn new(cfg: WalConfig, files: Files, report: Report, prepare: Prepare) -> Writer {
        let holds = files.oldest_object();
        Writer {
            cfg,
            files,
            current: None,
            next: None,
            prepare,
            report,
            queued: VecDeque::new(),
            holds,
            stuck: false,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.cfg.dir
    }

    /// Until the handle is dropped, or the disk fails.
    pub fn run(mut self, inbox: &Receiver<Vec<Order>>) {
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
    fn gather(&mut self, inbox: &Receiver<Vec<Order>>) -> Option<Group> {
        let mut group = Group::default();
        if self.queued.is_empty() {
            self.queued.extend(inbox.recv().ok()?);
        }
        while group.bytes < GROUP_BYTES_MAX {
            match self.queued.pop_front() {
                Some(order) => self.take(order, &mut group),
                None => match inbox.try_recv() {
                    Ok(orders) => self.queued.extend(orders),
                    Err(_) => break,
                },
            }
        }
        Some(group)
    }

    fn take(&mut self, order: Order, group: &mut Group) {
        match order {
            Order::Append(number, record) => group.push(number, record),
            Order::Finish(number) => self.files.finish(number),
        }
    }

    /// Removes what is needed no more. A file that cannot be removed keeps its ids needed, and those of the files after it.
    fn trim(&mut self) {
        while let Some(path) = self.files.first_to_go() {
            if let Err(error) = self.retire(path) {
                if !std::mem::replace(&mut self.stuck, true) {
                    tracing::warn!(path = %path.display(), %error, "a finished WAL file stays");
                }
                break;
            }
            self.files.forget_first();
        }
        self.tell_what_it_holds();
    }

    /// Takes a file's name away for good; the last one of the usual size is kept to be written again.
    fn retire(&self, path: &Path) -> io::Result<()> {
        let usual = fs::metadata(path).is_ok_and(|found| found.len() == self.cfg.file_bytes);
        if !usual {
            return segment::remove(path);
        }
        fs::rename(path, self.spare_path())?;
        segment::sync_dir(&self.cfg.dir)
    }

    fn tell_what_it_holds(&mut self) {
        let holds = self.files.oldest_object();
        if std::mem::replace(&mut self.holds, holds) != holds {
            (self.report)(Outcome::Holds(holds));
        }
    }

    fn write(&mut self, mut group: Group, inbox: &Receiver<Vec<Order>>) -> io::Result<()> {
        let mut upto = group.last();
        while let Err(error) = self
            .make_room(&group)
            .and_then(|()| self.append(&mut group))
        {
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
        self.tell_what_it_holds();
        (self.report)(Outcome::Synced(upto));
        Ok(())
    }

    /// **A full disk loses nothing**: batches fall back to being durable, and moves wait (without them a replay would submit a
    /// committed record again), while finished files go.
    fn without_space(&mut self, group: Group, inbox: &Receiver<Vec<Order>>) -> Group {
        let (moves, batches): (Vec<_>, Vec<_>) = group
            .records
            .into_iter()
            .partition(|(_, r)| matches!(r, WalRecord::Moved { .. }));
        if !batches.is_empty() {
            let dir = self.cfg.dir.display();
            tracing::warn!(%dir, "the WAL's disk is full: acks=1 waits for the upload instead");
            (self.report)(Outcome::Skipped(batches.iter().map(|(n, _)| *n).collect()));
        }
        let mut rest = Group::default();
        moves
            .into_iter()
            .for_each(|(number, record)| rest.push(number, record));
        if !rest.records.is_empty() {
            // What is queued may finish files, which makes space.
            match inbox.recv_timeout(FULL_RETRY) {
                Ok(orders) => self.queued.extend(orders),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Group::default(),
            }
            while let Some(order) = self.queued.pop_front() {
                self.take(order, &mut rest);
            }
            self.trim();
        }
        rest
    }

    /// One write and one sync. A write that finds no space although it was allocated (some file systems cannot) is undone; a
    /// sync that fails is final, whatever it says.
    fn append(&mut self, group: &mut Group) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let salt = current.salt;
        let encoded = group.encoded.iter_mut();
        let slices: Vec<&[u8]> = encoded.flat_map(|record| record.salted(salt)).collect();
        if let Err(error) = segment::write_all_vectored(&mut current.file, &slices) {
            current.rewind()?;
            return Err(error);
        }
        current.file.sync_data().map_err(io::Error::other)?;
        current.used += group.bytes as u64;
        metrics::counter!("streamhouse_wal_syncs_total").increment(1);
        metrics::counter!("streamhouse_wal_bytes_total").increment(group.bytes as u64);
        group
            .records
            .iter()
            .for_each(|(number, record)| self.files.add(*number, record));
        Ok(())
    }

    /// Makes sure that the current file takes the group and an end mark after it.
    fn make_room(&mut self, group: &Group) -> io::Result<()> {
        let wanted = (group.bytes + END_BYTES) as u64;
        if self
            .current
            .as_ref()
            .is_some_and(|c| c.used + wanted <= c.size)
        {
            return Ok(());
        }
        let least = wanted + HEADER_BYTES as u64;
        // The first one is waited for.
        let usual = match self.current {
            None => self.cfg.file_bytes.min(FIRST_FILE_BYTES),
            Some(_) => self.cfg.file_bytes,
        };
        let mut size = usual.max(least);
        let file = self.next_file(size).or_else(|error| {
            // Moves cannot wait for others to make space: they are what others wait for.
            let full = error.kind() == io::ErrorKind::StorageFull && group.is_moves();
            size = if full { least } else { return Err(error) };
            (self.prepare)(&self.prepared_path(), size)
        })?;
        if let Some(old) = &self.current {
            old.file
                .write_all_at(&segment::end_mark(old.salt), old.used)?;
            old.file.sync_data().map_err(io::Error::other)?;
        }
        self.current = None;
        self.begin_file(file, size, group)
            .map_err(io::Error::other)?;
        self.prepare_ahead();
        Ok(())
    }

    /// Gives a prepared file its name: from now on recovery reads it.
    fn begin_file(&mut self, file: File, size: u64, group: &Group) -> io::Result<()> {
        let first = group.records.first().map_or(0, |(n, _)| *n);
        let path = self.cfg.dir.join(format!("{first:020}.wal"));
        let salt = Salt::new(self.cfg.nonce, first);
        file.write_all_at(&segment::header(salt), 0)?;
        file.sync_data()?;
        fs::rename(self.prepared_path(), &path)?;
        segment::sync_dir(&self.cfg.dir)?;
        self.files.begin(path);
        self.current = Some(Current {
            file,
            salt,
            used: HEADER_BYTES as u64,
            size,
        });
        Ok(())
    }

    fn prepared_path(&self) -> PathBuf {
        self.cfg.dir.join("next.tmp")
    }

    fn spare_path(&self) -> PathBuf {
        self.cfg.dir.join(SPARE)
    }

    fn next_file(&mut self, size: u64) -> io::Result<File> {
        let ahead = self.next.take().and_then(|thread| thread.join().ok());
        match ahead {
            Some(Ok(file)) if size == self.cfg.file_bytes => Ok(file),
            _ => (self.prepare)(&self.prepared_path(), size),
        }
    }

    fn prepare_ahead(&mut self) {
        let (path, bytes, prepare) = (
            self.prepared_path(),
            self.cfg.file_bytes,
            self.prepare.clone(),
        );
        let spare = self.spare_path();
        let thread = std::thread::Builder::new().name("wal-ahead".into());
        let make = move || match fs::rename(&spare, &path) {
            Ok(()) => segment::reopen(&path),
            Err(_) => prepare(&path, bytes),
        };
        self.next = thread.spawn(make).ok();
    }
}

impl Current {
    /// Back to behind the last record that was synced.
    fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.used).map_err(io::Error::other)?;
        self.file
            .seek(SeekFrom::Start(self.used))
            .map_err(io::Error::other)?;
        Ok(())
    }
}

impl Group {
    fn is_moves(&self) -> bool {
        self.records
            .iter()
            .all(|(_, r)| matches!(r, WalRecord::Moved { .. }))
    }

    pub fn last(&self) -> u64 {
        self.records.last().map_or(0, |(n, _)| *n)
    }

    pub fn push(&mut self, number: u64, record: WalRecord) {
        let into = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        let encoded = record::encode(number, into, &record);
        self.bytes += encoded.len();
        self.encoded.push(encoded);
        self.records.push((number, record));
    }
}
