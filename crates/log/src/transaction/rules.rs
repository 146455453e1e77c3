//! The rules of a transactional id: what each request makes of its row. Pure functions.
use sh_base::{
    ErrorCode, Failure, ProducerEpoch, ProducerId, TopicPartition, batch::BatchProducer,
    limits::UPDATE_EXTENTS_MAX,
};

use super::row::{NO_EPOCH, TransactionRow, TransactionState};
use crate::{mutant, row::Refusal};

/// Partitions of one transaction: all of them are marked by one update, which writes a head, a producer, an extent and
/// perhaps an aborted transaction for each.
pub const PARTITIONS_MAX: usize = UPDATE_EXTENTS_MAX;

/// The last epoch but one is the last that a transaction may have: what fences it needs another.
fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch >= ProducerEpoch::MAX - 1
}

fn unknown() -> Failure {
    let text = "the producer id is not the one of this transactional id: begin with InitProducerId";
    Failure::new(ErrorCode::InvalidProducerIdMapping, text)
}

fn fenced() -> Failure {
    let text =
        "there is a newer producer with this transactional id, or its transaction took too long";
    Failure::new(ErrorCode::ProducerFenced, text)
}

fn wrong_state(state: TransactionState, wanted: &str) -> Failure {
    let text = format!(
        "the transaction is in the state {}, which does not allow {wanted}",
        state.name()
    );
    Failure::new(ErrorCode::InvalidTxnState, text)
}

/// InitProducerId with a transactional id.
#[derive(Clone, Copy, Debug)]
pub struct InitAsk {
    pub timeout_ms: i32,
    /// What the producer had before (KIP-360).
    pub expected: Option<(ProducerId, ProducerEpoch)>,
    /// A producer id that nobody has, if one was drawn.
    pub fresh: Option<ProducerId>,
}

/// What InitProducerId makes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitOutcome {
    /// The row, changed or (asked again) as it was.
    Ready(TransactionRow),
    /// A producer id must be drawn first.
    NeedsId,
    /// A transaction is open, and has to be [`fence`]d first.
    AbortFirst,
}

/// InitProducerId: **every new session raises the epoch, and so fences those before it** (model: `bug_no_bump`).
pub fn init(
    row: Option<&TransactionRow>,
    ask: &InitAsk,
    now_ms: i64,
) -> Result<InitOutcome, Failure> {
    let Some(row) = row else {
        return Ok(first_epoch(ask, now_ms));
    };
    if let Some(expected) = ask.expected {
        check_expected(row, expected)?;
    }
    if row.is_ongoing() && !mutant::is("txn_init_keeps_open") {
        return Ok(InitOutcome::AbortFirst);
    }
    if is_exhausted(row.epoch) {
        return Ok(rotated(row, ask, now_ms));
    }
    let last_epoch = match ask.expected {
        None => NO_EPOCH,
        Some((_, epoch)) if epoch == row.epoch => row.epoch,
        // Asked again: its answer was lost.
        Some((_, epoch)) if epoch == row.last_epoch => return Ok(InitOutcome::Ready(row.clone())),
        Some(_) => return Err(fenced()),
    };
    let bump = !mutant::is("txn_no_bump");
    Ok(InitOutcome::Ready(TransactionRow {
        epoch: row.epoch + ProducerEpoch::from(bump),
        last_epoch,
        ..renewed(row, ask, now_ms)
    }))
}

fn first_epoch(ask: &InitAsk, now_ms: i64) -> InitOutcome {
    let Some(fresh) = ask.fresh else {
        return InitOutcome::NeedsId;
    };
    InitOutcome::Ready(TransactionRow {
        producer_id: fresh.0,
        epoch: 0,
        last_epoch: NO_EPOCH,
        previous_producer_id: -1,
        state: TransactionState::Empty,
        version2: false,
        timeout_ms: ask.timeout_ms,
        started_ms: -1,
        updated_ms: now_ms,
        partitions: Default::default(),
        groups: Default::default(),
    })
}

