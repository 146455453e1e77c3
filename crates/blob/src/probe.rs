//! What a store can do, found out at the start.
use bytes::Bytes;
use sh_base::Env;

use crate::{BlobError, Bucket, Expect, ObjectKey, PutIf};

/// What not every store can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Bucket::put_if`] holds its promise. Without it, a bucket is claimed by hand only (`--rebuild`).
    pub conditional_put: bool,
}

/// Tries conditional puts on a scratch object and removes it. A store that refuses them, or stores in spite of its condition,
/// cannot; that is no error. An error means that the bucket cannot be written, read or reached at all.
pub async fn probe(bucket: &dyn Bucket, env: &Env) -> Result<Capabilities, BlobError> {
    let key = ObjectKey::Probe(env.uuid()).to_string();
    bucket
        .put(&key, vec![Bytes::from_static(b"may we write?")])
        .await?;
    bucket.delete(std::slice::from_ref(&key)).await?;
    let conditional_put = match try_conditions(bucket, &key).await {
        Ok(holds) => holds,
        Err(BlobError::Definite(why)) => {
            tracing::warn!(why, "the store refuses conditional puts");
            false
        }
        Err(e) => return Err(e),
    };
    bucket.delete(&[key]).await?;
    Ok(Capabilities { conditional_put })
}

/// Creates, fails to create, replaces, fails to replace by the old tag.
async fn try_conditions(bucket: &dyn Bucket, key: &str) -> Result<bool, BlobError> {
    let PutIf::Stored { tag } = bucket.put_if(key, "1".into(), Expect::Absent).await? else {
        return Ok(false);
    };
    if bucket.put_if(key, "2".into(), Expect::Absent).await? != PutIf::Lost {
        return Ok(false);
    }
    let replaced = bucket
        .put_if(key, "3".into(), Expect::Tag(tag.clone()))
        .await?;
    let again = bucket.put_if(key, "4".into(), Expect::Tag(tag)).await?;
    Ok(replaced != PutIf::Lost && again == PutIf::Lost && bucket.get_all(key).await? == "3")
}
