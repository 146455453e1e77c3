//! The commit of windows: a pure function from the locked rows to the new rows and the answers (DESIGN 5).
//!
//! The rules of `WritePath.tla` (`Exec`, `Apply`, `Store`) that live here, each in a function that names it: the fate of an
//! id is decided once, an agent that was fenced commits nothing, a leased batch needs its lease, nobody else writes while
//! there is one, later batches never overtake one that was refused, and a batch is stored at most once. The rules of
//! `Transactions.tla` (`Commit`) are in `transaction`; here the rows are locked.
mod plan;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use sh_base::{
    Incarnation, ObjectId, Offset, ProducerId, TopicPartition, batch::sequence_add,
    limits::UPDATE_EXTENTS_MAX,
};
use sh_meta::{Decision, Key, View, Write};

use crate::{
    agent::AgentRow,
    codec::Malformed,
    mutant,
    row::{
        Answer, BatchRecord, Extent, Fate, Head, OpenTransaction, Place, ProducerState, Refusal,
        RunAnswers, Verdict, check_replayed, check_sequence,
    },
    transaction::{TransactionRow, admit_batch},
};

pub use plan::{
    BatchPlan, BatchTransaction, CommitPlan, CommitReply, Promise, RunPlan, WINDOW_WRITERS_MAX,
    WindowPlan, windows_of_one_update,
};

/// Decides a plan. A row that does not decode stops the agent rather than the partition: nothing is written.
pub fn commit(plan: &CommitPlan, view: &View) -> Result<Decision, Malformed> {
    let current = AgentRow::is_current(view.value(&Key::Agent(plan.by.agent)), &plan.by);
    if !current && !mutant::is("no_epoch") {
        return Ok(Decision {
            writes: vec![],
            reply: CommitReply::Fenced.encode(),
        });
    }
    let mut state = State::new(plan, view);
    let mut fates = Vec::new();
    for window in &plan.windows {
        match state.known_fate(window.id)? {
            Some(Fate::Committed(runs)) => {
                state.hold_refused(&runs);
                fates.push(Fate::Committed(runs));
            }
            Some(Fate::Aborted) if !mutant::is("no_fate") => {
                fates.push(Fate::Aborted);
                if !mutant::is("resubmit_late") {
                    break;
                }
            }
            _ => fates.push(state.window(window)?),
        }
    }
    Ok(Decision {
        writes: state.writes(),
        reply: CommitReply::Fates(fates).encode(),
    })
}

/// The rows as the commit changes them.
struct State<'a> {
    view: &'a View,
    now_ms: i64,
    producer_expiry_ms: i64,
    by: Incarnation,
    held: HashSet<TopicPartition>,
    transactions: BTreeMap<Key, TransactionRow>,
    heads: BTreeMap<TopicPartition, Head>,
    producers: BTreeMap<(TopicPartition, ProducerId), ProducerState>,
    extents: BTreeMap<(TopicPartition, Offset), Extent>,
    fates: Vec<(ObjectId, Bytes)>,
}