/// Is the producer the one we know, or was it before its epochs were used up?
fn check_expected(
    row: &TransactionRow,
    (producer, epoch): (ProducerId, ProducerEpoch),
) -> Result<(), Failure> {
    let known = producer == row.producer()
        || (producer.0 == row.previous_producer_id && is_exhausted(epoch));
    if known { Ok(()) } else { Err(fenced()) }
}

fn renewed(row: &TransactionRow, ask: &InitAsk, now_ms: i64) -> TransactionRow {
    TransactionRow {
        state: TransactionState::Empty,
        timeout_ms: ask.timeout_ms,
        started_ms: -1,
        updated_ms: now_ms,
        ..row.clone()
    }
}

/// Epochs are used up: the transactional id goes on with another producer id.
fn rotated(row: &TransactionRow, ask: &InitAsk, now_ms: i64) -> InitOutcome {
    let Some(fresh) = ask.fresh else {
        return InitOutcome::NeedsId;
    };
    InitOutcome::Ready(TransactionRow {
        producer_id: fresh.0,
        previous_producer_id: row.producer_id,
        epoch: 0,
        last_epoch: if ask.expected.is_some() {
            row.epoch
        } else {
            NO_EPOCH
        },
        ..renewed(row, ask, now_ms)
    })
}

/// The row, if it is that of the producer in its epoch.
fn current(
    row: Option<&TransactionRow>,
    producer: ProducerId,
    epoch: ProducerEpoch,
) -> Result<&TransactionRow, Failure> {
    let row = row
        .filter(|row| row.producer() == producer)
        .ok_or_else(unknown)?;
    if row.epoch == epoch {
        Ok(row)
    } else {
        Err(fenced())
    }
}

/// Opens the transaction, if none is open.
fn opened(row: &TransactionRow, version2: bool, now_ms: i64) -> TransactionRow {
    let started_ms = if row.is_ongoing() {
        row.started_ms
    } else {
        now_ms
    };
    TransactionRow {
        state: TransactionState::Ongoing,
        version2,
        started_ms,
        updated_ms: now_ms,
        ..row.clone()
    }
}

fn with_partitions(
    mut row: TransactionRow,
    partitions: &[TopicPartition],
) -> Option<TransactionRow> {
    for tp in partitions {
        let of_topic = row.partitions.entry(tp.topic.0).or_default();
        of_topic.insert(tp.partition);
    }
    (row.partition_count() <= PARTITIONS_MAX).then_some(row)
}

/// AddPartitionsToTxn and AddOffsetsToTxn. `None`: all are in it already.
pub fn add(
    row: Option<&TransactionRow>,
    (producer, epoch): (ProducerId, ProducerEpoch),
    partitions: &[TopicPartition],
    group: Option<&str>,
    now_ms: i64,
) -> Result<Option<TransactionRow>, Failure> {
    let row = current(row, producer, epoch)?;
    let known = partitions.iter().all(|tp| row.has(*tp))
        && group.is_none_or(|group| row.groups.contains(group));
    if row.is_ongoing() && known {
        return Ok(None);
    }
    let mut next = with_partitions(opened(row, false, now_ms), partitions).ok_or_else(|| {
        let text = format!("a transaction has at most {PARTITIONS_MAX} partitions");
        Failure::new(ErrorCode::TransactionAbortable, text)
    })?;
    next.groups.extend(group.map(str::to_owned));
    Ok(Some(next))
}

/// AddPartitionsToTxn that only asks: is the partition part of the open transaction?
pub fn verify(
    row: Option<&TransactionRow>,
    (producer, epoch): (ProducerId, ProducerEpoch),
    tp: TopicPartition,
) -> Result<(), Failure> {
    let row = current(row, producer, epoch)?;
    if row.is_ongoing() && row.has(tp) {
        return Ok(());
    }
    let text = "the partition is not part of an open transaction: abort it and begin again";
    Err(Failure::new(ErrorCode::TransactionAbortable, text))
}

