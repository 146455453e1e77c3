//! InitProducerId with a transactional id: a session begins.
use serde::{Deserialize, Serialize};
use sh_base::{ErrorCode, Failure, ProducerEpoch, ProducerId};
use sh_log::transaction::{InitAsk, InitOutcome, fence_for, init};
use sh_meta::{Decision, Plan, View};

use super::{end::Step, key, put_row, row_in};
use crate::{
    Caller, Node,
    control::{Refusal, decision},
};

/// What an update made of it.
#[derive(Serialize, Deserialize)]
enum Reply {
    Ready(i64, ProducerEpoch),
    NeedsId,
    AbortFirst,
    Refused(Refusal),
}

impl Node {
    /// Begins a session of a transactional id: the producer id and epoch that it writes with. Sessions before it are fenced, and
    /// the transaction that one of them left open is aborted. `expected` is what the producer had before (KIP-360).
    ///
    /// Errors: `InvalidTransactionTimeout`, `ProducerFenced` (another session has begun since), `ConcurrentTransactions` (an open
    /// transaction was aborted; asked again, the session begins), `InvalidRequest`.
    pub async fn init_transactional_id(
        &self,
        caller: &Caller,
        id: &str,
        timeout_ms: i32,
        expected: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), Failure> {
        self.check_id(caller, id)?;
        self.check_timeout(timeout_ms)?;
        let key = key(&caller.org, id);
        let mut ask = InitAsk {
            timeout_ms,
            expected,
            fresh: None,
        };
        loop {
            let plan = Plan {
                locks: vec![key.clone()],
                ..Plan::default()
            };
            let (key, now_ms) = (key.clone(), self.env().wall_ms());
            let apply = move |view: &View| decide(view, &key, &ask, now_ms);
            let lane = self.transaction_lanes().of(id);
            match self.change_on(lane, plan, apply).await? {
                Reply::Ready(producer, epoch) => return Ok((ProducerId(producer), epoch)),
                Reply::NeedsId => ask.fresh = Some(self.draw_producer_id().await?),
                Reply::AbortFirst => {
                    self.abort_for_another(caller, id, expected).await?;
                    return Err(just_aborted());
                }
                Reply::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    fn check_timeout(&self, timeout_ms: i32) -> Result<(), Failure> {
        let max = self.broker().number("transaction.max.timeout.ms");
        if timeout_ms > 0 && i64::from(timeout_ms) <= max {
            return Ok(());
        }
        let text = format!(
            "the transaction timeout must be positive and at most {max} ms (transaction.max.timeout.ms), not {timeout_ms}"
        );
        Err(Failure::new(ErrorCode::InvalidTransactionTimeout, text))
    }

    /// Aborts what a former session left open, and fences it.
    async fn abort_for_another(
        &self,
        caller: &Caller,
        id: &str,
        expected: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(), Failure> {
        let abort = |row: Option<&_>, now_ms| {
            Ok(match row {
                Some(row) if is_open(row) => Step::Close(fence_for(row, expected, now_ms)),
                _ => Step::Done,
            })
        };
        self.close_transaction(&caller.org, id, abort).await
    }
}

/// As with Kafka the producer asks once more: its session begins after the transaction before is over.
fn just_aborted() -> Failure {
    let text = "the transaction that was open is aborted; ask again";
    Failure::new(ErrorCode::ConcurrentTransactions, text)
}

fn is_open(row: &sh_log::transaction::TransactionRow) -> bool {
    row.is_ongoing()
}

fn decide(view: &View, key: &sh_meta::Key, ask: &InitAsk, now_ms: i64) -> Decision {
    let old = match row_in(view, key) {
        Ok(old) => old,
        Err(failure) => return decision(vec![], &Reply::Refused(failure.into())),
    };
    match init(old.as_ref(), ask, now_ms) {
        Ok(InitOutcome::Ready(row)) => {
            let changed = old.as_ref() != Some(&row);
            let writes = changed.then(|| put_row(key, &row)).into_iter().collect();
            decision(writes, &Reply::Ready(row.producer_id, row.epoch))
        }
        Ok(InitOutcome::NeedsId) => decision(vec![], &Reply::NeedsId),
        Ok(InitOutcome::AbortFirst) => decision(vec![], &Reply::AbortFirst),
        Err(failure) => decision(vec![], &Reply::Refused(failure.into())),
    }
}
