//! Calls without a clear answer are made again, within a time, and within a budget that all calls share.
//!
//! The budget is what keeps a store in trouble from being buried: successes fill it, repeats empty it, and when it is empty each
//! call is made once. A conditional put is never repeated blindly: the first may have happened, and its own success would then
//! look like a lost race. It reads back what is there and decides.
mod budget;

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use sh_base::Env;
use tokio::time::{sleep, timeout};

use self::budget::Budget;
use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf};

const ATTEMPTS_MAX: u32 = 6;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The slowest transfer that is not yet a stalled one.
const BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// How long to wait. Both grow by a second for each MiB that is known to move.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// For one request.
    pub request_timeout: Duration,
    /// For a call with all its repeats; past it the outcome is `Maybe`.
    pub call_timeout: Duration,
}

/// A bucket that repeats what may be repeated.
pub struct Retrying {
    inner: Arc<dyn Bucket>,
    limits: RetryLimits,
    budget: Budget,
    env: Env,
}

/// What a read after an unclear conditional put found.
enum Found {
    Ours { tag: String },
    ConditionHolds,
    Other,
}

impl Retrying {
    pub fn new(inner: Arc<dyn Bucket>, limits: RetryLimits, env: &Env) -> Self {
        Retrying {
            inner,
            limits,
            budget: Budget::default(),
            env: env.clone(),
        }
    }

    /// One request within its time.
    async fn once<T>(
        &self,
        bytes: u64,
        call: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let result = match timeout(self.limits.request_timeout + moving(bytes), call).await {
            Ok(result) => result,
            Err(_) => Err(BlobError::Maybe("no answer in time".into())),
        };
        if !matches!(result, Err(BlobError::Maybe(_))) {
            self.budget.earn();
        }
        result
    }

    /// A whole call within its time.
    async fn within<T>(
        &self,
        bytes: u64,
        call: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let limit = self.limits.call_timeout + moving(bytes);
        let late = || BlobError::Maybe(format!("no clear answer within {} s", limit.as_secs()));
        timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
    }

    /// Repeats an idempotent call.
    async fn retry<T, F>(
        &self,
        op: &'static str,
        bytes: u64,
        call: impl Fn() -> F,
    ) -> Result<T, BlobError>
    where
        F: Future<Output = Result<T, BlobError>>,
    {
        let attempts = async {
            let mut attempt = 1;
            loop {
                match self.once(bytes, call()).await {
                    Err(BlobError::Maybe(why)) => self.pause(op, attempt, why).await?,
                    result => return result,
                }
                attempt += 1;
            }
        };
        self.within(bytes, attempts).await
    }

    /// Waits before the next attempt, or says that there is none.
    async fn pause(&self, op: &'static str, attempt: u32, why: String) -> Result<(), BlobError> {
        if attempt >= ATTEMPTS_MAX || !self.budget.spend() {
            return Err(BlobError::Maybe(format!("{why} (tried {attempt} times)")));
        }
        tracing::debug!(
            op,
            attempt,
            why,
            "the bucket gave no clear answer; trying again"
        );
        counter!("streamhouse_bucket_retries_total", "op" => op).increment(1);
        sleep(self.backoff(attempt)).await;
        Ok(())
    }

    /// Doubles from attempt to attempt, half of it by chance so that agents do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let full = BACKOFF_FIRST
            .saturating_mul(1 << attempt.min(16))
            .min(BACKOFF_MAX)
            / 2;
        let chance = self.env.next_u64() % (full.as_micros() as u64).max(1);
        full + Duration::from_micros(chance)
    }

    async fn put_until_clear(
        &self,
        key: &str,
        bytes: Bytes,
        expect: Expect,
    ) -> Result<PutIf, BlobError> {
        let size = bytes.len() as u64;
        let first = self
            .once(size, self.inner.put_if(key, bytes.clone(), expect.clone()))
            .await;
        let Err(BlobError::Maybe(mut why)) = first else {
            return first;
        };
        for attempt in 1.. {
            self.pause("put_if", attempt, why).await?;
            why = match self.read_back(key, &bytes, &expect).await? {
                Found::Ours { tag } => return Ok(PutIf::Stored { tag }),
                // Ours may have been stored and replaced again: not ours to say that it was lost.
                Found::Other => {
                    return Err(BlobError::Maybe(format!(
                        "{key} has been written by another since"
                    )));
                }
                Found::ConditionHolds => {
                    // Not there yet. Should the first still arrive, one of the two wins, and the other finds the condition broken.
                    match self
                        .once(size, self.inner.put_if(key, bytes.clone(), expect.clone()))
                        .await
                    {
                        Ok(PutIf::Lost) => "lost to another, or to our own first request".into(),
                        Err(BlobError::Maybe(why) | BlobError::Definite(why)) => why,
                        settled => return settled,
                    }
                }
            };
        }
        Err(BlobError::Maybe(key.into()))
    }

    /// The tag is read before the content: should the content change in between, the tag is an old one, which replaces nothing.
    async fn read_back(
        &self,
        key: &str,
        bytes: &Bytes,
        expect: &Expect,
    ) -> Result<Found, BlobError> {
        let Some(head) = self.head(key).await? else {
            return Ok(if *expect == Expect::Absent {
                Found::ConditionHolds
            } else {
                Found::Other
            });
        };
        match self.get_all(key).await {
            Ok(content) if content == *bytes => Ok(Found::Ours { tag: head.tag }),
            Ok(_) if *expect == Expect::Tag(head.tag) => Ok(Found::ConditionHolds),
            Ok(_) | Err(BlobError::NotFound(_)) => Ok(Found::Other),
            Err(e) => Err(BlobError::Maybe(e.to_string())),
        }
    }
}

fn moving(bytes: u64) -> Duration {
    Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

#[async_trait]
impl Bucket for Retrying {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        let size = parts.iter().map(|part| part.len() as u64).sum();
        self.retry("put", size, || self.inner.put(key, parts.clone()))
            .await
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let size = ranges
            .iter()
            .map(|range| range.end.saturating_sub(range.start))
            .fold(0, u64::saturating_add);
        self.retry("get", size, || self.inner.get(key, ranges))
            .await
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.retry("get_all", WHOLE_BYTES, || self.inner.get_all(key))
            .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        self.retry("head", 0, || self.inner.head(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        self.retry("list", 0, || self.inner.list(prefix, after, limit))
            .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        self.retry("delete", 0, || self.inner.delete(keys)).await
    }

    /// As the trait says. After an unclear answer a content equal to ours counts as ours, so `bytes` should name their writer.
    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        let size = bytes.len() as u64;
        self.within(size, self.put_until_clear(key, bytes, expect))
            .await
    }
}

/// What a whole object is taken to weigh: its size is not known before it comes.
const WHOLE_BYTES: u64 = 16 * 1024 * 1024;
