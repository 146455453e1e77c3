//! What the machine knows of one partition it is writing to, and the lease it may hold.
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use sh_base::{
    Failure, Offset, ProducerId,
    batch::{BatchProducer, sequence_add},
};

use super::window::Entry;
use crate::{
    api::{AppendResult, Appended},
    commit::Promise,
    row::{BatchRecord, ProducerState, Verdict, check_replayed, check_sequence},
};

#[derive(Default)]
pub(super) struct Part {
    /// Entries in windows that are not committed.
    pub pending: usize,
    /// Refused for a lease, or brought back by the WAL: they go before anything newer.
    pub redo: VecDeque<Entry>,
    /// Waiting for a lease to come or to go, in order.
    pub parked: VecDeque<Entry>,
    pub lease: LeaseState,
    /// No lease before this moment: another agent wanted the partition.
    pub pause_until: Duration,
}

#[derive(Default)]
pub(super) enum LeaseState {
    #[default]
    None,
    /// To be taken once the agent's own earlier windows of the partition are committed (model: `bug_lease_early`).
    Wanted,
    Taking,
    Held(HeldLease),
    /// Another agent wants the partition: what was assigned is committed first.
    GivingUp(u64),
    Releasing,
    /// Another agent holds a lease; somebody is waiting for its end.
    Foreign,
}

/// The right to hand out a partition's offsets, with everything that has to be checked before.
#[derive(Clone, Debug)]
pub struct HeldLease {
    pub epoch: u64,
    pub next_offset: Offset,
    pub log_start: Offset,
    pub producers: HashMap<ProducerId, ProducerState>,
    pub last_used: Duration,
}

/// What a lease made of a batch.
pub(super) enum Assigned {
    Next,
    /// The answer, which must wait for the commits before it.
    Answer(AppendResult),
}

impl Part {
    /// May nothing be placed now?
    pub fn is_blocked(&self) -> bool {
        !self.redo.is_empty() || !matches!(self.lease, LeaseState::None | LeaseState::Held(_))
    }

    pub fn is_idle(&self, now: Duration) -> bool {
        self.pending == 0
            && self.redo.is_empty()
            && self.parked.is_empty()
            && matches!(self.lease, LeaseState::None)
            && self.pause_until <= now
    }

    pub fn held(&mut self) -> Option<&mut HeldLease> {
        match &mut self.lease {
            LeaseState::Held(lease) => Some(lease),
            _ => None,
        }
    }
}

impl HeldLease {
    /// **Every check comes before the offset**: the holder owns the partition's offsets and producer state.
    pub(super) fn assign(
        &mut self,
        now: Duration,
        (now_ms, expiry_ms): (i64, i64),
        entry: &mut Entry,
    ) -> Assigned {
        self.last_used = now;
        let header = *entry.batch.header();
        if let Some(p) = header.producer {
            let known = self.producers.get(&p.id);
            if known.is_some_and(|s| s.is_expired(now_ms, expiry_ms)) {
                self.producers.remove(&p.id);
            }
            match check_sequence(self.producers.get(&p.id), &p, header.count) {
                Verdict::Duplicate(b) => {
                    return Assigned::Answer(Ok(self.appended(b.base_offset, true)));
                }
                Verdict::Refused(why) => return Assigned::Answer(Err(Failure::from(why.code()))),
                Verdict::Next | Verdict::Apart => {}
            }
        }
        entry.promise = Some(Promise {
            lease_epoch: self.epoch,
            base_offset: self.next_offset,
        });
        self.advance(entry, now_ms, Verdict::Next);
        Assigned::Next
    }

    /// Takes note of a batch that has its offset.
    fn advance(&mut self, entry: &Entry, now_ms: i64, verdict: Verdict) {
        let Some(Promise { base_offset, .. }) = entry.promise else {
            return;
        };
        let header = entry.batch.header();
        self.next_offset = base_offset + entry.batch.offsets();
        if let Some(p) = header.producer {
            let record = BatchRecord {
                base_sequence: p.base_sequence,
                last_sequence: sequence_add(p.base_sequence, header.count - 1),
                base_offset,
                last_offset: self.next_offset - 1,
                max_timestamp: header.max_timestamp,
            };
            let state = match (self.producers.remove(&p.id), verdict) {
                (Some(old), Verdict::Apart) => old.after_apart(p.epoch, record),
                (old, _) => ProducerState::after(old, p.epoch, record, now_ms),
            };
            self.producers.insert(p.id, state);
        }
    }

    /// Takes note of a batch that a former life promised; it will be judged at the commit, by the same rule.
    pub(super) fn restore(&mut self, entry: &Entry, now_ms: i64) {
        let header = entry.batch.header();
        let known = |p: BatchProducer| check_replayed(self.producers.get(&p.id), &p, header.count);
        match header.producer.map(known) {
            Some(Verdict::Duplicate(_)) => {
                let end = entry
                    .promise
                    .map_or(0, |p| p.base_offset + entry.batch.offsets());
                self.next_offset = self.next_offset.max(end);
            }
            verdict => self.advance(entry, now_ms, verdict.unwrap_or(Verdict::Next)),
        }
    }

    pub(super) fn appended(&self, base_offset: Offset, duplicate: bool) -> Appended {
        Appended {
            base_offset,
            log_start: self.log_start,
            duplicate,
        }
    }
}
