//! What callers put in and the sender takes out: one open batch per partition.
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sh_base::batch::BatchBuilder;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use super::{Delivery, ProducerOptions, ProducerRecord};
use crate::{Error, Result};

pub(super) type Place = (Arc<str>, i32);

/// What became of a batch.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Pending,
    /// -1 where the broker did not say.
    Written {
        base_offset: i64,
    },
    Failed(Arc<Error>),
}

/// A batch that takes records.
pub(super) struct OpenBatch {
    pub builder: BatchBuilder,
    pub since: Instant,
    pub outcome: watch::Sender<Outcome>,
    /// What its records hold of the buffer.
    pub buffered: usize,
}

#[derive(Default)]
struct Slot {
    full: VecDeque<OpenBatch>,
    open: Option<OpenBatch>,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Place, Slot>,
    sticky: HashMap<Arc<str>, i32>,
    stopped: Option<String>,
    first_failure: Option<Arc<Error>>,
}

pub(super) struct Accumulator {
    pub options: ProducerOptions,
    inner: Mutex<Inner>,
    /// Tells the sender that there may be something to do.
    pub wake: Notify,
    room: Semaphore,
    /// Batches without an outcome.
    pending: watch::Sender<usize>,
    flushing: AtomicUsize,
}

impl Accumulator {
    pub fn new(options: ProducerOptions) -> Accumulator {
        Accumulator {
            room: Semaphore::new(options.buffer_bytes),
            options,
            inner: Mutex::default(),
            wake: Notify::new(),
            pending: watch::Sender::new(0),
            flushing: AtomicUsize::new(0),
        }
    }

    /// The partition that keyless records of a topic go to at the moment.
    pub fn sticky(&self, topic: &Arc<str>, partitions: i32) -> i32 {
        let mut inner = self.inner.lock();
        *inner.sticky.entry(topic.clone()).or_default() % partitions.max(1)
    }

    pub async fn append(&self, partition: i32, record: ProducerRecord) -> Result<Delivery> {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(n, v)| (n.as_ref(), v.as_deref()))
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let size = BatchBuilder::record_size_bound(key, value, &headers);
        self.take_room(size).await?;
        let mut inner = self.inner.lock();
        if let Some(why) = &inner.stopped {
            return Err(Error::ProducerClosed(why.clone()));
        }
        let slot = inner
            .slots
            .entry((record.topic.clone(), partition))
            .or_default();
        let crowded = |open: &mut OpenBatch| {
            open.builder.uncompressed_size() + size > self.options.batch_bytes
        };
        let full = slot.open.take_if(crowded);
        let turned = full.is_some();
        slot.full.extend(full);
        let fresh = slot.open.is_none();
        let open = slot.open.get_or_insert_with(|| self.open());
        let index = i64::from(open.builder.count());
        open.builder.push(record.timestamp, key, value, &headers);
        open.buffered += size;
        let outcome = open.outcome.subscribe();
        if turned {
            let next = inner.sticky.entry(record.topic.clone()).or_default();
            *next = (*next + 1) & i32::MAX;
        }
        drop(inner);
        if fresh || turned {
            self.wake.notify_one();
        }
        Ok(Delivery {
            outcome,
            partition,
            index,
        })
    }

    /// All batches that are full, old enough, or wanted by a flush; and when the next one will be old enough.
    pub fn take_ripe(&self, now: Instant) -> (Vec<(Place, OpenBatch)>, Option<Instant>) {
        let flushing = self.flushing.load(Ordering::Acquire) > 0;
        let mut ripe = Vec::new();
        let mut next = None;
        for (place, slot) in &mut self.inner.lock().slots {
            let taken = slot.full.drain(..);
            ripe.extend(taken.map(|batch| (place.clone(), batch)));
            let due = slot
                .open
                .as_ref()
                .map(|open| open.since + self.options.linger);
            match due {
                Some(due) if flushing || due <= now => {
                    ripe.extend(slot.open.take().map(|batch| (place.clone(), batch)));
                }
                Some(due) => next = Some(next.map_or(due, |n: Instant| n.min(due))),
                None => {}
            }
        }
        (ripe, next)
    }

    /// Tells everybody what became of a batch, and gives its room back.
    pub fn settle(&self, outcome: &watch::Sender<Outcome>, buffered: usize, result: Result<i64>) {
        let told = match result {
            Ok(base_offset) => Outcome::Written { base_offset },
            Err(error) => {
                let error = Arc::new(error);
                self.inner
                    .lock()
                    .first_failure
                    .get_or_insert_with(|| error.clone());
                Outcome::Failed(error)
            }
        };
        outcome.send_replace(told);
        self.room.add_permits(buffered);
        self.pending.send_modify(|n| *n -= 1);
    }

    /// No more records are taken; those that wait fail.
    pub fn stop(&self, why: &str) {
        let slots = {
            let mut inner = self.inner.lock();
            inner.stopped.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut inner.slots)
        };
        for batch in slots
            .into_values()
            .flat_map(|s| s.full.into_iter().chain(s.open))
        {
            self.settle(
                &batch.outcome,
                batch.buffered,
                Err(Error::ProducerClosed(why.to_owned())),
            );
        }
    }

    pub async fn flush(&self) -> Result<()> {
        self.flushing.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
        // The sender of `pending` is ours, so the wait cannot fail.
        drop(self.pending.subscribe().wait_for(|n| *n == 0).await);
        self.flushing.fetch_sub(1, Ordering::AcqRel);
        match self.inner.lock().first_failure.take() {
            Some(error) => Err(Error::Undelivered(error)),
            None => Ok(()),
        }
    }

    async fn take_room(&self, size: usize) -> Result<()> {
        let limit = self.options.buffer_bytes;
        let permits = u32::try_from(size).ok().filter(|_| size <= limit);
        let permits = permits.ok_or(Error::RecordTooLarge { bytes: size, limit })?;
        match self.room.acquire_many(permits).await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Error::ProducerClosed("its buffer is closed".into())),
        }
        Ok(())
    }

    fn open(&self) -> OpenBatch {
        self.pending.send_modify(|n| *n += 1);
        OpenBatch {
            builder: BatchBuilder::new(self.options.codec),
            since: Instant::now(),
            outcome: watch::Sender::new(Outcome::Pending),
            buffered: 0,
        }
    }
}
