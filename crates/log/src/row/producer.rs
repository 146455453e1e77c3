//! What a partition knows of an idempotent producer, and Kafka's rules about its next batch (KIP-98, KIP-360).
use std::{cmp::Ordering, collections::VecDeque};

use bytes::Bytes;
use sh_base::{
    Offset, ProducerEpoch,
    batch::{BatchProducer, sequence_add},
    limits::PRODUCER_BATCHES_KEPT,
};

use super::fate::Refusal;
use crate::{
    codec::{Malformed, Reader},
    mutant,
};

/// A producer's epoch and its last batches in one partition, oldest first; at most five.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub epoch: ProducerEpoch,
    pub batches: VecDeque<BatchRecord>,
    /// The first sequence of this epoch that was stored here: all from it to the last batch's end are stored, without a gap.
    pub first_sequence: i32,
    /// What was stored of the epoch before: its number, first and last sequence.
    pub previous: Option<(ProducerEpoch, i32, i32)>,
    /// Batches of this epoch that the WAL brought back past a gap: stored, and waiting for what lies between.
    pub apart: Vec<BatchRecord>,
    /// Wall clock of the agent that stored the last batch, milliseconds: what the expiry counts from.
    pub updated_ms: i64,
    /// Of the last transaction marker; -1 before the first.
    pub coordinator_epoch: i32,
}

/// One stored batch, as the duplicate check needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    pub base_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: i64,
}

/// What the rules say of a producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Next,
    /// To be stored, and remembered apart from the others: those have no gaps.
    Apart,
    Duplicate(BatchRecord),
    Refused(Refusal),
}

/// **Kafka's rules for a producer's next batch** (`ProducerAppendInfo`, KIP-360): an epoch that went back is fenced; a batch
/// that equals one of the last five of its epoch is a duplicate; a new epoch starts at sequence 0; within an epoch sequences
/// follow each other. A producer that the partition does not know may start anywhere.
pub fn check_sequence(state: Option<&ProducerState>, p: &BatchProducer, records: i32) -> Verdict {
    let Some(state) = state else {
        return Verdict::Next;
    };
    if p.epoch < state.epoch {
        return Verdict::Refused(Refusal::InvalidProducerEpoch);
    }
    if p.epoch > state.epoch {
        return match p.base_sequence {
            0 => Verdict::Next,
            _ => Verdict::Refused(Refusal::OutOfOrderSequence),
        };
    }
    if let Some(same) = state.duplicate_of(p, records) {
        return Verdict::Duplicate(*same);
    }
    // After a marker that began its epoch, and before its first batch, the sequence is 0.
    let next = state
        .batches
        .back()
        .map_or(0, |last| sequence_add(last.last_sequence, 1));
    match next == p.base_sequence {
        true => Verdict::Next,
        false => Verdict::Refused(Refusal::OutOfOrderSequence),
    }
}

/// The rules for a batch that was acknowledged before (acks=1) and comes back from the WAL after its lease was lost: it was
/// promised, so neither a gap nor a newer epoch refuses it; only one that is stored already is left out (DESIGN 2). Stored is
/// what lies between the first and the last sequence of its epoch: a producer whose state was unknown here may have gone on
/// elsewhere with a later batch, which says nothing of this one.
pub fn check_replayed(state: Option<&ProducerState>, p: &BatchProducer, records: i32) -> Verdict {
    let Some(state) = state else {
        return Verdict::Next;
    };
    match (
        p.epoch.cmp(&state.epoch),
        state.batches.back(),
        state.previous,
    ) {
        (Ordering::Greater, ..) | (_, None, _) => Verdict::Next,
        (Ordering::Less, Some(last), Some((epoch, first, end)))
            if epoch == p.epoch && lies_between(p.base_sequence, first, end) =>
        {
            Verdict::Duplicate(*last)
        }
        (Ordering::Less, ..) => Verdict::Apart,
        (Ordering::Equal, Some(last), _) => {
            if let Some(same) = state.duplicate_of(p, records) {
                Verdict::Duplicate(*same)
            } else if lies_between(p.base_sequence, state.first_sequence, last.last_sequence) {
                Verdict::Duplicate(*last)
            } else if sequence_add(last.last_sequence, 1) == p.base_sequence {
                Verdict::Next
            } else {
                Verdict::Apart
            }
        }
    }
}

