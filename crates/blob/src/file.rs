//! A bucket that is a local folder: an object is a file, its key the file's path below the root.
//!
//! *Invariant:* a file under its key is whole and on the platter. It is written under another name on the same file system,
//! synced, renamed, and the folders that lead to it are synced, before anyone is told. What a crash leaves lies in `.tmp`.
//!
//! Two keys of which one is a folder of the other (`a` and `a/b`) cannot both exist here; ours never are.
mod disk;
mod temp;
mod walk;

use std::{ops::Range, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use sh_base::Env;

use self::disk::{Disk, Room};
use crate::{BlobError, Bucket, Expect, ObjectMeta, PutIf, keys};

/// A local folder. Processes may share it; conditional puts are serialised by a file lock.
#[derive(Clone)]
pub struct FileBucket {
    disk: Arc<Disk>,
}

impl FileBucket {
    /// Opens the folder, makes it if need be, and removes what dead writers left in it.
    pub fn open(root: impl Into<PathBuf>, env: &Env) -> std::io::Result<Self> {
        Ok(FileBucket {
            disk: Arc::new(Disk::open(root.into(), env)?),
        })
    }

    /// File calls block, so they run on the threads that may.
    async fn run<T, F>(&self, work: F) -> Result<T, BlobError>
    where
        T: Send + 'static,
        F: FnOnce(&Disk) -> Result<T, BlobError> + Send + 'static,
    {
        let disk = self.disk.clone();
        match tokio::task::spawn_blocking(move || work(&disk)).await {
            Ok(result) => result,
            Err(_) => Err(BlobError::Maybe("the file call was interrupted".into())),
        }
    }
}

/// Memory for a range.
///
/// SUBTLE: it comes from the thread that asks. The allocator keeps what a thread allocated and another one freed until the first
/// allocates again: with the many threads of blocking calls that was many times the cache.
fn room(key: &str, range: &Range<u64>) -> Result<Room, BlobError> {
    let beyond = || BlobError::beyond(key, range);
    let wanted = range.end.checked_sub(range.start).ok_or_else(beyond)?;
    let wanted = usize::try_from(wanted).map_err(|_| beyond())?;
    let mut bytes = Vec::new();
    // A range that is no object's may be too large for any memory.
    bytes.try_reserve_exact(wanted).map_err(|_| beyond())?;
    Ok((range.clone(), bytes))
}

#[async_trait]
impl Bucket for FileBucket {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        keys::check(key)?;
        let key = key.to_string();
        self.run(move |disk| disk.put(&key, &parts)).await
    }

    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        keys::check(key)?;
        let key = key.to_string();
        let rooms = ranges.iter().map(|range| room(&key, range));
        let rooms = rooms.collect::<Result<Vec<Room>, BlobError>>()?;
        self.run(move |disk| disk.open_object(&key)?.read(rooms))
            .await
    }

    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        keys::check(key)?;
        let key = key.to_string();
        let object = self.run(move |disk| disk.open_object(&key)).await?;
        let whole = room(object.key(), &(0..object.size()))?;
        let mut read = self.run(move |_| object.read(vec![whole])).await?;
        Ok(read.pop().unwrap_or_default())
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        keys::check(key)?;
        let key = key.to_string();
        self.run(move |disk| disk.head(&key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        let (prefix, after) = (prefix.to_string(), after.unwrap_or("").to_string());
        self.run(move |disk| disk.list(&prefix, &after, limit))
            .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        keys.iter().try_for_each(|key| keys::check(key))?;
        let keys = keys.to_vec();
        self.run(move |disk| disk.delete(&keys)).await
    }

    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        keys::check(key)?;
        let key = key.to_string();
        self.run(move |disk| disk.put_if(&key, bytes, &expect))
            .await
    }
}
