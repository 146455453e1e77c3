//! A bucket whose calls go wrong by a script.
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use sh_blob::{BlobError, Bucket, Expect, ObjectMeta, PutIf};
use tokio::time::sleep;

/// What happens to one put, get_all or put_if.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// Done, but nobody is told.
    DoneUnheard,
    /// Not done, and nobody is told.
    LostUnheard,
    Refused,
    /// Done after this time.
    Slow(Duration),
    SlowlyUnheard(Duration),
    SlowlyRefused(Duration),
    Never,
}

/// Follows the script, then works.
pub struct Troubled {
    pub inner: Arc<dyn Bucket>,
    script: Mutex<VecDeque<Fault>>,
    pub calls: AtomicUsize,
}

impl Troubled {
    pub fn new(inner: Arc<dyn Bucket>, script: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        let script = Mutex::new(script.into_iter().collect());
        Arc::new(Troubled {
            inner,
            script,
            calls: AtomicUsize::new(0),
        })
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn meddle<T>(
        &self,
        work: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = self
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Fault::None);
        let unheard = || Err(BlobError::Maybe("the line went dead".into()));
        let refused = || Err(BlobError::Definite("no".into()));
        match fault {
            Fault::None => work.await,
            Fault::DoneUnheard => work.await.and_then(|_| unheard()),
            Fault::LostUnheard => unheard(),
            Fault::Refused => refused(),
            Fault::Slow(time) => {
                sleep(time).await;
                work.await
            }
            Fault::SlowlyUnheard(time) => {
                sleep(time).await;
                unheard()
            }
            Fault::SlowlyRefused(time) => {
                sleep(time).await;
                refused()
            }
            Fault::Never => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Bucket for Troubled {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.meddle(self.inner.put(key, parts)).await
    }
    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        self.inner.get(key, ranges).await
    }
    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.inner.get_all(key).await
    }
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        self.inner.head(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        self.inner.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        self.inner.delete(keys).await
    }
    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        self.meddle(self.inner.put_if(key, bytes, expect)).await
    }
}
