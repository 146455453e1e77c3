//! A store whose answers a test writes down beforehand, and whose content it can swap.
use std::{collections::VecDeque, sync::Mutex};

use async_trait::async_trait;
use sh_meta::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MemoryStore, MetaError, MetaStore, Row, Update,
};

/// What becomes of the next update.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Works,
    /// It happens; the answer is lost.
    HappensUnheard,
    /// It does not happen, and nobody knows.
    Vanishes,
    /// It does not happen, and the store says so.
    Fails,
    /// No answer ever comes; it has happened.
    HappensAndHangs,
}

#[derive(Default)]
pub struct FakeStore {
    pub inner: Mutex<MemoryStore>,
    pub fates: Mutex<VecDeque<Fate>>,
}

impl FakeStore {
    pub fn with(fates: impl IntoIterator<Item = Fate>) -> FakeStore {
        FakeStore {
            fates: Mutex::new(fates.into_iter().collect()),
            ..FakeStore::default()
        }
    }

    pub fn now(&self) -> MemoryStore {
        self.inner.lock().unwrap().clone()
    }

    pub fn swap(&self, other: MemoryStore) {
        *self.inner.lock().unwrap() = other;
    }
}

#[async_trait]
impl MetaStore for FakeStore {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.now().get(keys).await
    }
    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.now().scan(range, limit, reverse).await
    }
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        let fate = self
            .fates
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Fate::Works);
        let maybe = Err(MetaError::Maybe("the line went dead".into()));
        match fate {
            Fate::Works => self.now().update(update).await,
            Fate::HappensUnheard => self.now().update(update).await.and(maybe),
            Fate::Vanishes => maybe,
            Fate::Fails => Err(MetaError::Definite("no connection".into())),
            Fate::HappensAndHangs => {
                self.now().update(update).await?;
                std::future::pending().await
            }
        }
    }
    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        self.now().feed(cursor, limit).await
    }
    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.now().feed_end().await
    }
    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.now().snapshot(page, sink).await
    }
    async fn identity(&self) -> Result<Identity, MetaError> {
        self.now().identity().await
    }
}
