use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use sh_blob::{BlobError, Bucket, Capabilities, Expect, MemoryBucket, ObjectMeta, PutIf, probe};

use crate::world;

/// A store that does not know conditions: it refuses them, or, worse, ignores them.
struct Unconditional {
    inner: MemoryBucket,
    refuses: bool,
}

#[async_trait]
impl Bucket for Unconditional {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.inner.put(key, parts).await
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
    async fn put_if(&self, key: &str, bytes: Bytes, _: Expect) -> Result<PutIf, BlobError> {
        if self.refuses {
            return Err(BlobError::Definite("HTTP 501 NotImplemented".into()));
        }
        self.inner.put(key, vec![bytes]).await?;
        Ok(PutIf::Stored {
            tag: "always".into(),
        })
    }
}

#[tokio::test]
async fn a_store_that_refuses_or_ignores_conditions_is_found_out() {
    let env = world::env();
    for refuses in [true, false] {
        let inner = MemoryBucket::new(&env);
        let bucket = Unconditional {
            inner: inner.clone(),
            refuses,
        };
        assert_eq!(
            probe(&bucket, &env).await.unwrap(),
            Capabilities {
                conditional_put: false
            }
        );
        assert_eq!(
            inner.list("", None, 10).await.unwrap(),
            vec![],
            "the scratch object is removed"
        );
    }
    let bucket: Arc<dyn Bucket> = Arc::new(MemoryBucket::new(&env));
    assert_eq!(
        probe(&*bucket, &env).await.unwrap(),
        Capabilities {
            conditional_put: true
        }
    );
}
