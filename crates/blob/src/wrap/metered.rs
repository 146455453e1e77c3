//! Counts and times every call.
//!
//! - `streamhouse_bucket_requests_total{op, outcome}`: outcome is `ok`, `lost`, `not_found`, `definite`, `maybe` or
//!   `cancelled` (nobody waited for the answer: the loser of a hedge, a timeout).
//! - `streamhouse_bucket_bytes_total{direction}`: `up` or `down`, of calls that succeeded.
//! - `streamhouse_bucket_request_seconds{op}`: a histogram, of calls that were answered.
use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{counter, histogram};
use sh_base::Env;

use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf};

/// A bucket that reports what it does through the `metrics` facade.
pub struct Metered {
    inner: Arc<dyn Bucket>,
    env: Env,
}

/// Counts a call when it is dropped, so that one that nobody waits for is counted too.
struct Call<'a> {
    op: &'static str,
    outcome: &'static str,
    started: Duration,
    env: &'a Env,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        counter!("streamhouse_bucket_requests_total", "op" => self.op, "outcome" => self.outcome)
            .increment(1);
        if self.outcome != "cancelled" {
            let took = self.env.mono().saturating_sub(self.started);
            histogram!("streamhouse_bucket_request_seconds", "op" => self.op).record(took);
        }
    }
}

impl Metered {
    pub fn new(inner: Arc<dyn Bucket>, env: &Env) -> Self {
        Metered {
            inner,
            env: env.clone(),
        }
    }

    async fn call<T>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        self.call_of(op, work, |_| "ok").await
    }

    async fn call_of<T>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T, BlobError>>,
        name: fn(&T) -> &'static str,
    ) -> Result<T, BlobError> {
        let mut call = Call {
            op,
            outcome: "cancelled",
            started: self.env.mono(),
            env: &self.env,
        };
        let result = work.await;
        call.outcome = match &result {
            Ok(value) => name(value),
            Err(BlobError::NotFound(_)) => "not_found",
            Err(BlobError::Definite(_)) => "definite",
            Err(BlobError::Maybe(_)) => "maybe",
        };
        result
    }
}

fn count_up(bytes: usize) {
    counter!("streamhouse_bucket_bytes_total", "direction" => "up").increment(bytes as u64);
}

fn count_down(bytes: usize) {
    counter!("streamhouse_bucket_bytes_total", "direction" => "down").increment(bytes as u64);
}

#[async_trait]
impl Bucket for Metered {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        let size = parts.iter().map(Bytes::len).sum();
        self.call("put", self.inner.put(key, parts)).await?;
        count_up(size);
        Ok(())
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let found = self.call("get", self.inner.get(key, ranges)).await?;
        count_down(found.iter().map(Bytes::len).sum());
        Ok(found)
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        let found = self.call("get_all", self.inner.get_all(key)).await?;
        count_down(found.len());
        Ok(found)
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        let name = |found: &Option<ObjectMeta>| if found.is_some() { "ok" } else { "not_found" };
        self.call_of("head", self.inner.head(key), name).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        self.call("list", self.inner.list(prefix, after, limit))
            .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        self.call("delete", self.inner.delete(keys)).await
    }

    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        let size = bytes.len();
        let name = |done: &PutIf| if *done == PutIf::Lost { "lost" } else { "ok" };
        let done = self
            .call_of("put_if", self.inner.put_if(key, bytes, expect), name)
            .await?;
        if done != PutIf::Lost {
            count_up(size);
        }
        Ok(done)
    }
}
