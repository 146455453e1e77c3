//! What time does to transactions: those that take too long are aborted, and ids that nobody uses are forgotten.
use sh_base::{Failure, Org};
use sh_log::transaction::{TransactionRow, fence, is_expired, is_overdue};
use sh_meta::{Family, Key, KeyRange, Plan, View};

use super::{end::Step, key, malformed, row_in};
use crate::{
    Node,
    control::{decision, delete, storage},
    topic_table::after,
};

/// Rows of one page of a scan.
const PAGE: usize = 500;

impl Node {
    /// Aborts transactions that have lasted longer than their timeout, and fences their producers; forgets transactional ids
    /// that were not used for `transactional.id.expiration.ms`. Any agent may do it at any time: each row is looked at again
    /// under its lock.
    pub async fn expire_transactions(&self) -> Result<(), Failure> {
        let expiration_ms = self.broker().number("transactional.id.expiration.ms");
        let mut range = KeyRange::family(Family::Transaction);
        loop {
            let rows = self.store().scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(storage)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            range.start = after(last);
            for (key, row) in rows {
                let (Key::Transaction(org, id), Some(value)) = (key, row.value) else {
                    continue;
                };
                let row = TransactionRow::decode(&value).map_err(malformed)?;
                let now_ms = self.env().wall_ms();
                if is_overdue(&row, now_ms) {
                    self.abort_overdue(&org, &id).await?;
                } else if is_expired(&row, now_ms, expiration_ms) {
                    self.forget_transactional_id(&org, &id, expiration_ms)
                        .await?;
                }
            }
        }
    }

    async fn abort_overdue(&self, org: &Org, id: &str) -> Result<(), Failure> {
        tracing::info!(
            transactional_id = id,
            "a transaction took too long and is aborted"
        );
        let abort = |row: Option<&TransactionRow>, now_ms| {
            Ok(match row {
                Some(row) if is_overdue(row, now_ms) => Step::Close(fence(row, now_ms)),
                _ => Step::Done,
            })
        };
        self.close_transaction(org, id, abort).await
    }

    async fn forget_transactional_id(
        &self,
        org: &Org,
        id: &str,
        expiration_ms: i64,
    ) -> Result<(), Failure> {
        let (key, now_ms) = (key(org, id), self.env().wall_ms());
        let plan = Plan {
            locks: vec![key.clone()],
            ..Plan::default()
        };
        let apply = move |view: &View| {
            let row = row_in(view, &key).ok().flatten();
            let over = row.is_some_and(|row| is_expired(&row, now_ms, expiration_ms));
            let writes = over.then(|| delete(key.clone())).into_iter().collect();
            decision(writes, &())
        };
        self.change_on(self.transaction_lanes().of(id), plan, apply)
            .await
    }
}
