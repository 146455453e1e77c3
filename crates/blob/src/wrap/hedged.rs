//! A call that is slower than nearly all before it is made a second time; the first answer wins.
//!
//! Safe because a put of an object may be repeated and a read changes nothing. Cheap because at most one call in twenty is
//! doubled: when the whole store is slow, a second request would only add to its load.
use std::{collections::VecDeque, future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use metrics::counter;
use parking_lot::Mutex;
use sh_base::Env;
use tokio::{pin, time::timeout};

use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf};

/// How many latencies of each kind of call are remembered.
const LATENCIES_KEPT: usize = 256;
/// Fewer than this do not tell what is slow.
const LATENCIES_MIN: usize = 64;
/// Calls that pay for one hedge: the cap of 5 %.
const CALLS_PER_HEDGE: u32 = 20;
/// Unused hedges that may be saved up for a bad moment.
const HEDGES_SAVED_MAX: u32 = 10;

/// A bucket that hedges puts and gets.
pub struct Hedged {
    inner: Arc<dyn Bucket>,
    puts: Pace,
    gets: Pace,
    env: Env,
}

/// How fast one kind of call has been lately, and how many hedges it has earned.
struct Pace {
    op: &'static str,
    state: Mutex<PaceState>,
}

#[derive(Default)]
struct PaceState {
    latencies: VecDeque<Duration>,
    calls_unspent: u32,
}

impl Pace {
    fn new(op: &'static str) -> Self {
        Pace {
            op,
            state: Mutex::default(),
        }
    }

    /// When a call that begins now is overdue.
    fn begin(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        state.calls_unspent = (state.calls_unspent + 1).min(CALLS_PER_HEDGE * HEDGES_SAVED_MAX);
        let mut latencies: Vec<Duration> = state.latencies.iter().copied().collect();
        if latencies.len() < LATENCIES_MIN {
            return None;
        }
        let p99 = latencies.len() * 99 / 100;
        Some(*latencies.select_nth_unstable(p99).1)
    }

    fn may_hedge(&self) -> bool {
        let mut state = self.state.lock();
        let enough = state.calls_unspent >= CALLS_PER_HEDGE;
        if enough {
            state.calls_unspent -= CALLS_PER_HEDGE;
        }
        enough
    }

    fn took(&self, latency: Duration) {
        let mut state = self.state.lock();
        if state.latencies.len() == LATENCIES_KEPT {
            state.latencies.pop_front();
        }
        state.latencies.push_back(latency);
    }
}

impl Hedged {
    pub fn new(inner: Arc<dyn Bucket>, env: &Env) -> Self {
        Hedged {
            inner,
            puts: Pace::new("put"),
            gets: Pace::new("get"),
            env: env.clone(),
        }
    }

    async fn hedge<T, F>(&self, pace: &Pace, call: impl Fn() -> F) -> Result<T, BlobError>
    where
        F: Future<Output = Result<T, BlobError>>,
    {
        let started = self.env.mono();
        let overdue = pace.begin();
        let result = self.first_answer(pace, overdue, call).await;
        if result.is_ok() {
            pace.took(self.env.mono().saturating_sub(started));
        }
        result
    }

    async fn first_answer<T, F>(
        &self,
        pace: &Pace,
        overdue: Option<Duration>,
        call: impl Fn() -> F,
    ) -> Result<T, BlobError>
    where
        F: Future<Output = Result<T, BlobError>>,
    {
        let first = call();
        pin!(first);
        let Some(overdue) = overdue else {
            return first.await;
        };
        if let Ok(answer) = timeout(overdue, &mut first).await {
            return answer;
        }
        if !pace.may_hedge() {
            return first.await;
        }
        counter!("streamhouse_bucket_hedges_total", "op" => pace.op).increment(1);
        let second = call();
        pin!(second);
        match select(first, second).await {
            Either::Left((Ok(value), _)) | Either::Right((Ok(value), _)) => Ok(value),
            Either::Left((Err(e), other)) => other.await.map_err(|f| both(e, f)),
            Either::Right((Err(e), other)) => other.await.map_err(|f| both(e, f)),
        }
    }
}

/// Two failures of one call: it did not happen only if neither may have.
fn both(one: BlobError, other: BlobError) -> BlobError {
    if matches!(one, BlobError::Maybe(_)) {
        one
    } else {
        other
    }
}

#[async_trait]
impl Bucket for Hedged {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.hedge(&self.puts, || self.inner.put(key, parts.clone()))
            .await
    }
    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        self.hedge(&self.gets, || self.inner.get(key, ranges)).await
    }
    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.hedge(&self.gets, || self.inner.get_all(key)).await
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
        self.inner.put_if(key, bytes, expect).await
    }
}
