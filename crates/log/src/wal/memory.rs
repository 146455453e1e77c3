//! A WAL disk in memory, for simulations: it keeps the bytes that the real writer would write and is recovered by the real
//! reader; what a write or a sync comes to is decided by a [`DiskLiar`].
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

use super::{
    Journal, Order, Outcome, Recovered, Report, WalConfig, WalError, WalRecord,
    files::Files,
    read::{self, Disk},
    record::Encoded,
    segment::{self, END_BYTES, HEADER_BYTES, Salt},
    writer::Group,
};
use crate::mutant;

/// What became of one write and its sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFate {
    Synced,
    /// No space: nothing was written.
    Full,
    /// The disk failed; nobody knows what is on it.
    Failed,
}

/// Decides how long each write takes, and what becomes of it. A call that never returns is a process that died in it.
#[async_trait]
pub trait DiskLiar: Send + Sync + 'static {
    /// A write of so many bytes is on its way.
    async fn write(&self, bytes: usize) -> WriteFate;
    /// The write is on the disk; called before anybody hears of it.
    async fn synced(&self);
}

/// How often space is looked for on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// A disk; clones are the same one. It outlives the agents that write to it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// What a file held that is to be written again.
    spare: Option<Vec<u8>>,
    /// A write that is not synced: its file, where in it, and its bytes.
    pending: Option<(PathBuf, usize, Vec<u8>)>,
    /// The life that may write. An earlier one is dead, whatever it still does.
    life: u64,
}

/// Which part of a write that was never synced is on the disk: `[from, to)` of its bytes. Elsewhere stands what stood there.
#[derive(Clone, Copy, Debug)]
pub struct Torn {
    pub from: usize,
    pub to: usize,
}

impl MemoryDisk {
    /// The writer died. `tear` is handed the size of the write that was under way, if one was, and says what is left of it.
    pub fn crash(&self, tear: impl FnOnce(usize) -> Torn) {
        let mut state = self.0.lock();
        state.life += 1;
        let Some((path, at, bytes)) = state.pending.take() else {
            return;
        };
        let Torn { from, to } = tear(bytes.len());
        let (from, to) = (from.min(bytes.len()), to.min(bytes.len()));
        if from < to {
            state.write(&path, at + from, &bytes[from..to]);
        }
    }

    /// Everything on it is gone.
    pub fn wipe(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.pending = None;
        state.spare = None;
        state.files.clear();
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> usize {
        self.0.lock().files.values().map(Vec::len).sum()
    }

    /// Reads what is there with the real reader, and starts a writer after it, on the runtime of the caller.
    pub fn open(
        &self,
        cfg: &WalConfig,
        report: Report,
        liar: Arc<dyn DiskLiar>,
    ) -> Result<(Arc<dyn Journal>, Recovered), WalError> {
        let (recovered, files) = read::recover(self)?;
        let life = {
            let mut state = self.0.lock();
            state.life += 1;
            state.life
        };
        let (orders, inbox) = unbounded_channel();
        let writer = Writer {
            disk: self.clone(),
            life,
            cfg: cfg.clone(),
            holds: files.oldest_object(),
            files,
            current: None,
            report,
            liar,
        };
        tokio::spawn(writer.run(inbox));
        Ok((Arc::new(MemoryWal { orders }), recovered))
    }
}

impl Disk for MemoryDisk {
    fn files(&self) -> Result<Vec<PathBuf>, WalError> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        let state = self.0.lock();
        let file = state.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Bytes::copy_from_slice(file))
    }
    fn seal(&self, path: &Path, end: u64, salt: Salt) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.truncate(end as usize);
        file.extend(segment::end_mark(salt));
        Ok(())
    }
    fn forget_spare(&self) -> Result<(), WalError> {
        self.0.lock().spare = None;
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().files.remove(path);
        Ok(())
    }
}

impl State {
    fn write(&mut self, path: &Path, at: usize, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(path) {
            let end = at + bytes.len();
            file.resize(file.len().max(end), 0);
            file[at..end].copy_from_slice(bytes);
        }
    }
}

/// The file that is being written.
struct Current {
    path: PathBuf,
    salt: Salt,
    used: usize,
    size: usize,
}

struct MemoryWal {
    orders: UnboundedSender<Vec<Order>>,
}

impl Journal for MemoryWal {
    fn submit(&self, orders: Vec<Order>) {
        // The writer ends only with a failure, which it has reported.
        let _ = self.orders.send(orders);
    }
}

struct Writer {
    disk: MemoryDisk,
    life: u64,
    cfg: WalConfig,
    files: Files,
    holds: Option<sh_base::ObjectId>,
    current: Option<Current>,
    report: Report,
    liar: Arc<dyn DiskLiar>,
}

