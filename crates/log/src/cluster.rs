//! Whose bucket this is, and which life of the metadata store (DESIGN 9): `cluster.json` and the row of [`Key::Cluster`].
//!
//! *Invariant:* a bucket and a metadata store serve one cluster together. A wrong `--metadata` or another folder never becomes
//! a second cluster: every combination that is not this cluster's own is refused, by [`judge`].
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::Env;
use sh_blob::{BlobError, Bucket, Expect, PutIf, keys::ObjectKey};
use sh_meta::{Decision, Identity, Key, Lane, MetaError, MetaStore, Plan, View, Write};

use crate::mutant;

/// What both sides say of the cluster: the object `cluster.json`, and (without the store's identity) the metadata row.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ClusterFile {
    /// Shown to clients as the cluster id: 22 characters, as Kafka's.
    pub cluster_id: String,
    /// Random name of one life of the metadata store, and how many there were.
    pub generation: uuid::Uuid,
    pub generation_number: u64,
    /// Which metadata store (Postgres: its system identifier). For people, and for the interrupted first start.
    pub store: String,
}

/// The row of [`Key::Cluster`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ClusterRow {
    pub cluster_id: String,
    pub generation: uuid::Uuid,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "this bucket belongs to cluster {bucket}, and the metadata store to cluster {store}: check --bucket and --metadata"
    )]
    OtherCluster { bucket: String, store: String },
    #[error(
        "this bucket belongs to cluster {0}, but the metadata store is empty: check --metadata, or use another bucket or prefix"
    )]
    UsedBucket(String),
    #[error(
        "the metadata store belongs to cluster {0}, but the bucket is not its bucket: check --bucket"
    )]
    OtherBucket(String),
    #[error(
        "the bucket names another generation of the metadata store ({bucket}, here {store}): this store is an old copy"
    )]
    OldStore {
        bucket: uuid::Uuid,
        store: uuid::Uuid,
    },
    #[error("cluster.json cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl ClusterError {
    /// Is it worth waiting for the bucket or the store to come back?
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            ClusterError::Blob(_)
                | ClusterError::Meta(MetaError::Definite(_) | MetaError::Maybe(_))
        )
    }
}

/// What to do at a start.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Nobody has used either: found a cluster.
    Found,
    /// A first start stopped between the bucket and the row: go on.
    WriteRow,
    Ours,
}

/// **Whose bucket it is**, as a table of what the bucket and the store say (model: `aw_store_back`).
fn judge(
    file: Option<&ClusterFile>,
    row: Option<&ClusterRow>,
    store: &Identity,
) -> Result<Judgement, ClusterError> {
    match (file, row) {
        (None, None) => Ok(Judgement::Found),
        (Some(file), None) if file.store == store.system && file.generation_number == 1 => {
            Ok(Judgement::WriteRow)
        }
        (Some(file), None) => Err(ClusterError::UsedBucket(file.cluster_id.clone())),
        (None, Some(row)) => Err(ClusterError::OtherBucket(row.cluster_id.clone())),
        (Some(file), Some(row)) if file.cluster_id != row.cluster_id => {
            Err(ClusterError::OtherCluster {
                bucket: file.cluster_id.clone(),
                store: row.cluster_id.clone(),
            })
        }
        (Some(file), Some(row))
            if file.generation != row.generation && !mutant::is("no_generation") =>
        {
            Err(ClusterError::OldStore {
                bucket: file.generation,
                store: row.generation,
            })
        }
        (Some(_), Some(_)) => Ok(Judgement::Ours),
    }
}

/// Finds out whose bucket and store these are, founding a cluster where there is none. `conditional`: the bucket can write
/// under a condition (it was probed).
pub async fn open(
    bucket: &Arc<dyn Bucket>,
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    env: &Env,
    conditional: bool,
) -> Result<ClusterFile, ClusterError> {
    let identity = store.identity().await?;
    loop {
        let (file, row) = (read_file(bucket).await?, read_row(store).await?);
        match (judge(file.as_ref(), row.as_ref(), &identity)?, file) {
            (Judgement::Found, _) => {
                let file = ClusterFile {
                    cluster_id: cluster_id(env),
                    generation: env.uuid(),
                    generation_number: 1,
                    store: identity.system.clone(),
                };
                write_file(bucket, &file, conditional).await?;
            }
            (Judgement::WriteRow, Some(file)) => write_row(lane, &file).await?,
            (Judgement::Ours, Some(file)) => return Ok(file),
            (Judgement::WriteRow | Judgement::Ours, None) => {}
        }
    }
}

/// Kafka's form of a cluster id: 16 random bytes in URL-safe base64 without padding.
fn cluster_id(env: &Env) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = env.uuid().as_u128();
    let digit = |i: u32| match i {
        21 => (bits & 3) << 4,
        _ => bits >> (122 - 6 * i) & 63,
    };
    (0..22)
        .map(|i| ALPHABET[digit(i) as usize] as char)
        .collect()
}

