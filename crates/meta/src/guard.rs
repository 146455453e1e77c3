//! **The store may go back in time** (a standby promoted without its last commits, an old file restored), or be another one.
//! An agent must not go on then: what it would write and delete rests on commits that are gone.
use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{Cursor, FeedEntry, Identity, Key, KeyRange, MetaError, MetaStore, Row, Update};

/// How often the store is looked at while nothing goes wrong.
const PERIOD: Duration = Duration::from_secs(10);

/// A store that is checked: after every error, before anything else is asked of it, and every 10 s. Once it was found to be
/// another, every call answers [`MetaError::Foreign`], for good.
pub struct Guard {
    store: Arc<dyn MetaStore>,
    identity: Identity,
    /// The newest entry of each lane that this process wrote.
    known: Mutex<Cursor>,
    /// Something failed since the last check: the connection may lead elsewhere now.
    doubt: AtomicBool,
    foreign: OnceLock<String>,
}

impl Guard {
    /// Remembers which store this is, and watches it for as long as the guard lives.
    pub async fn new(store: Arc<dyn MetaStore>) -> Result<Arc<Guard>, MetaError> {
        let guard = Arc::new(Guard {
            identity: store.identity().await?,
            store,
            known: Mutex::default(),
            doubt: AtomicBool::new(false),
            foreign: OnceLock::new(),
        });
        tokio::spawn(watch(Arc::downgrade(&guard)));
        Ok(guard)
    }

    /// Why this store may not be used any more, once it is known.
    pub fn verdict(&self) -> Option<&str> {
        self.foreign.get().map(String::as_str)
    }

    /// Looks now. An error that is not `Foreign` says that the store could not be looked at.
    pub async fn check(&self) -> Result<(), MetaError> {
        // Cleared first: what fails while we look is a new doubt.
        self.doubt.store(false, Ordering::SeqCst);
        let looked = self.look().await;
        if looked.is_err() {
            self.doubt.store(true, Ordering::SeqCst);
        }
        looked
    }

    /// **Same identity, and the feed still holds the newest entry we know**, by lane (with its nonce) and sequence.
    async fn look(&self) -> Result<(), MetaError> {
        let known = self.known.lock().clone();
        let now = self.heed(self.store.identity().await)?;
        if now != self.identity {
            return Err(self.condemn(format!("it was {:?} and is now {now:?}", self.identity)));
        }
        let end = self.heed(self.store.feed_end().await)?;
        let held = |lane| end.get(lane).copied().unwrap_or(0);
        match known.iter().find(|(lane, seq)| held(lane) < **seq) {
            None => Ok(()),
            Some((lane, seq)) => Err(self.condemn(format!(
                "lane {}.{} wrote entry {seq}, and the feed ends at {}: the store went back in time",
                lane.by,
                lane.lane,
                held(lane)
            ))),
        }
    }

    fn condemn(&self, why: String) -> MetaError {
        tracing::error!(%why, "the metadata store is not the one we know; nothing is served from it any more");
        MetaError::Foreign(self.foreign.get_or_init(|| why).clone())
    }

    /// Nothing is asked of a store that is foreign, or that has failed and was not looked at since.
    async fn admit(&self) -> Result<(), MetaError> {
        if let Some(why) = self.verdict() {
            return Err(MetaError::Foreign(why.into()));
        }
        if self.doubt.load(Ordering::SeqCst) {
            self.check().await.map_err(|e| match e {
                MetaError::Foreign(why) => MetaError::Foreign(why),
                e => MetaError::Definite(format!("it is looked at after an error first: {e}")),
            })?;
        }
        Ok(())
    }

    /// Learns from what a call brought.
    fn heed<T>(&self, result: Result<T, MetaError>) -> Result<T, MetaError> {
        match result {
            Err(MetaError::Foreign(why)) => Err(self.condemn(why)),
            Err(e) => {
                self.doubt.store(true, Ordering::SeqCst);
                Err(e)
            }
            ok => ok,
        }
    }

    fn remember(&self, entry: &FeedEntry) {
        if !entry.changes.is_empty() {
            let mut known = self.known.lock();
            let newest = known.entry(entry.request.lane).or_default();
            *newest = entry.request.seq.max(*newest);
        }
    }
}

async fn watch(guard: Weak<Guard>) {
    loop {
        sleep(PERIOD).await;
        let Some(guard) = guard.upgrade() else { return };
        match guard.check().await {
            Ok(()) => {}
            Err(MetaError::Foreign(_)) => return,
            Err(e) => tracing::warn!(%e, "the metadata store does not say which one it is"),
        }
    }
}

#[async_trait]
impl MetaStore for Guard {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.admit().await?;
        self.heed(self.store.get(keys).await)
    }

    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.admit().await?;
        self.heed(self.store.scan(range, limit, reverse).await)
    }

    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        self.admit().await?;
        let entry = self.heed(self.store.update(update).await)?;
        self.remember(&entry);
        Ok(entry)
    }

    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        self.admit().await?;
        self.heed(self.store.feed(cursor, limit).await)
    }

    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.admit().await?;
        self.heed(self.store.feed_end().await)
    }

    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.admit().await?;
        self.heed(self.store.snapshot(page, sink).await)
    }

    async fn identity(&self) -> Result<Identity, MetaError> {
        self.admit().await?;
        self.heed(self.store.identity().await)
    }
}
