//! A metadata store that is away, or does what it is asked and does not say so.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sh_meta::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MemoryStore, MetaError, MetaStore, Row, Update,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trouble {
    #[default]
    None,
    Away,
    /// It takes so many updates more, and then is away.
    AwayAfter {
        updates: u64,
    },
    LosesAnswers {
        one_in: u64,
    },
}

/// The store of all agents of a world.
#[derive(Clone)]
pub struct Troubled {
    pub inner: MemoryStore,
    pub trouble: Arc<Mutex<Trouble>>,
    pub asked: Arc<AtomicU64>,
}

impl Troubled {
    fn is_there(&self) -> Result<(), MetaError> {
        match *self.trouble.lock() {
            Trouble::Away | Trouble::AwayAfter { updates: 0 } => {
                Err(MetaError::Definite("it is away".into()))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl MetaStore for Troubled {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.is_there()?;
        self.inner.get(keys).await
    }
    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.is_there()?;
        self.inner.scan(range, limit, reverse).await
    }
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        self.is_there()?;
        // Others get their turn, as they would with a store that is elsewhere.
        tokio::task::yield_now().await;
        if let Trouble::AwayAfter { updates } = &mut *self.trouble.lock() {
            *updates = updates.saturating_sub(1);
        }
        let entry = self.inner.update(update).await?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match *self.trouble.lock() {
            Trouble::LosesAnswers { one_in } if asked.is_multiple_of(one_in) => {
                Err(MetaError::Maybe("the answer was lost".into()))
            }
            _ => Ok(entry),
        }
    }
    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        self.is_there()?;
        self.inner.feed(cursor, limit).await
    }
    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.is_there()?;
        self.inner.feed_end().await
    }
    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.is_there()?;
        self.inner.snapshot(page, sink).await
    }
    async fn identity(&self) -> Result<Identity, MetaError> {
        self.inner.identity().await
    }
}
