//! A bucket that can be away.
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use sh_base::Env;
use sh_blob::{BlobError, Bucket, Expect, MemoryBucket, ObjectMeta, PutIf};
use tokio::sync::watch;

/// A bucket in memory; while it is closed, puts wait.
pub struct Gate {
    bucket: MemoryBucket,
    open: watch::Sender<bool>,
}

impl Gate {
    pub fn new(env: &Env) -> Gate {
        Gate {
            bucket: MemoryBucket::new(env),
            open: watch::channel(true).0,
        }
    }

    pub fn close(&self) {
        self.open.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

#[async_trait]
impl Bucket for Gate {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await.map(|_| ());
        self.bucket.put(key, parts).await
    }
    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        self.bucket.get(key, ranges).await
    }
    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.bucket.get_all(key).await
    }
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        self.bucket.head(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        self.bucket.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        self.bucket.delete(keys).await
    }
    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        self.bucket.put_if(key, bytes, expect).await
    }
}