/// Is `n` among the sequences from `first` to `last`, on the circle of sequence numbers?
fn lies_between(n: i32, first: i32, last: i32) -> bool {
    let after_first = |n: i32| (i64::from(n) - i64::from(first)).rem_euclid(1 << 31);
    after_first(n) <= after_first(last)
}

impl ProducerState {
    /// Has the producer been silent for so long that the partition forgets it (`producer.id.expiration.ms`)? It may then begin
    /// with any sequence.
    pub fn is_expired(&self, now_ms: i64, expiry_ms: i64) -> bool {
        let patience_ms = match mutant::is("clock_step") {
            true => expiry_ms / 100,
            false => expiry_ms,
        };
        now_ms.saturating_sub(self.updated_ms) > patience_ms
    }

    fn duplicate_of(&self, p: &BatchProducer, records: i32) -> Option<&BatchRecord> {
        let last = sequence_add(p.base_sequence, records - 1);
        self.batches
            .iter()
            .chain(&self.apart)
            .find(|b| b.base_sequence == p.base_sequence && b.last_sequence == last)
    }

    /// The state after `batch` was stored under `epoch`. A replayed batch of an older epoch leaves it as it is.
    pub fn after(
        state: Option<ProducerState>,
        epoch: ProducerEpoch,
        batch: BatchRecord,
        now_ms: i64,
    ) -> ProducerState {
        let mut next = match state {
            Some(state) if state.epoch > epoch => return state,
            Some(state) if state.epoch == epoch => state,
            old => ProducerState {
                epoch,
                batches: VecDeque::new(),
                apart: Vec::new(),
                first_sequence: batch.base_sequence,
                previous: old.as_ref().and_then(ProducerState::stored),
                updated_ms: now_ms,
                coordinator_epoch: old.map_or(-1, |s| s.coordinator_epoch),
            },
        };
        next.push(batch);
        next.updated_ms = now_ms;
        next
    }

    /// What was stored of its epoch: the number, first and last sequence.
    fn stored(&self) -> Option<(ProducerEpoch, i32, i32)> {
        Some((
            self.epoch,
            self.first_sequence,
            self.batches.back()?.last_sequence,
        ))
    }

    /// The state after a transaction marker of `epoch`: **a marker raises the epoch**, and fences those before it (KIP-98).
    pub fn after_marker(
        state: Option<ProducerState>,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        now_ms: i64,
    ) -> ProducerState {
        match state {
            Some(state) if state.epoch >= epoch => ProducerState {
                coordinator_epoch,
                updated_ms: now_ms,
                ..state
            },
            old => ProducerState {
                epoch,
                batches: VecDeque::new(),
                apart: Vec::new(),
                first_sequence: 0,
                previous: old.as_ref().and_then(ProducerState::stored),
                updated_ms: now_ms,
                coordinator_epoch,
            },
        }
    }

    /// The newest batch, and those apart that follow it without a gap.
    fn push(&mut self, batch: BatchRecord) {
        let mut newest = Some(batch);
        while let Some(batch) = newest {
            if self.batches.len() == PRODUCER_BATCHES_KEPT {
                self.batches.pop_front();
            }
            self.batches.push_back(batch);
            let follows = |b: &BatchRecord| b.base_sequence == sequence_add(batch.last_sequence, 1);
            newest = self
                .apart
                .iter()
                .position(follows)
                .map(|i| self.apart.remove(i));
        }
    }

