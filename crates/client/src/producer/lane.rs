//! The batches of one partition, in order.
use std::collections::VecDeque;

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::accumulator::Outcome;

/// A batch as it goes over the wire.
pub(super) struct Sealed {
    /// Its place in the lane: retries go back to it.
    pub ordinal: u64,
    pub bytes: Bytes,
    pub since: Instant,
    pub outcome: watch::Sender<Outcome>,
    pub buffered: usize,
    pub tried: bool,
}

/// *Invariant:* `ready` is sorted by ordinal. While its first batch is one that failed before, nothing else is in flight, so
/// that a retry does not overtake or get overtaken. Nor before the first answer: a broker takes the first sequence of an
/// unknown producer as it comes, and a second batch would be taken for the first if that one had to be sent again.
#[derive(Default)]
pub(super) struct Lane {
    pub ready: VecDeque<Sealed>,
    pub in_flight: usize,
    pub next_ordinal: u64,
    pub next_sequence: i32,
    pub not_before: Option<Instant>,
    /// Whether the leader has stored a batch of this lane.
    pub known: bool,
}

impl Lane {
    pub fn may_send(&self, now: Instant) -> bool {
        let paused = self.not_before.is_some_and(|at| at > now);
        let alone = self
            .ready
            .front()
            .is_some_and(|b| !b.tried || self.in_flight == 0);
        alone && !paused
    }

    pub fn put_back(&mut self, mut batch: Sealed, not_before: Instant) {
        batch.tried = true;
        let at = self.ready.partition_point(|b| b.ordinal < batch.ordinal);
        self.ready.insert(at, batch);
        self.not_before = Some(not_before);
    }

    /// Whether an earlier batch of this lane has no outcome yet (so that a gap before this one is not the last word).
    pub fn has_earlier(&self, ordinal: u64) -> bool {
        self.in_flight > 0 || self.ready.front().is_some_and(|b| b.ordinal < ordinal)
    }
}
