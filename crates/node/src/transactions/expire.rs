//! What time does to transactions: those that take too long are aborted, and ids that nobody uses are forgotten.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use sh_base::{Failure, Org, ProducerEpoch, ProducerId};
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

/// One transaction of a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    producer: ProducerId,
    epoch: ProducerEpoch,
    started_ms: i64,
}

impl Begun {
    fn of(row: &TransactionRow) -> Begun {
        Begun {
            producer: row.producer(),
            epoch: row.epoch,
            started_ms: row.started_ms,
        }
    }
}

/// Open transactions, and since when this agent has seen them, on its monotonic clock.
///
/// **A transaction ends in time whatever the wall clocks say**: the moment at which it began is of the clock of the agent that
/// wrote it, which may have been ahead by hours.
#[derive(Default)]
pub(crate) struct Watch(Mutex<BTreeMap<Key, (Begun, Duration)>>);

impl Watch {
    /// How long this agent has seen the transaction.
    fn seen(&self, key: &Key, begun: Begun, now: Duration) -> Duration {
        let mut seen = self.0.lock();
        let (known, since) = seen.entry(key.clone()).or_insert((begun, now));
        if *known != begun {
            (*known, *since) = (begun, now);
        }
        now.saturating_sub(*since)
    }

    fn keep(&self, open: &BTreeSet<Key>) {
        self.0.lock().retain(|key, _| open.contains(key));
    }
}

impl Node {
    /// Aborts transactions that have lasted longer than their timeout, and fences their producers; forgets transactional ids
    /// that were not used for `transactional.id.expiration.ms`. Any agent may do it at any time: each row is looked at again
    /// under its lock. What fails for one transactional id is tried the next time, and does not keep the others waiting.
    pub async fn expire_transactions(&self) -> Result<(), Failure> {
        let mut range = KeyRange::family(Family::Transaction);
        let (mut open, mut outcome) = (BTreeSet::new(), Ok(()));
        loop {
            let rows = self.store().scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(storage)?;
            let Some((last, _)) = rows.last() else {
                self.transaction_watch().keep(&open);
                return outcome;
            };
            range.start = after(last);
            for (key, row) in rows {
                if let Some(value) = row.value {
                    let expired = self.expire_row(&key, &value, &mut open).await;
                    outcome = outcome.and(expired);
                }
            }
        }
    }

    async fn expire_row(
        &self,
        key: &Key,
        value: &[u8],
        open: &mut BTreeSet<Key>,
    ) -> Result<(), Failure> {
        let Key::Transaction(org, id) = key else {
            return Ok(());
        };
        let row = TransactionRow::decode(value).map_err(malformed)?;
        let (now_ms, begun) = (self.env().wall_ms(), Begun::of(&row));
        let expiration_ms = self.broker().number("transactional.id.expiration.ms");
        if !row.is_ongoing() {
            return match is_expired(&row, now_ms, expiration_ms) {
                true => self.forget_transactional_id(org, id, expiration_ms).await,
                false => Ok(()),
            };
        }
        open.insert(key.clone());
        let seen = self.transaction_watch().seen(key, begun, self.env().mono());
        let timeout = Duration::from_millis(u64::try_from(row.timeout_ms).unwrap_or(0));
        match is_overdue(&row, now_ms) || seen > timeout {
            true => self.abort_overdue(org, id, begun).await,
            false => Ok(()),
        }
    }

    async fn abort_overdue(&self, org: &Org, id: &str, begun: Begun) -> Result<(), Failure> {
        tracing::info!(
            transactional_id = id,
            "a transaction took too long and is aborted"
        );
        let abort = |row: Option<&TransactionRow>, now_ms| {
            Ok(match row {
                Some(row) if row.is_ongoing() && Begun::of(row) == begun => {
                    Step::Close(fence(row, now_ms))
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_watched_from_when_it_was_first_seen() {
        let watch = Watch::default();
        let key = key(&Org::default(), "t");
        let begun = |epoch| Begun {
            producer: ProducerId(7),
            epoch,
            // An hour ahead of everybody's clock.
            started_ms: 3_600_000,
        };
        let at = Duration::from_secs;
        assert_eq!(watch.seen(&key, begun(0), at(100)), at(0));
        assert_eq!(watch.seen(&key, begun(0), at(107)), at(7));
        assert_eq!(watch.seen(&key, begun(1), at(108)), at(0), "another one");
        watch.keep(&BTreeSet::from([key.clone()]));
        assert_eq!(watch.seen(&key, begun(1), at(109)), at(1));
        watch.keep(&BTreeSet::new());
        assert_eq!(watch.seen(&key, begun(1), at(110)), at(0), "it had ended");
    }
}
