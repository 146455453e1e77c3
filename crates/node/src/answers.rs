//! The memory that answers to fetches hold until they are sent.
//!
//! Records leave as slices of the cache, so an answer that its client is slow to take keeps objects in memory that the cache has
//! long given up. *Invariant:* all answers together hold no more than a bound, and [`LEAST_BYTES`] (or one batch that is larger)
//! more for each. Nobody waits for room: clients that have stopped must not stop the others.
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is counted in units of this many bytes: a semaphore has 32 bits for one request.
const UNIT: usize = 1024;
/// What an answer may hold however short memory is.
pub const LEAST_BYTES: usize = 1024 * 1024;

/// What all answers share. A cheap handle; all clones are one.
#[derive(Clone, Debug)]
pub struct AnswerMemory {
    free: Arc<Semaphore>,
    units: u32,
}

/// Part of it; given back when dropped.
#[derive(Debug)]
pub struct Room {
    /// What is given back; less than `bytes` where memory was short.
    charged: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl AnswerMemory {
    pub fn new(bytes_max: usize) -> AnswerMemory {
        let units = units(bytes_max);
        AnswerMemory {
            free: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Room for up to `wanted` bytes: as much of it as is free, and [`LEAST_BYTES`] of it in any case.
    pub fn take(&self, wanted: usize) -> Room {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        let charge = units(wanted).min(free);
        // Another answer may have been quicker.
        let charged = self.free.clone().try_acquire_many_owned(charge).ok();
        let charged_bytes = charged.as_ref().map_or(0, |c| c.num_permits() * UNIT);
        Room {
            charged,
            bytes: charged_bytes.max(LEAST_BYTES).min(wanted),
        }
    }

    /// Bytes that answers hold, but for what they hold in any case.
    pub fn in_use(&self) -> usize {
        (self.units as usize).saturating_sub(self.free.available_permits()) * UNIT
    }
}

impl Room {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what an answer of so many bytes does not need.
    pub fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        if let Some(charged) = &mut self.charged {
            let spare = charged.num_permits().saturating_sub(bytes.div_ceil(UNIT));
            drop(charged.split(spare));
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn answers_share_what_there_is_and_the_least_is_granted_always() {
        let memory = AnswerMemory::new(10 * MIB);
        let mut first = memory.take(50 * MIB);
        assert_eq!(first.bytes(), 10 * MIB, "a greedy one gets all there is");
        let second = memory.take(50 * MIB);
        assert_eq!(second.bytes(), LEAST_BYTES);
        first.shrink(4 * MIB);
        let third = memory.take(50 * MIB);
        assert_eq!((first.bytes(), third.bytes()), (4 * MIB, 6 * MIB));
        assert_eq!(memory.take(10).bytes(), 10, "no more than is wanted");
        drop((first, second));
        assert_eq!(memory.in_use(), 6 * MIB);
        drop(third);
        assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn an_answer_without_records_holds_nothing() {
        let memory = AnswerMemory::new(MIB);
        let mut room = memory.take(MIB);
        room.shrink(0);
        assert_eq!(memory.in_use(), 0);
    }
}
