//! The write-ahead log of acks=1: what this agent has acknowledged and not yet committed.
//!
//! Files `{first number}.wal` of a preallocated size, written by one thread: gather what is queued, one vectored write, one
//! `fdatasync`, wake all. A failed write or sync of the disk stops the process (the kernel may have dropped the pages: trying
//! again would lie); only a full disk is survived, see [`Outcome::Skipped`].
//!
//! ```text
//! file:   | "SHWL" | version u32 | salt u64 | records... | end mark, once another file follows |
//! record: | len u32 | crc u32 | tag u32 | number u64, into u32, kind u8, fields |      crc and len of what follows the tag
//! end:    | 0xffffffff | salt u64 |
//! ```
//! A finished file is written again, as blocks that were written before are synced twice as fast: what it held is told from
//! what it holds by the salt, which is in every tag and every CRC.
//! `into` is how far into its write a record begins. A write begins when the one before it is synced.
//!
//! *Invariant:* every file but the newest has an end mark. So a record that cannot be read means a torn write only at the end
//! of the newest file, with no record of a later write behind it; anywhere else it is damage, and is reported.
mod crc;
pub(crate) mod files;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod read;
pub mod record;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use sh_base::ObjectId;

pub use read::{inspect, read_all};
pub use record::{WalBatch, WalRecord};

/// How the WAL is kept.
#[derive(Clone, Debug)]
pub struct WalConfig {
    pub dir: PathBuf,
    /// Size of a file. It is allocated ahead, so that an fsync does not wait for the file system to find space.
    pub file_bytes: u64,
    /// Drawn for this life of the agent: marks what it writes.
    pub nonce: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("the WAL file {} cannot be used: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the WAL file {} is damaged at byte {at}: acknowledged records may be lost. `streamhouse inspect wal` shows what can \
         be read; move the file away to start without it", path.display()
    )]
    Damaged { path: PathBuf, at: u64 },
}

impl WalError {
    fn io(path: &Path, error: io::Error) -> WalError {
        WalError::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// What the writer thread reports, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every record up to this number is synced, or was skipped before.
    Synced(u64),
    /// The disk is full: these batch records are not in the WAL, and their batches must be acknowledged as durable instead.
    /// ([`WalRecord::Moved`] is never skipped: it waits for space.)
    Skipped(Vec<u64>),
    /// The oldest object id that the files name is now this one: a replay may ask what became of it. Reported before the
    /// `Synced` of the record that names it, and after the file that did is gone.
    Holds(Option<ObjectId>),
    /// The disk failed, and the process must stop.
    Failed(String),
}

/// A folder that a power failure takes away takes its files with it.
fn make_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    dir.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), segment::sync_dir)
}

/// Makes a file of so many allocated bytes under a name that recovery does not read.
type Prepare = Arc<dyn Fn(&Path, u64) -> io::Result<File> + Send + Sync>;

/// Where outcomes are told, in their order.
pub type Report = Box<dyn Fn(Outcome) + Send>;

/// A WAL as the engine writes to it. None of the calls waits; what became of a record is told to the [`Report`] that it was
/// opened with.
pub trait Journal: Send + Sync + 'static {
    /// Queues orders, in their order. **What is known together is submitted together**: the writer is woken once for it, and
    /// does not begin to write with half of it.
    fn submit(&self, orders: Vec<Order>);
}

/// What a [`Journal`] is told.
pub enum Order {
    /// To be written; numbers rise by one.
    Append(u64, WalRecord),
    /// This batch record is needed no more.
    Finish(u64),
}

/// Handle of the writer thread.
pub struct Wal {
    orders: mpsc::Sender<Vec<Order>>,
}

/// What the WAL held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// In order, with their numbers.
    pub records: Vec<(u64, WalRecord)>,
    /// The newest number.
    pub last: u64,
    /// The oldest object id that a record names.
    pub oldest: Option<ObjectId>,
}

impl Wal {
    /// Reads what is there, seals it, and starts the writer after it. `report` is called from the writer thread.
    pub fn open(cfg: WalConfig, report: Report) -> Result<(Wal, Recovered), WalError> {
        Wal::open_on(cfg, report, Arc::new(segment::prepare))
    }

    /// Opens it on a disk of a test's making: `prepare` makes its files.
    fn open_on(
        cfg: WalConfig,
        report: Report,
        prepare: Prepare,
    ) -> Result<(Wal, Recovered), WalError> {
        make_dir(&cfg.dir).map_err(|e| WalError::io(&cfg.dir, e))?;
        let (recovered, files) = read::recover(&read::Folder(cfg.dir.clone()))?;
        let (orders, inbox) = mpsc::channel();
        let writer = writer::Writer::new(cfg, files, report, prepare);
        let dir = writer.dir().to_owned();
        let thread = std::thread::Builder::new().name("wal".into());
        thread
            .spawn(move || writer.run(&inbox))
            .map_err(|e| WalError::io(&dir, e))?;
        Ok((Wal { orders }, recovered))
    }
}

impl Journal for Wal {
    fn submit(&self, orders: Vec<Order>) {
        // The writer ends only with a failure, which it has reported.
        let _ = self.orders.send(orders);
    }
}
