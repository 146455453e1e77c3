//! The seam itself: what every store promises.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use sh_base::Incarnation;

use crate::{Key, KeyRange};

/// What can go wrong at the metadata store. Losing a race or a precondition is a value inside a reply, never an error here.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// It did not happen.
    #[error("the metadata store did not do it: {0}")]
    Definite(String),
    /// It may have happened. Ask again with the same request.
    #[error("the metadata store may or may not have done it: {0}")]
    Maybe(String),
    /// The store is not the one this agent knows, or went back in time (DESIGN 4): stop serving.
    #[error("the metadata store has changed its identity: {0}")]
    Foreign(String),
}

/// A row as it stands. A row that never existed has version 0 and no value; a deleted one keeps its version as a tombstone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub value: Option<Bytes>,
    /// Old version + 1 at every write, under the lock: it only grows.
    pub version: u64,
}

/// One commit lane of one incarnation. Each lane is serial: its sequence has no gaps, so a reader's cursor misses nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId {
    pub by: Incarnation,
    pub lane: u8,
}

/// The name of an update: the place its entry takes in the feed. The same request asked again gives the stored reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    pub lane: LaneId,
    /// 1, 2, 3...
    pub seq: u64,
}

/// What `apply` sees: the locked and the read rows, read by a statement that began after the last lock was held.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub rows: HashMap<Key, Row>,
    /// One result per entry of [`Update::scans`]; live rows only, in key order.
    pub scans: Vec<Vec<(Key, Row)>>,
}

impl View {
    /// The row of a key that was locked, shared or read; absent keys are empty rows.
    pub fn row(&self, key: &Key) -> &Row {
        static EMPTY: Row = Row {
            value: None,
            version: 0,
        };
        self.rows.get(key).unwrap_or(&EMPTY)
    }
    pub fn value(&self, key: &Key) -> Option<&Bytes> {
        self.row(key).value.as_ref()
    }
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    /// `None` deletes (leaves a tombstone).
    pub value: Option<Bytes>,
    /// `None`: the key is among the locks, and the new version is its old version + 1. `Some(v)`: the key is *covered* by a
    /// locked row (an extent by its head) whose new version `v` it takes.
    pub version: Option<u64>,
}

/// What a pure function decided.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Empty: nothing is stored, no feed entry is made, the reply is returned as it is, and the request's seq stays free.
    pub writes: Vec<Write>,
    pub reply: Bytes,
}

pub type Apply = Arc<dyn Fn(&View) -> Decision + Send + Sync>;

/// One transaction: lock in key order, read, apply, write, append one feed entry, commit.
#[derive(Clone)]
pub struct Update {
    pub request: Request,
    /// Locked exclusively, absent ones too.
    pub locks: Vec<Key>,
    /// Locked in share mode (they must exist): the agent row that a commit is fenced by.
    pub shares: Vec<Key>,
    /// Read without a lock, after the locks are held. Only for rows covered by a lock.
    pub reads: Vec<Key>,
    /// Ranges read without a lock, after the locks are held, each with a row limit.
    pub scans: Vec<(KeyRange, usize)>,
    /// Pure: it may run several times (serialization failures) and its last result counts.
    pub apply: Apply,
}

/// A row as an update left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Key,
    pub value: Option<Bytes>,
    pub version: u64,
}

/// One committed update. Applying entries is idempotent and order-free: the highest version of a row wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    pub request: Request,
    pub changes: Vec<Change>,
    pub reply: Bytes,
}

/// How far a reader has come in each lane: the last seq it has seen.
pub type Cursor = BTreeMap<LaneId, u64>;

/// Which store this is. A change of any field means: another store, or one that went back in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Postgres: the system identifier and the random id of our tables. SQLite: a random id kept in the file.
    pub system: String,
    /// Postgres: the timeline, which rises when a standby is promoted. SQLite: 1.
    pub timeline: u64,
}

/// An ordered key-value space. See each method for what an error leaves behind.
#[async_trait]
pub trait MetaStore: Send + Sync + 'static {
    /// The rows of `keys`, in their order, all read at one moment. Sees every update that had returned before the call.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError>;

    /// Up to `limit` live rows of a range, in key order (descending with `reverse`), all read at one moment.
    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError>;

    /// Runs one update; atomic and durable when it returns `Ok`. Idempotent by `request`: if the feed holds an entry of that
    /// place, nothing runs and that entry is returned. `Definite`: nothing was written. `Maybe`: ask again, same request.
    /// The entry returned has no changes when the decision had no writes.
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError>;

    /// Up to `limit` entries past the cursor, of all lanes (also ones the cursor does not name), each lane in order.
    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError>;

    /// The newest seq of every lane: where a reader starts that has just scanned what it needs (scan *after* this call).
    async fn feed_end(&self) -> Result<Cursor, MetaError>;

    /// Every live row of every family, and the feed position that it reflects, read at one moment, in pages of about `page`
    /// rows handed to `sink`. For snapshots and `inspect`.
    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError>;

    async fn identity(&self) -> Result<Identity, MetaError>;
}