    /// The state after a batch was stored apart. One of an older epoch need not be remembered: that epoch is fenced.
    pub fn after_apart(mut self, epoch: ProducerEpoch, batch: BatchRecord) -> ProducerState {
        if epoch == self.epoch {
            if self.apart.len() == APART_KEPT {
                self.apart.remove(0);
            }
            self.apart.push(batch);
        }
        self
    }

    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.updated_ms.to_be_bytes());
        out.extend(self.first_sequence.to_be_bytes());
        let (epoch, first, last) = self.previous.unwrap_or((-1, 0, 0));
        out.extend(epoch.to_be_bytes());
        out.extend(first.to_be_bytes());
        out.extend(last.to_be_bytes());
        put_batches(&mut out, self.batches.iter());
        put_batches(&mut out, self.apart.iter());
        out.extend(self.coordinator_epoch.to_be_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<ProducerState, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("producer row"))
    }

    fn read(r: &mut Reader<'_>) -> Option<ProducerState> {
        let format = r.u8()?;
        (1..=FORMAT).contains(&format).then_some(())?;
        let epoch = r.i16()?;
        let updated_ms = r.i64()?;
        let first_sequence = r.i32()?;
        let previous = Some((r.i16()?, r.i32()?, r.i32()?)).filter(|(epoch, ..)| *epoch >= 0);
        let batches = read_batches(r)?.into();
        let apart = read_batches(r)?;
        let coordinator_epoch = if format > 1 { r.i32()? } else { -1 };
        r.end(ProducerState {
            epoch,
            batches,
            apart,
            first_sequence,
            previous,
            updated_ms,
            coordinator_epoch,
        })
    }
}

/// Format 1 did not know of transaction markers.
const FORMAT: u8 = 2;
/// Batches apart that are remembered: more gaps than a client can have in flight are no client's.
const APART_KEPT: usize = 32;

fn put_batches<'a>(out: &mut Vec<u8>, batches: impl ExactSizeIterator<Item = &'a BatchRecord>) {
    out.push(batches.len() as u8);
    for b in batches {
        out.extend(b.base_sequence.to_be_bytes());
        out.extend(b.last_sequence.to_be_bytes());
        out.extend(b.base_offset.to_be_bytes());
        out.extend(b.last_offset.to_be_bytes());
        out.extend(b.max_timestamp.to_be_bytes());
    }
}

fn read_batches(r: &mut Reader<'_>) -> Option<Vec<BatchRecord>> {
    let mut batches = Vec::new();
    for _ in 0..r.u8()? {
        batches.push(BatchRecord {
            base_sequence: r.i32()?,
            last_sequence: r.i32()?,
            base_offset: r.i64()?,
            last_offset: r.i64()?,
            max_timestamp: r.i64()?,
        });
    }
    Some(batches)
}

#[cfg(test)]
mod tests {
    use sh_base::ProducerId;

    use super::*;

    fn batch(epoch: i16, base_sequence: i32) -> BatchProducer {
        BatchProducer {
            id: ProducerId(1),
            epoch,
            base_sequence,
        }
    }

    /// A producer of epoch 3 that has stored batches of ten records up to `last`.
    fn state(batches: i32, first: i32) -> ProducerState {
        let mut state = None;
        for i in 0..batches {
            let base = sequence_add(first, i * 10);
            let record = BatchRecord {
                base_sequence: base,
                last_sequence: sequence_add(base, 9),
                base_offset: i64::from(i) * 10,
                last_offset: i64::from(i) * 10 + 9,
                max_timestamp: 0,
            };
            state = Some(ProducerState::after(state, 3, record, 7));
        }
        state.unwrap()
    }

