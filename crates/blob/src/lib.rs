//! The bucket seam: about six methods, and the only room that names `object_store`.
//!
//! *Invariant:* a data object's key is never used for other content, so a put may be repeated, hedged or arrive late
//! without harm. Only `cluster.json` is written conditionally.
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod file;
pub mod keys;
mod memory;
mod open;
mod probe;
mod s3;
mod wrap;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use file::FileBucket;
pub use keys::ObjectKey;
pub use memory::MemoryBucket;
pub use open::{BlobSettings, OpenError, Secret, open};
pub use probe::{Capabilities, probe};
pub use wrap::{Hedged, Metered, RetryLimits, Retrying};

/// What can go wrong at the bucket. Every error says whether the call may have happened all the same.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It did not happen: refused, or never sent.
    #[error("the bucket did not do it: {0}")]
    Definite(String),
    /// It may have happened, now or later: no answer, or one that does not tell.
    #[error("the bucket may or may not have done it: {0}")]
    Maybe(String),
    /// There is no such object. (Reads only.)
    #[error("no object {0}")]
    NotFound(String),
}

impl BlobError {
    pub(crate) fn beyond(key: &str, range: &Range<u64>) -> BlobError {
        BlobError::Definite(format!(
            "bytes {}..{} are not all within {key}",
            range.start, range.end
        ))
    }
}

/// What a listing or a head tells of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    pub key: String,
    pub size: u64,
    /// By the bucket's own clock, milliseconds since the epoch. Grace periods count from here, not from our clocks.
    pub modified_ms: i64,
    /// Names this content of this key for [`Expect::Tag`].
    pub tag: String,
}

/// The condition of [`Bucket::put_if`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Tag(String),
}

/// Losing a race is a value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutIf {
    Stored {
        tag: String,
    },
    /// The condition did not hold; nothing was written.
    Lost,
}

/// A bucket. Keys are `/`-separated, without a leading slash. Implementations retry what is safe to retry within bounds.
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// Stores the concatenation of `parts` under `key`, whole or not at all, overwriting. After `Ok` it survives power loss
    /// of this machine (on `file://`: the object and its folder are fsynced). Idempotent.
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError>;

    /// The bytes of `ranges`, in their order; all lie within the object. One object, one consistent content.
    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError>;

    /// The whole object.
    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError>;

    /// Size, date and tag, or `None`.
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError>;

    /// Up to `limit` objects whose key starts with `prefix` and is greater than `after`, in key order.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError>;

    /// Deletes; absent objects are no error. Idempotent. After an error any subset may be gone.
    async fn delete(&self, keys: &[String]) -> Result<(), BlobError>;

    /// Stores `bytes` if the condition holds at that moment, atomically. For `cluster.json` only. Content should never repeat (name
    /// the writer and a number in it): on S3 a tag is a hash of the content, and content is how a writer that got no answer
    /// finds out that it has won. `Maybe`: read the object and decide.
    /// A store that cannot answers [`BlobError::Definite`]; it is probed at the start.
    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError>;
}
