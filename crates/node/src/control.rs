//! Control changes: what a pure function decided, written through the control lane and heard by the caches.
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sh_base::{ErrorCode, Failure};
use sh_meta::{Decision, Key, Lane, MetaError, Plan, Row, View, Write};

use crate::Node;

/// How long one control change may wait for the metadata store. Below the request timeouts of ordinary clients (30 s).
const PATIENCE: Duration = Duration::from_secs(20);

/// **Whoever was told of a change sees it at any agent**: an answer waits until the others have heard, but no longer than this.
const HEARD_MAX: Duration = Duration::from_millis(200);

impl Node {
    /// Runs one control change: locks `locks`, decides, writes. What `apply` replied comes back.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        locks: Vec<Key>,
        apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let plan = Plan {
            locks,
            ..Plan::default()
        };
        self.change_on(self.control(), plan, apply).await
    }

    /// The same on a lane of its own, and with more to read.
    pub(crate) async fn change_on<T: DeserializeOwned>(
        &self,
        lane: &Lane,
        plan: Plan,
        apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let entry = lane.update(plan, PATIENCE, apply).await.map_err(storage)?;
        self.hear(&entry);
        if !entry.changes.is_empty() {
            self.reader().heard_by_peers(HEARD_MAX).await;
        }
        serde_json::from_slice(&entry.reply).map_err(|e| damaged("reply of an update", e))
    }

    /// Like [`Node::change`], for changes that write or are refused: a refusal writes nothing.
    pub(crate) async fn try_change(
        &self,
        locks: Vec<Key>,
        apply: impl Fn(&View) -> Result<Vec<Write>, Failure> + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let decide = move |view: &View| match apply(view) {
            Ok(writes) => decision(writes, &None::<Refusal>),
            Err(e) => decision(Vec::new(), &Some(Refusal::from(e))),
        };
        let refusal: Option<Refusal> = self.change(locks, decide).await?;
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// One row, as the store has it.
    pub(crate) async fn row(&self, key: Key) -> Result<Row, Failure> {
        let rows = self.store().get(&[key]).await.map_err(storage)?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }
}

/// A failure inside a reply. Replies of refusals are never stored: the code's place in the list will do for its name.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    code: usize,
    message: String,
}

impl From<Failure> for Refusal {
    fn from(e: Failure) -> Self {
        let code = ErrorCode::ALL
            .iter()
            .position(|c| *c == e.code)
            .unwrap_or_default();
        Refusal {
            code,
            message: e.message,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(r: Refusal) -> Self {
        let code = ErrorCode::ALL
            .get(r.code)
            .copied()
            .unwrap_or(ErrorCode::Internal);
        Failure::new(code, r.message)
    }
}

/// Some writes, and a reply for [`Node::change`].
pub(crate) fn decision(writes: Vec<Write>, reply: &impl Serialize) -> Decision {
    let reply = serde_json::to_vec(reply)
        .map(Bytes::from)
        .unwrap_or_default();
    Decision { writes, reply }
}

/// Writes the row of a locked key.
pub(crate) fn put(key: Key, value: impl Into<Bytes>) -> Write {
    Write {
        key,
        value: Some(value.into()),
        version: None,
    }
}

/// Deletes the row of a locked key.
pub(crate) fn delete(key: Key) -> Write {
    Write {
        key,
        value: None,
        version: None,
    }
}

/// The metadata store's trouble, as the caller sees it.
pub(crate) fn storage(e: MetaError) -> Failure {
    let code = match e {
        MetaError::Definite(_) | MetaError::Foreign(_) => ErrorCode::StorageUnavailable,
        MetaError::Maybe(_) => ErrorCode::RequestTimedOut,
    };
    Failure::new(code, e.to_string())
}

/// **A name that a client chose fits into a key of every store.** Kafka has no bound but that of its strings, 32,767 bytes.
pub(crate) fn fits_key(what: &str, name: &str, bytes_max: usize) -> Result<(), Failure> {
    let len = name.len();
    if len <= bytes_max {
        return Ok(());
    }
    let text = format!("the {what} has {len} bytes; the longest may have {bytes_max}");
    Err(Failure::new(ErrorCode::InvalidRequest, text))
}

/// A row that this version cannot read.
pub(crate) fn damaged(what: &str, e: impl std::fmt::Display) -> Failure {
    let text = format!("the {what} is damaged, or was written by a newer version: {e}");
    Failure::new(ErrorCode::Internal, text)
}