/// **A transactional batch must match its row's epoch and an open state** (model: `bug_batch_unlocked`, `bug_no_epoch`). With
/// `adds` (KIP-890) it opens the transaction and adds its partition where need be; else that was done before.
///
/// Returns the row if it changes.
pub fn admit_batch(
    row: Option<&TransactionRow>,
    batch: &BatchProducer,
    tp: TopicPartition,
    adds: bool,
    now_ms: i64,
) -> Result<Option<TransactionRow>, Refusal> {
    let row = row.filter(|row| row.producer() == batch.id);
    let row = row.ok_or(Refusal::InvalidProducerIdMapping)?;
    if mutant::is("txn_batch_unlocked") {
        return Ok(None);
    }
    if row.epoch != batch.epoch && !mutant::is("txn_no_epoch") {
        return Err(Refusal::InvalidProducerEpoch);
    }
    if row.is_ongoing() && row.has(tp) {
        return Ok(None);
    }
    if !adds {
        return Err(Refusal::TransactionAbortable);
    }
    let next = with_partitions(opened(row, true, now_ms), &[tp]);
    next.map(Some).ok_or(Refusal::TransactionAbortable)
}

/// The same for offsets that a transaction commits for a group (TxnOffsetCommit): with `adds` the group is added, else it must
/// have been (AddOffsetsToTxn).
///
/// Errors: `InvalidProducerIdMapping`, `InvalidProducerEpoch`, `TransactionAbortable`.
pub fn admit_offsets(
    row: Option<&TransactionRow>,
    (producer, epoch): (ProducerId, ProducerEpoch),
    group: &str,
    adds: bool,
    now_ms: i64,
) -> Result<Option<TransactionRow>, ErrorCode> {
    let row = row.filter(|row| row.producer() == producer);
    let row = row.ok_or(ErrorCode::InvalidProducerIdMapping)?;
    if row.epoch != epoch && !mutant::is("txn_offsets_no_epoch") {
        return Err(ErrorCode::InvalidProducerEpoch);
    }
    if row.is_ongoing() && row.groups.contains(group) {
        return Ok(None);
    }
    if !adds {
        return Err(ErrorCode::TransactionAbortable);
    }
    let mut next = opened(row, true, now_ms);
    next.groups.insert(group.to_owned());
    Ok(Some(next))
}

/// EndTxn.
#[derive(Clone, Copy, Debug)]
pub struct EndAsk {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub commit: bool,
    /// Transactions of version 2 (KIP-890): the end raises the epoch.
    pub version2: bool,
    /// A producer id that nobody has, if one was drawn.
    pub fresh: Option<ProducerId>,
}

/// What an end makes of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Close(Close),
    /// It was ended so before: the answer is the row's producer id and epoch.
    Done,
    /// A producer id must be drawn first.
    NeedsId,
}

/// An end that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub commit: bool,
    /// Of the markers; they are the old producer id's.
    pub marker_epoch: ProducerEpoch,
    /// The row afterwards.
    pub next: TransactionRow,
}

/// EndTxn. **Asked again it gives the same answer**, by the epoch or the state that its first time left (model:
/// `bug_always_ok`); **and in version 2 an abort raises the epoch even if no batch has got into the transaction**: a late one
/// must not get into the next (model: `bug_empty_abort`).
pub fn end(row: Option<&TransactionRow>, ask: &EndAsk, now_ms: i64) -> Result<Ending, Failure> {
    let row = row.ok_or_else(unknown)?;
    match ending(row, ask, now_ms) {
        Err(_) if mutant::is("txn_always_ok") => Ok(Ending::Done),
        ending => ending,
    }
}

fn ending(row: &TransactionRow, ask: &EndAsk, now_ms: i64) -> Result<Ending, Failure> {
    let again = ask.version2 && is_asked_again(row, ask);
    if row.producer() != ask.producer && !again {
        return Err(unknown());
    }
    if row.epoch != ask.epoch && !again {
        return Err(fenced());
    }
    let wanted = if ask.commit { "a commit" } else { "an abort" };
    match row.state {
        TransactionState::Ongoing if again => Err(fenced()),
        TransactionState::Ongoing => Ok(close(row, ask, now_ms)),
        state if again => match state == TransactionState::completed(ask.commit) {
            true => Ok(Ending::Done),
            false => Err(wrong_state(state, wanted)),
        },
        _ if ask.version2 && !ask.commit && mutant::is("txn_empty_abort") => Ok(Ending::Done),
        _ if ask.version2 && !ask.commit => Ok(close(row, ask, now_ms)),
        state if ask.version2 => Err(wrong_state(state, wanted)),
        state if state == TransactionState::completed(ask.commit) => Ok(Ending::Done),
        state => Err(wrong_state(state, wanted)),
    }
}

