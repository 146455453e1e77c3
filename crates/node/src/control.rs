//! Control changes: what a pure function decided, written through the control lane and heard by the caches.
use std::time::Duration;

use bytes::Bytes;
use sh_base::{ErrorCode, Failure};
use sh_meta::{Decision, MetaError, Plan, View};

use crate::Node;

/// How long one control change may wait for the metadata store. Below the request timeouts of ordinary clients (30 s).
const PATIENCE: Duration = Duration::from_secs(20);

impl Node {
    /// Runs one control change; its reply bytes come back.
    pub(crate) async fn change(
        &self,
        plan: Plan,
        apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
    ) -> Result<Bytes, Failure> {
        let entry = self
            .control()
            .update(plan, PATIENCE, apply)
            .await
            .map_err(storage)?;
        self.hear(&entry);
        Ok(entry.reply)
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

/// A row that this version cannot read.
pub(crate) fn damaged(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::new(
        ErrorCode::Internal,
        format!("the {what} is damaged, or was written by a newer version: {e}"),
    )
}