impl Writer {
    async fn run(mut self, mut inbox: UnboundedReceiver<Vec<Order>>) {
        let mut group = Group::default();
        while let Some(orders) = inbox.recv().await {
            self.take(orders, &mut group);
            self.take_queued(&mut inbox, &mut group);
            self.trim();
            // Of what was skipped too: nobody waits for it any more.
            let mut upto = group.last();
            while !group.records.is_empty() {
                let size = self.stage(&mut group);
                match self.liar.write(size).await {
                    WriteFate::Synced => self.commit(std::mem::take(&mut group), upto).await,
                    WriteFate::Full => {
                        group = self.without_space(group);
                        if group.records.is_empty() {
                            (self.report)(Outcome::Synced(upto));
                        } else {
                            sleep(FULL_RETRY).await;
                            self.take_queued(&mut inbox, &mut group);
                            upto = upto.max(group.last());
                            self.trim();
                        }
                    }
                    WriteFate::Failed if mutant::is("sync_failure_ignored") => {
                        self.disk.0.lock().pending = None;
                        (self.report)(Outcome::Synced(group.last()));
                        group = Group::default();
                    }
                    WriteFate::Failed => {
                        let text = "the WAL in memory failed: a sync was refused";
                        return (self.report)(Outcome::Failed(text.into()));
                    }
                }
            }
        }
    }

    fn take(&mut self, orders: Vec<Order>, group: &mut Group) {
        for order in orders {
            match order {
                Order::Append(number, record) => group.push(number, record),
                Order::Finish(number) => self.files.finish(number),
            }
        }
    }

    fn take_queued(&mut self, inbox: &mut UnboundedReceiver<Vec<Order>>, group: &mut Group) {
        while let Ok(orders) = inbox.try_recv() {
            self.take(orders, group);
        }
    }

    /// Chooses the file of a group and says that it is being written; its size.
    fn stage(&mut self, group: &mut Group) -> usize {
        let size = group.bytes;
        let mut state = self.disk.0.lock();
        if state.life != self.life {
            return size;
        }
        let has_room = |c: &Current| c.used + size + END_BYTES <= c.size;
        if !self.current.as_ref().is_some_and(has_room) {
            if let Some(old) = self.current.take() {
                state.write(&old.path, old.used, &segment::end_mark(old.salt));
            }
            let first = group.records.first().map_or(0, |(n, _)| *n);
            let current = Current {
                path: PathBuf::from(format!("{first:020}.wal")),
                salt: Salt::new(self.cfg.nonce, first),
                used: HEADER_BYTES,
                size: (self.cfg.file_bytes as usize).max(HEADER_BYTES + size + END_BYTES),
            };
            let mut file = state.spare.take().unwrap_or_default();
            file.resize(current.size, 0);
            state.files.insert(current.path.clone(), file);
            state.write(&current.path, 0, &segment::header(current.salt));
            self.files.begin(current.path.clone());
            self.current = Some(current);
        }
        if let Some(current) = &self.current {
            let salted = |record: &mut Encoded| record.salted(current.salt).concat();
            let bytes = group.encoded.iter_mut().flat_map(salted).collect();
            state.pending = Some((current.path.clone(), current.used, bytes));
        }
        size
    }

    /// The staged group is on the disk.
    async fn commit(&mut self, group: Group, upto: u64) {
        {
            let mut state = self.disk.0.lock();
            if state.life == self.life
                && let Some((path, at, bytes)) = state.pending.take()
            {
                state.write(&path, at, &bytes);
            }
        }
        if let Some(current) = &mut self.current {
            current.used += group.bytes;
        }
        self.liar.synced().await;
        for (number, record) in &group.records {
            self.files.add(*number, record);
        }
        self.tell_what_it_holds();
        (self.report)(Outcome::Synced(upto));
    }

    /// Batches fall back to being durable; moves wait for space (see the real writer).
    fn without_space(&mut self, group: Group) -> Group {
        self.disk.0.lock().pending = None;
        let (moves, batches): (Vec<_>, Vec<_>) = group
            .records
            .into_iter()
            .partition(|(_, r)| matches!(r, WalRecord::Moved { .. }));
        if !batches.is_empty() {
            (self.report)(Outcome::Skipped(batches.iter().map(|(n, _)| *n).collect()));
        }
        let mut rest = Group::default();
        moves
            .into_iter()
            .for_each(|(number, record)| rest.push(number, record));
        rest
    }

    fn trim(&mut self) {
        while let Some(path) = self.files.first_to_go() {
            let mut state = self.disk.0.lock();
            if state.life == self.life
                && let Some(old) = state.files.remove(path)
                && old.len() as u64 == self.cfg.file_bytes
            {
                state.spare = Some(old);
            }
            drop(state);
            self.files.forget_first();
        }
        self.tell_what_it_holds();
    }

    fn tell_what_it_holds(&mut self) {
        let holds = self.files.oldest_object();
        if std::mem::replace(&mut self.holds, holds) != holds {
            (self.report)(Outcome::Holds(holds));
        }
    }
}
