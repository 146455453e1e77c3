//! The metadata store of tests and simulations: everything in one map. Clones share it, as agents share a database.
use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Cursor, FeedEntry, Identity, Key, KeyRange, LaneId, MetaError, MetaStore, Request, Row, Update,
    rules,
    serial::{self, Serial},
};

/// A store that lives as long as its last clone.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    system: Arc<str>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<Bytes, Row>,
    /// The entry of seq `n` is at `n - 1`.
    feed: BTreeMap<LaneId, Vec<FeedEntry>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new("memory")
    }
}

impl MemoryStore {
    /// An empty store; `system` is what [`MetaStore::identity`] answers.
    pub fn new(system: &str) -> Self {
        MemoryStore {
            state: Arc::default(),
            system: system.into(),
        }
    }
}

impl MemoryStore {
    /// A separate store with the same identity and content: a backup, or a standby that lags behind.
    pub fn copy(&self) -> MemoryStore {
        let State { rows, feed } = &*self.state.lock();
        let state = State {
            rows: rows.clone(),
            feed: feed.clone(),
        };
        MemoryStore {
            state: Arc::new(Mutex::new(state)),
            system: self.system.clone(),
        }
    }
}

impl Serial for State {
    fn entry(&self, request: Request) -> Result<Option<FeedEntry>, MetaError> {
        let place = request
            .seq
            .checked_sub(1)
            .and_then(|n| usize::try_from(n).ok());
        Ok(place
            .and_then(|n| self.feed.get(&request.lane)?.get(n))
            .cloned())
    }

    fn row(&self, key: &Key) -> Result<Row, MetaError> {
        Ok(self.rows.get(&key.encode()).cloned().unwrap_or_default())
    }

    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let mut rows = self.rows.range(range.start.clone()..range.end.clone());
        let next = || {
            if reverse {
                rows.next_back()
            } else {
                rows.next()
            }
        };
        std::iter::from_fn(next)
            .filter(|(_, row)| row.value.is_some())
            .take(limit)
            .map(read)
            .collect()
    }

    fn append(&mut self, entry: &FeedEntry) -> Result<(), MetaError> {
        for change in &entry.changes {
            let row = Row {
                value: change.value.clone(),
                version: change.version,
            };
            self.rows.insert(change.key.encode(), row);
        }
        self.feed
            .entry(entry.request.lane)
            .or_default()
            .push(entry.clone());
        Ok(())
    }
}

impl State {
    fn end(&self) -> Cursor {
        self.feed
            .iter()
            .map(|(lane, entries)| (*lane, entries.len() as u64))
            .collect()
    }

    fn after(&self, cursor: &Cursor, limit: usize) -> Vec<FeedEntry> {
        let tail = |(lane, entries): (&LaneId, &Vec<FeedEntry>)| {
            let seen = cursor.get(lane).copied().unwrap_or(0);
            let from = usize::try_from(seen).unwrap_or(usize::MAX);
            entries.iter().skip(from).take(limit).cloned().collect()
        };
        rules::in_turns(self.feed.iter().map(tail).collect(), limit)
    }
}

fn read((key, row): (&Bytes, &Row)) -> Result<(Key, Row), MetaError> {
    let key = Key::decode(key).map_err(|e| MetaError::Definite(e.to_string()))?;
    Ok((key, row.clone()))
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        let state = self.state.lock();
        keys.iter().map(|key| state.row(key)).collect()
    }

    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.state.lock().scan(&range, limit, reverse)
    }

    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        serial::update(&mut *self.state.lock(), &update)
    }

    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        Ok(self.state.lock().after(cursor, limit))
    }

    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        Ok(self.state.lock().end())
    }

    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        let (rows, end) = {
            let state = self.state.lock();
            let live = state.rows.iter().filter(|(_, row)| row.value.is_some());
            (live.map(read).collect::<Result<Vec<_>, _>>()?, state.end())
        };
        for rows in rows.chunks(page.max(1)) {
            sink(rows.to_vec());
        }
        Ok(end)
    }

    async fn identity(&self) -> Result<Identity, MetaError> {
        Ok(Identity {
            system: self.system.to_string(),
            timeline: 1,
        })
    }
}