    #[test]
    fn five_batches_are_remembered_and_older_ones_are_out_of_order() {
        let s = state(7, 0);
        assert_eq!(ProducerState::decode(&s.encode()), Ok(s.clone()));
        assert_eq!(s.batches.len(), 5);
        assert!(
            matches!(check_sequence(Some(&s), &batch(3, 20), 10), Verdict::Duplicate(b) if b.base_offset == 20)
        );
        assert_eq!(
            check_sequence(Some(&s), &batch(3, 10), 10),
            Verdict::Refused(Refusal::OutOfOrderSequence)
        );
        assert_eq!(check_sequence(Some(&s), &batch(3, 70), 10), Verdict::Next);
        assert_eq!(
            check_sequence(Some(&s), &batch(3, 71), 10),
            Verdict::Refused(Refusal::OutOfOrderSequence)
        );
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() {
        let s = state(1, 0);
        assert_eq!(check_sequence(Some(&s), &batch(4, 0), 1), Verdict::Next);
        assert_eq!(
            check_sequence(Some(&s), &batch(4, 1), 1),
            Verdict::Refused(Refusal::OutOfOrderSequence)
        );
        assert_eq!(
            check_sequence(Some(&s), &batch(2, 10), 1),
            Verdict::Refused(Refusal::InvalidProducerEpoch)
        );
        assert_eq!(check_sequence(None, &batch(0, 500), 1), Verdict::Next);
    }

    #[test]
    fn a_silent_producer_is_forgotten() {
        let s = state(1, 0);
        assert!(!s.is_expired(7 + 1000, 1000));
        assert!(s.is_expired(7 + 1001, 1000));
        assert!(
            !s.is_expired(0, 1000),
            "a clock that went back forgets nobody"
        );
    }

    #[test]
    fn a_marker_of_a_later_epoch_fences_what_came_before_it() {
        let s = ProducerState::after_marker(Some(state(2, 0)), 4, 0, 9);
        assert_eq!(ProducerState::decode(&s.encode()), Ok(s.clone()));
        assert_eq!(
            (s.epoch, s.coordinator_epoch, s.previous),
            (4, 0, Some((3, 0, 19)))
        );
        assert_eq!(
            check_sequence(Some(&s), &batch(3, 20), 1),
            Verdict::Refused(Refusal::InvalidProducerEpoch)
        );
        assert_eq!(
            check_sequence(Some(&s), &batch(4, 20), 1),
            Verdict::Refused(Refusal::OutOfOrderSequence)
        );
        assert_eq!(check_sequence(Some(&s), &batch(4, 0), 1), Verdict::Next);
    }

    #[test]
    fn a_marker_of_the_same_epoch_lets_the_sequence_go_on() {
        let s = ProducerState::after_marker(Some(state(2, 0)), 3, 0, 9);
        assert_eq!(check_sequence(Some(&s), &batch(3, 20), 1), Verdict::Next);
    }

    #[test]
    fn sequences_wrap() {
        let s = state(1, i32::MAX - 9);
        assert_eq!(s.batches[0].last_sequence, i32::MAX);
        assert_eq!(check_sequence(Some(&s), &batch(3, 0), 1), Verdict::Next);
    }

    #[test]
    fn a_gap_that_is_filled_joins_what_was_stored_apart() {
        let record = |base: i32| BatchRecord {
            base_sequence: base,
            last_sequence: base + 9,
            base_offset: 500,
            last_offset: 509,
            max_timestamp: 0,
        };
        let s = state(2, 0).after_apart(3, record(30));
        assert_eq!(ProducerState::decode(&s.encode()), Ok(s.clone()));
        assert!(matches!(
            check_sequence(Some(&s), &batch(3, 30), 10),
            Verdict::Duplicate(_)
        ));
        let s = ProducerState::after(Some(s), 3, record(20), 9);
        assert!(s.apart.is_empty());
        assert_eq!(check_sequence(Some(&s), &batch(3, 40), 10), Verdict::Next);
    }

    #[test]
    fn a_replayed_batch_is_stored_after_a_gap_but_never_twice() {
        let s = state(7, 50);
        assert_eq!(check_replayed(Some(&s), &batch(3, 120), 10), Verdict::Next);
        assert_eq!(
            check_replayed(Some(&s), &batch(3, 140), 10),
            Verdict::Apart,
            "a gap"
        );
        assert_eq!(
            check_replayed(Some(&s), &batch(3, 40), 10),
            Verdict::Apart,
            "before all that is known"
        );
        assert_eq!(
            check_replayed(Some(&s), &batch(2, 60), 10),
            Verdict::Apart,
            "of an epoch that is unknown"
        );
        for stored in [50, 60, 70, 110] {
            assert!(matches!(
                check_replayed(Some(&s), &batch(3, stored), 10),
                Verdict::Duplicate(_)
            ));
        }
        let record = BatchRecord {
            base_sequence: 0,
            last_sequence: 0,
            base_offset: 70,
            last_offset: 70,
            max_timestamp: 0,
        };
        let next = ProducerState::after(Some(s), 4, record, 8);
        assert!(matches!(
            check_replayed(Some(&next), &batch(3, 60), 10),
            Verdict::Duplicate(_)
        ));
        assert_eq!(
            check_replayed(Some(&next), &batch(3, 120), 10),
            Verdict::Apart
        );
    }
}