impl<'a> State<'a> {
    fn new(plan: &CommitPlan, view: &'a View) -> State<'a> {
        State {
            view,
            now_ms: plan.now_ms,
            producer_expiry_ms: plan.producer_expiry_ms,
            by: plan.by,
            held: plan.held.clone(),
            transactions: BTreeMap::new(),
            heads: BTreeMap::new(),
            producers: BTreeMap::new(),
            extents: BTreeMap::new(),
            fates: Vec::new(),
        }
    }

    /// **The fate of an id is decided once** (model: `bug_no_fate`).
    fn known_fate(&self, id: ObjectId) -> Result<Option<Fate>, Malformed> {
        self.view
            .value(&Key::Object(id))
            .map(|v| Fate::decode(v))
            .transpose()
    }

    /// **No overtaking** (model: `aw_overtake`): once a batch of a partition was told to come again, so are all later ones.
    fn hold_refused(&mut self, runs: &[RunAnswers]) {
        let refused = runs.iter().filter(|r| r.answers.contains(&Answer::Again));
        self.held.extend(refused.map(|r| r.partition));
    }

    fn window(&mut self, window: &WindowPlan) -> Result<Fate, Malformed> {
        let mut runs = Vec::with_capacity(window.runs.len());
        for run in &window.runs {
            let mut answers = Vec::with_capacity(run.batches.len());
            for batch in &run.batches {
                answers.push(self.batch(window.id, run.partition, batch)?);
            }
            runs.push(RunAnswers {
                partition: run.partition,
                answers,
            });
        }
        let fate = Fate::Committed(runs);
        self.fates.push((window.id, fate.encode()));
        Ok(fate)
    }

    fn batch(
        &mut self,
        object: ObjectId,
        tp: TopicPartition,
        batch: &BatchPlan,
    ) -> Result<Answer, Malformed> {
        let mut head = self.head(tp)?;
        if head.deleted {
            return Ok(Answer::Refused(Refusal::TopicDeleted));
        }
        let held = self.held.contains(&tp) && !mutant::is("overtake");
        if held || !may_write(&head, self.by, batch.promised) || !self.has_room(batch.promised) {
            self.held.insert(tp);
            return Ok(Answer::Again);
        }
        let base_offset = batch.promised.map_or(head.next_offset, |p| p.base_offset);
        let transaction = match self.transaction(tp, &head, batch)? {
            Ok(transaction) => transaction,
            Err(why) => return Ok(Answer::Refused(why)),
        };
        match self.verdict(tp, batch)? {
            Verdict::Duplicate(b) => {
                return Ok(Answer::Duplicate {
                    base_offset: b.base_offset,
                });
            }
            Verdict::Refused(why) => return Ok(Answer::Refused(why)),
            verdict => self.remember(tp, batch, base_offset, verdict)?,
        }
        self.gap(tp, &head, base_offset);
        let end = base_offset + batch.offsets;
        self.extend(object, tp, &head, base_offset, end, batch);
        head.next_offset = end;
        self.open(&mut head, base_offset, batch, transaction);
        self.heads.insert(tp, head);
        Ok(Answer::Stored { base_offset })
    }

    /// An update takes so many rows of a kind. Batches that were refused leave holes in what would be one extent; those behind
    /// too many of them come again. What was promised never does: a lease leaves no hole but the one before its first batch.
    fn has_room(&self, promised: Option<Promise>) -> bool {
        promised.is_some() || self.extents.len() < UPDATE_EXTENTS_MAX - 2 * WINDOW_WRITERS_MAX
    }

    fn head(&mut self, tp: TopicPartition) -> Result<Head, Malformed> {
        match self.heads.get(&tp) {
            Some(head) => Ok(head.clone()),
            None => Head::of(self.view.value(&Key::Head(tp))),
        }
    }

    /// **A batch and its transaction's row must agree**; the row, if the batch changes it. A producer with a transaction open here
    /// writes nothing outside of it.
    fn transaction(
        &self,
        tp: TopicPartition,
        head: &Head,
        batch: &BatchPlan,
    ) -> Result<Result<Option<TransactionRow>, Refusal>, Malformed> {
        let (Some(producer), Some(transaction)) = (&batch.producer, &batch.transaction) else {
            let open = batch.producer.and_then(|p| head.first_offset_of(p.id));
            return Ok(match open {
                Some(_) => Err(Refusal::InvalidTransactionState),
                None => Ok(None),
            });
        };
        let row = match self.transactions.get(&transaction.key) {
            Some(row) => Some(row.clone()),
            None => TransactionRow::of(self.view.value(&transaction.key))?,
        };
        Ok(admit_batch(
            row.as_ref(),
            producer,
            tp,
            transaction.adds,
            self.now_ms,
        ))
    }

    /// The first batch of a transaction opens it in the partition: the last stable offset stays before it.
    fn open(
        &mut self,
        head: &mut Head,
        base_offset: Offset,
        batch: &BatchPlan,
        row: Option<TransactionRow>,
    ) {
        let (Some(producer), Some(transaction)) = (&batch.producer, &batch.transaction) else {
            return;
        };
        if head.first_offset_of(producer.id).is_none() {
            head.open.push(OpenTransaction {
                producer: producer.id,
                first_offset: base_offset,
            });
        }
        if let Some(row) = row {
            self.transactions.insert(transaction.key.clone(), row);
        }
    }

    /// What the partition knows of a batch's producer. **It forgets one that was silent for too long**, but not while the WAL
    /// brings back what that one was promised.
    fn producer(
        &self,
        tp: TopicPartition,
        id: ProducerId,
        replayed: bool,
    ) -> Result<Option<ProducerState>, Malformed> {
        if let Some(state) = self.producers.get(&(tp, id)) {
            return Ok(Some(state.clone()));
        }
        let value = self.view.value(&Key::Producer(tp, id));
        let state = value.map(|v| ProducerState::decode(v)).transpose()?;
        Ok(state.filter(|s| replayed || !s.is_expired(self.now_ms, self.producer_expiry_ms)))
    }

    /// **At most once** (model: `bug_no_dup`).
    fn verdict(&self, tp: TopicPartition, batch: &BatchPlan) -> Result<Verdict, Malformed> {
        let Some(producer) = batch.producer else {
            return Ok(Verdict::Next);
        };
        let state = self.producer(tp, producer.id, batch.replayed)?;
        let adds = batch.transaction.as_ref().is_some_and(|t| t.adds);
        if adds && state.is_none() && producer.base_sequence != 0 {
            // Each transaction of version 2 begins at sequence 0: what came before has got lost (KIP-890).
            return Ok(Verdict::Refused(Refusal::OutOfOrderSequence));
        }
        let replayed = batch.replayed && !mutant::is("replay_refused");
        let check = if replayed {
            check_replayed
        } else {
            check_sequence
        };
        Ok(match check(state.as_ref(), &producer, batch.records) {
            Verdict::Duplicate(_) if mutant::is("no_dup") => Verdict::Next,
            verdict => verdict,
        })
    }

    fn remember(
        &mut self,
        tp: TopicPartition,
        batch: &BatchPlan,
        base_offset: Offset,
        verdict: Verdict,
    ) -> Result<(), Malformed> {
        let Some(p) = batch.producer else {
            return Ok(());
        };
        let record = BatchRecord {
            base_sequence: p.base_sequence,
            last_sequence: sequence_add(p.base_sequence, batch.records - 1),
            base_offset,
            last_offset: base_offset + batch.offsets - 1,
            max_timestamp: batch.max_timestamp,
        };
        let state = match (self.producer(tp, p.id, batch.replayed)?, verdict) {
            (Some(old), Verdict::Apart) => old.after_apart(p.epoch, record),
            (old, _) => ProducerState::after(old, p.epoch, record, self.now_ms),
        };
        self.producers.insert((tp, p.id), state);
        Ok(())
    }

    /// Offsets that were promised under a lease and never stored are an empty extent, so that extents tile.
    fn gap(&mut self, tp: TopicPartition, head: &Head, base_offset: Offset) {
        if base_offset > head.next_offset {
            let gap = Extent {
                end: base_offset,
                place: None,
                marker: None,
                leader_epoch: head.leader_epoch,
                min_timestamp: -1,
                max_timestamp: -1,
            };
            self.extents.insert((tp, head.next_offset), gap);
        }
    }

    /// Neighbours in the object and in the log share an extent.
    fn extend(
        &mut self,
        object: ObjectId,
        tp: TopicPartition,
        head: &Head,
        base: Offset,
        end: Offset,
        batch: &BatchPlan,
    ) {
        let last = self
            .extents
            .range_mut((tp, Offset::MIN)..(tp, base))
            .next_back();
        if let Some((_, last)) = last
            && last.end == base
            && let Some(place) = &mut last.place
            && place.object == object
            && place.start + u64::from(place.len) == batch.start
        {
            place.len += batch.len;
            last.end = end;
            last.min_timestamp = last.min_timestamp.min(batch.min_timestamp);
            last.max_timestamp = last.max_timestamp.max(batch.max_timestamp);
            return;
        }
        let extent = Extent {
            end,
            place: Some(Place {
                object,
                start: batch.start,
                len: batch.len,
            }),
            marker: None,
            leader_epoch: head.leader_epoch,
            min_timestamp: batch.min_timestamp,
            max_timestamp: batch.max_timestamp,
        };
        self.extents.insert((tp, base), extent);
    }

    fn writes(self) -> Vec<Write> {
        let version = |tp: &TopicPartition| self.view.row(&Key::Head(*tp)).version + 1;
        let locked = |key, value| Write {
            key,
            value: Some(value),
            version: None,
        };
        let fates = self
            .fates
            .iter()
            .map(|(id, fate)| locked(Key::Object(*id), fate.clone()));
        let transactions = self
            .transactions
            .iter()
            .map(|(key, row)| locked(key.clone(), row.encode()));
        let heads = self
            .heads
            .iter()
            .map(|(tp, head)| locked(Key::Head(*tp), head.encode()));
        let producers = self
            .producers
            .iter()
            .map(|((tp, id), s)| locked(Key::Producer(*tp, *id), s.encode()));
        let extents = self.extents.iter().map(|((tp, base), e)| Write {
            key: Key::Extent(*tp, *base),
            value: Some(e.encode()),
            version: Some(version(tp)),
        });
        fates
            .chain(transactions)
            .chain(heads)
            .chain(producers)
            .chain(extents)
            .collect()
    }
}

/// **The lease fences** (model: `bug_no_lease_fence`, `bug_no_lease_check`): a promised batch needs the very lease it was
/// promised under and offsets nobody has; any other batch needs that no other agent holds one.
fn may_write(head: &Head, by: Incarnation, promised: Option<Promise>) -> bool {
    match (promised, head.lease) {
        (Some(_), _) if mutant::is("no_lease_fence") => true,
        (None, _) if mutant::is("no_lease_check") => true,
        (Some(p), Some(lease)) => {
            lease.holder == by.agent
                && lease.epoch == p.lease_epoch
                && p.base_offset >= head.next_offset
        }
        (Some(_), None) => false,
        (None, Some(lease)) => lease.holder == by.agent,
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests;
