//! SQLite: the store of one agent, in one file. WAL mode, `synchronous=FULL`; one writer thread that groups queued updates
//! under one fsync, and a few readers beside it.
mod file;
mod readers;
mod table;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use sh_base::Env;
use tokio::sync::mpsc;

use crate::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MetaError, MetaStore, OpenError, Row, Update,
};
use readers::Readers;
use writer::Writer;

/// A store in a file that this process alone has open.
pub struct SqliteStore {
    // The order of the fields is the order of their ends: the lock goes last.
    readers: Readers,
    writer: Writer,
    system: String,
    _lock: file::Lock,
}

impl SqliteStore {
    /// Opens the file, or makes it. `OpenError::InUse` if another process has it.
    pub fn open(path: &Path, env: &Env) -> Result<SqliteStore, OpenError> {
        let lock = file::Lock::take(path)?;
        let mut connection = file::connect(path)?;
        file::widen(path, &connection)?;
        let system = file::prepare(path, &mut connection, env)?;
        let readers = Readers::start(path)?;
        let writer = Writer::start(connection)?;
        Ok(SqliteStore {
            readers,
            writer,
            system,
            _lock: lock,
        })
    }
}

#[async_trait]
impl MetaStore for SqliteStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        let keys = keys.to_vec();
        self.readers
            .run(move |tx| keys.iter().map(|key| table::row(tx, key)).collect())
            .await
    }

    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.readers
            .run(move |tx| table::scan(tx, &range, limit, reverse))
            .await
    }

    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        self.writer.update(update).await
    }

    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        let cursor = cursor.clone();
        self.readers
            .run(move |tx| table::feed(tx, &cursor, limit))
            .await
    }

    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.readers.run(table::feed_end).await
    }

    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        let (pages, mut arriving) = mpsc::channel(2);
        let hand_over = move |rows| pages.blocking_send(rows).is_ok();
        let reading = self
            .readers
            .run(move |tx| table::snapshot(tx, page.max(1), hand_over));
        let delivering = async {
            while let Some(rows) = arriving.recv().await {
                sink(rows);
            }
        };
        tokio::join!(reading, delivering).0
    }

    async fn identity(&self) -> Result<Identity, MetaError> {
        Ok(Identity {
            system: self.system.clone(),
            timeline: 1,
        })
    }
}