pub async fn read_file(bucket: &Arc<dyn Bucket>) -> Result<Option<ClusterFile>, ClusterError> {
    match bucket.get_all(&ObjectKey::Cluster.to_string()).await {
        Ok(bytes) => {
            let file = serde_json::from_slice(&bytes);
            Ok(Some(
                file.map_err(|e| ClusterError::Unreadable(e.to_string()))?,
            ))
        }
        Err(BlobError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn write_file(
    bucket: &Arc<dyn Bucket>,
    file: &ClusterFile,
    conditional: bool,
) -> Result<(), ClusterError> {
    let key = ObjectKey::Cluster.to_string();
    let bytes: Bytes = serde_json::to_vec_pretty(file)
        .map_err(|e| ClusterError::Unreadable(e.to_string()))?
        .into();
    if conditional {
        // Losing is as good as winning: the next look judges what is there.
        let (PutIf::Stored { .. } | PutIf::Lost) =
            bucket.put_if(&key, bytes, Expect::Absent).await?;
    } else {
        bucket.put(&key, vec![bytes]).await?;
    }
    Ok(())
}

async fn read_row(store: &Arc<dyn MetaStore>) -> Result<Option<ClusterRow>, ClusterError> {
    let row = store
        .get(&[Key::Cluster])
        .await?
        .into_iter()
        .next()
        .unwrap_or_default();
    let parse = |value: Bytes| {
        serde_json::from_slice(&value).map_err(|e| ClusterError::Unreadable(e.to_string()))
    };
    row.value.map(parse).transpose()
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the row if there is none; the next look judges it.
async fn write_row(lane: &Lane, file: &ClusterFile) -> Result<(), ClusterError> {
    let row = ClusterRow {
        cluster_id: file.cluster_id.clone(),
        generation: file.generation,
    };
    let value: Bytes = serde_json::to_vec(&row)
        .map_err(|e| ClusterError::Unreadable(e.to_string()))?
        .into();
    let plan = Plan {
        locks: vec![Key::Cluster],
        ..Plan::default()
    };
    let apply = move |view: &View| match view.value(&Key::Cluster) {
        Some(_) => Decision::default(),
        None => {
            let write = Write {
                key: Key::Cluster,
                value: Some(value.clone()),
                version: None,
            };
            Decision {
                writes: vec![write],
                reply: Bytes::new(),
            }
        }
    };
    lane.update(plan, PATIENCE, apply).await?;
    Ok(())
}

/// Does the bucket still name this generation? A living agent asks every ten seconds, and before any delete.
pub async fn is_still_ours(
    bucket: &Arc<dyn Bucket>,
    ours: &ClusterFile,
) -> Result<bool, ClusterError> {
    let file = read_file(bucket).await?;
    Ok(file.is_some_and(|f| f.cluster_id == ours.cluster_id && f.generation == ours.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(cluster: &str, generation: u128, number: u64) -> ClusterFile {
        ClusterFile {
            cluster_id: cluster.into(),
            generation: uuid::Uuid::from_u128(generation),
            generation_number: number,
            store: "this store".into(),
        }
    }

    fn row(cluster: &str, generation: u128) -> ClusterRow {
        ClusterRow {
            cluster_id: cluster.into(),
            generation: uuid::Uuid::from_u128(generation),
        }
    }

    #[test]
    fn a_cluster_is_founded_only_where_neither_side_was_used() {
        let store = |system: &str| Identity {
            system: system.into(),
            timeline: 1,
        };
        let this = store("this store");
        assert_eq!(judge(None, None, &this).unwrap(), Judgement::Found);
        assert_eq!(
            judge(Some(&file("a", 1, 1)), None, &this).unwrap(),
            Judgement::WriteRow
        );
        assert_eq!(
            judge(Some(&file("a", 1, 1)), Some(&row("a", 1)), &this).unwrap(),
            Judgement::Ours
        );
        let refused = [
            judge(Some(&file("a", 1, 1)), None, &store("another")),
            judge(Some(&file("a", 1, 2)), None, &this),
            judge(None, Some(&row("a", 1)), &this),
            judge(Some(&file("a", 1, 1)), Some(&row("b", 1)), &this),
            judge(Some(&file("a", 2, 2)), Some(&row("a", 1)), &this),
        ];
        assert!(refused.iter().all(Result::is_err));
    }

    #[test]
    fn a_store_that_went_back_is_refused_by_its_generation_alone() {
        let this = Identity {
            system: "this store".into(),
            timeline: 1,
        };
        let look = || judge(Some(&file("a", 2, 2)), Some(&row("a", 1)), &this);
        assert!(matches!(look(), Err(ClusterError::OldStore { .. })));
        mutant::with("no_generation", || {
            assert!(look().is_ok(), "no other rule notices")
        });
    }
}
