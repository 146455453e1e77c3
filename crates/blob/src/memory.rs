//! A bucket in memory, for tests and simulations: every clone sees the same objects.
use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sh_base::Env;

use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf, keys};

/// Objects in a map under a lock. What it holds is gone when its last clone is dropped.
#[derive(Clone)]
pub struct MemoryBucket {
    state: Arc<Mutex<State>>,
    env: Env,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// Tags are numbers that only grow, so that no tag ever names two contents.
    last_tag: u64,
}

struct Object {
    bytes: Bytes,
    modified_ms: i64,
    tag: u64,
}

impl MemoryBucket {
    /// An empty bucket that dates its objects by the environment's wall clock.
    pub fn new(env: &Env) -> Self {
        MemoryBucket {
            state: Arc::default(),
            env: env.clone(),
        }
    }

    fn object(&self, key: &str) -> Result<Bytes, BlobError> {
        match self.state.lock().objects.get(key) {
            Some(object) => Ok(object.bytes.clone()),
            None => Err(BlobError::NotFound(key.into())),
        }
    }
}

impl State {
    fn store(&mut self, key: &str, bytes: Bytes, modified_ms: i64) -> String {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.objects.insert(
            key.into(),
            Object {
                bytes,
                modified_ms,
                tag,
            },
        );
        tag.to_string()
    }

    fn holds(&self, key: &str, expect: &Expect) -> bool {
        match (self.objects.get(key), expect) {
            (None, Expect::Absent) => true,
            (Some(object), Expect::Tag(tag)) => object.tag.to_string() == *tag,
            _ => false,
        }
    }
}

impl Object {
    fn meta(&self, key: &str) -> ObjectMeta {
        ObjectMeta {
            key: key.into(),
            size: self.bytes.len() as u64,
            modified_ms: self.modified_ms,
            tag: self.tag.to_string(),
        }
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        keys::check(key)?;
        let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in &parts {
            bytes.extend_from_slice(part);
        }
        self.state
            .lock()
            .store(key, bytes.freeze(), self.env.wall_ms());
        Ok(())
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let bytes = self.object(key)?;
        ranges
            .iter()
            .map(|range| slice(key, &bytes, range))
            .collect()
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        self.object(key)
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        Ok(self
            .state
            .lock()
            .objects
            .get(key)
            .map(|object| object.meta(key)))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        let after = after.unwrap_or("");
        let state = self.state.lock();
        let objects = state.objects.range(after.max(prefix).to_string()..);
        let matching = objects.take_while(|(key, _)| key.starts_with(prefix));
        let past = matching.filter(|(key, _)| key.as_str() > after);
        Ok(past
            .take(limit)
            .map(|(key, object)| object.meta(key))
            .collect())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        let mut state = self.state.lock();
        for key in keys {
            state.objects.remove(key);
        }
        Ok(())
    }

    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        keys::check(key)?;
        let mut state = self.state.lock();
        if !state.holds(key, &expect) {
            return Ok(PutIf::Lost);
        }
        let tag = state.store(key, bytes, self.env.wall_ms());
        Ok(PutIf::Stored { tag })
    }
}

fn slice(key: &str, bytes: &Bytes, range: &Range<u64>) -> Result<Bytes, BlobError> {
    let size = bytes.len() as u64;
    if range.start > range.end || range.end > size {
        return Err(BlobError::beyond(key, range));
    }
    Ok(bytes.slice(range.start as usize..range.end as usize))
}
