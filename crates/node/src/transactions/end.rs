//! The end of a transaction: the row is read to learn what has to be marked, and one update writes all of it, if the row is
//! still the same.
use std::sync::Arc;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use sh_base::{
    ErrorCode, Failure, Org, ProducerEpoch, ProducerId, TopicId, TopicPartition,
    limits::UPDATE_EXTENTS_MAX,
};
use sh_log::{
    ingest::await_unleased,
    transaction::{Close, EndAsk, EndOutcome, EndPlan, Ending, TransactionRow, end},
};
use sh_meta::{Decision, Plan, View};
use uuid::Uuid;

use super::malformed;
use crate::{
    Caller, Node,
    control::{Refusal, decision, storage},
    groups::PendingOffsets,
};

/// Offsets of one transaction, of all its groups together, that one update can write.
const OFFSETS_MAX: usize = UPDATE_EXTENTS_MAX;

/// EndTxn.
#[derive(Clone, Copy, Debug)]
pub struct EndTransaction {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub commit: bool,
    /// Transactions of version 2 (KIP-890): the next transaction has another epoch.
    pub version2: bool,
}

/// What is to be done about a row as it was read.
pub(super) enum Step {
    Close(Close),
    Done,
    NeedsId,
}

/// What an update made of it.
#[derive(Serialize, Deserialize)]
enum Reply {
    Ended,
    Changed,
    Leased(Vec<(Uuid, i32)>),
    Refused(Refusal),
}

impl Node {
    /// Commits or aborts the open transaction. What comes back is the producer id and epoch of the next one.
    ///
    /// Errors: `InvalidProducerIdMapping`, `ProducerFenced`, `InvalidTxnState`.
    pub async fn end_transaction(
        &self,
        caller: &Caller,
        id: &str,
        asked: EndTransaction,
    ) -> Result<(ProducerId, ProducerEpoch), Failure> {
        self.check_id(caller, id)?;
        let mut ask = EndAsk {
            producer: asked.producer,
            epoch: asked.epoch,
            commit: asked.commit,
            version2: asked.version2,
            fresh: None,
        };
        loop {
            let mut answer = None;
            let mut needs_id = false;
            let step = |row: Option<&TransactionRow>, now_ms| {
                let ending = end(row, &ask, now_ms)?;
                answer = row.map(|row| (row.producer(), row.epoch));
                Ok(match ending {
                    Ending::Close(close) => {
                        answer = Some((close.next.producer(), close.next.epoch));
                        Step::Close(close)
                    }
                    Ending::Done => Step::Done,
                    Ending::NeedsId => {
                        needs_id = true;
                        Step::NeedsId
                    }
                })
            };
            self.close_transaction(&caller.org, id, step).await?;
            match answer.filter(|_| !needs_id) {
                Some(answer) => return Ok(answer),
                None => ask.fresh = Some(self.draw_producer_id().await?),
            }
        }
    }

    /// Reads the row, asks what is to be done about it, and does it; begins again whenever the row has changed in between.
    pub(super) async fn close_transaction(
        &self,
        org: &Org,
        id: &str,
        mut step: impl FnMut(Option<&TransactionRow>, i64) -> Result<Step, Failure> + Send,
    ) -> Result<(), Failure> {
        loop {
            let now_ms = self.env().wall_ms();
            let (seen, row) = self.transaction_row(org, id).await?;
            let (Step::Close(close), Some(row)) = (step(row.as_ref(), now_ms)?, &row) else {
                return Ok(());
            };
            let end = EndPlan::new(org.clone(), id.to_owned(), (seen, row), close, now_ms);
            let offsets = self.pending_offsets(org, row).await?;
            if offsets.iter().map(PendingOffsets::count).sum::<usize>() > OFFSETS_MAX {
                self.drop_offsets(id, &end, offsets).await?;
                continue;
            }
            match self.run_end(id, Arc::new(end), Arc::new(offsets)).await? {
                Reply::Ended => return Ok(()),
                Reply::Changed => {}
                Reply::Leased(partitions) => self.await_unleased(id, partitions).await,
                Reply::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// What the transaction will commit for its groups.
    async fn pending_offsets(
        &self,
        org: &Org,
        row: &TransactionRow,
    ) -> Result<Vec<PendingOffsets>, Failure> {
        let mut offsets = Vec::with_capacity(row.groups.len());
        for group in &row.groups {
            let read = PendingOffsets::read(&**self.store(), org, group, row.producer());
            offsets.push(read.await.map_err(storage)?);
        }
        Ok(offsets)
    }

    async fn run_end(
        &self,
        id: &str,
        end: Arc<EndPlan>,
        offsets: Arc<Vec<PendingOffsets>>,
    ) -> Result<Reply, Failure> {
        let plan = Plan {
            locks: end
                .locks()
                .into_iter()
                .chain(offsets.iter().map(PendingOffsets::lock))
                .collect(),
            reads: offsets.iter().flat_map(PendingOffsets::reads).collect(),
            scans: offsets.iter().map(PendingOffsets::scan).collect(),
            ..Plan::default()
        };
        let apply = move |view: &View| decide(&end, &offsets, view);
        self.change_on(self.transaction_lanes().of(id), plan, apply)
            .await
    }

    /// More offsets than one update can write cannot be committed. An abort drops them group by group before it ends the
    /// transaction: nobody will ever see them either way.
    async fn drop_offsets(
        &self,
        id: &str,
        end: &EndPlan,
        offsets: Vec<PendingOffsets>,
    ) -> Result<(), Failure> {
        if end.close.commit {
            let text = format!("a transaction commits at most {OFFSETS_MAX} offsets: abort it");
            return Err(Failure::new(ErrorCode::TransactionAbortable, text));
        }
        for group in offsets {
            let plan = Plan {
                locks: vec![group.lock()],
                reads: group.reads(),
                scans: vec![group.scan()],
                ..Plan::default()
            };
            // What came meanwhile is read and dropped the next time.
            let apply = move |view: &View| {
                let scanned = view.scans.iter().flatten().cloned().collect::<Vec<_>>();
                decision(group.end(view, &scanned, false).unwrap_or_default(), &())
            };
            let lane = self.transaction_lanes().of(id);
            self.change_on::<()>(lane, plan, apply).await?;
        }
        Ok(())
    }

    /// Markers wait until nobody has promised offsets that are not committed.
    async fn await_unleased(&self, id: &str, partitions: Vec<(Uuid, i32)>) {
        let (store, env) = (self.store(), self.env());
        let lane = self.transaction_lanes().of(id);
        let me = lane.id().by;
        let waits = partitions.into_iter().map(|(topic, partition)| {
            let tp = TopicPartition::new(TopicId(topic), partition);
            await_unleased(store, lane, env, me, tp)
        });
        join_all(waits).await;
    }
}

fn decide(end: &EndPlan, offsets: &[PendingOffsets], view: &View) -> Decision {
    match end.decide(view) {
        Ok(EndOutcome::Ended(mut writes)) => {
            for (group, scanned) in offsets.iter().zip(&view.scans) {
                match group.end(view, scanned, end.close.commit) {
                    Some(settled) => writes.extend(settled),
                    None => return decision(vec![], &Reply::Changed),
                }
            }
            decision(writes, &Reply::Ended)
        }
        Ok(EndOutcome::Changed) => decision(vec![], &Reply::Changed),
        Ok(EndOutcome::Leased(partitions)) => {
            let named = partitions.iter().map(|tp| (tp.topic.0, tp.partition));
            decision(vec![], &Reply::Leased(named.collect()))
        }
        Err(error) => decision(vec![], &Reply::Refused(malformed(error).into())),
    }
}