/// Does the request name the epoch before the one that a first time has left?
fn is_asked_again(row: &TransactionRow, ask: &EndAsk) -> bool {
    let bumped = row.producer() == ask.producer && ask.epoch.checked_add(1) == Some(row.epoch);
    let rotated = row.previous_producer_id == ask.producer.0
        && ask.epoch == ProducerEpoch::MAX - 1
        && row.epoch == 0;
    bumped || rotated
}

fn close(row: &TransactionRow, ask: &EndAsk, now_ms: i64) -> Ending {
    let next = ended(row, ask.commit, ask.version2, now_ms);
    if !ask.version2 {
        return Ending::Close(Close {
            commit: ask.commit,
            marker_epoch: row.epoch,
            next,
        });
    }
    let marker_epoch = row.epoch.saturating_add(1);
    let next = match (is_exhausted(row.epoch), ask.fresh) {
        (false, _) => TransactionRow {
            epoch: marker_epoch,
            last_epoch: row.epoch,
            ..next
        },
        (true, None) => return Ending::NeedsId,
        (true, Some(fresh)) => TransactionRow {
            producer_id: fresh.0,
            previous_producer_id: row.producer_id,
            epoch: 0,
            last_epoch: row.epoch,
            ..next
        },
    };
    Ending::Close(Close {
        commit: ask.commit,
        marker_epoch,
        next,
    })
}

fn ended(row: &TransactionRow, commit: bool, version2: bool, now_ms: i64) -> TransactionRow {
    TransactionRow {
        state: TransactionState::completed(commit),
        version2,
        updated_ms: now_ms,
        partitions: Default::default(),
        groups: Default::default(),
        ..row.clone()
    }
}

/// Aborts the open transaction of a producer that is not heard: a new session begins, or it took too long. **Its epoch is
/// raised, so that it is fenced** (model: `bug_timeout_no_bump`, `bug_init_keeps_open`).
pub fn fence(row: &TransactionRow, now_ms: i64) -> Close {
    let bump = !mutant::is("txn_timeout_no_bump");
    let marker_epoch = row.epoch.saturating_add(ProducerEpoch::from(bump));
    Close {
        commit: false,
        marker_epoch,
        next: TransactionRow {
            epoch: marker_epoch,
            last_epoch: NO_EPOCH,
            ..ended(row, false, row.version2, now_ms)
        },
    }
}

/// [`fence`] for a session that begins over an open transaction. A producer that begins anew over its own is given the epoch that
/// fenced it when it asks again (KIP-360): it must not be fenced by itself.
pub fn fence_for(
    row: &TransactionRow,
    expected: Option<(ProducerId, ProducerEpoch)>,
    now_ms: i64,
) -> Close {
    let close = fence(row, now_ms);
    let last_epoch = match expected == Some((row.producer(), row.epoch)) {
        true => row.epoch,
        false => close.next.last_epoch,
    };
    Close {
        next: TransactionRow {
            last_epoch,
            ..close.next
        },
        ..close
    }
}

/// Has the open transaction lasted longer than its timeout?
pub fn is_overdue(row: &TransactionRow, now_ms: i64) -> bool {
    row.is_ongoing() && now_ms.saturating_sub(row.started_ms) > i64::from(row.timeout_ms)
}

/// Has the transactional id not been used for so long that it is forgotten (`transactional.id.expiration.ms`)?
pub fn is_expired(row: &TransactionRow, now_ms: i64, expiration_ms: i64) -> bool {
    !row.is_ongoing() && now_ms.saturating_sub(row.updated_ms) >= expiration_ms
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
