//! Long polls: who waits for a partition to grow.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sh_base::{Offset, TopicPartition};
use tokio::sync::Notify;

/// Everybody who waits, by partition.
#[derive(Default)]
pub struct Waiters {
    by_partition: Mutex<HashMap<TopicPartition, Vec<Waiting>>>,
    waiting: AtomicUsize,
    /// Somebody has begun to wait.
    began: Notify,
}

/// The next offset that was seen, and whom to wake when there is a greater one.
type Waiting = (Offset, Arc<Notify>);

/// Resolves when one of its partitions may have an offset past the one that was named. Spurious wake-ups are possible; read,
/// and wait again. Waiting ends when this is dropped.
pub struct Waiter {
    waiters: Arc<Waiters>,
    partitions: Vec<TopicPartition>,
    woken: Arc<Notify>,
}

impl Waiters {
    /// `seen`: partitions, and the next offset that the caller knows of each.
    pub fn wait(self: &Arc<Self>, seen: &[(TopicPartition, Offset)]) -> Waiter {
        let woken = Arc::new(Notify::new());
        let mut by_partition = self.by_partition.lock();
        for (tp, next) in seen {
            by_partition
                .entry(*tp)
                .or_default()
                .push((*next, woken.clone()));
        }
        drop(by_partition);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.began.notify_one();
        Waiter {
            waiters: self.clone(),
            partitions: seen.iter().map(|(tp, _)| *tp).collect(),
            woken,
        }
    }

    /// A partition's next offset is now `next` (or it changed in a way that everybody must see: `Offset::MAX`).
    pub fn wake(&self, tp: &TopicPartition, next: Offset) {
        let by_partition = self.by_partition.lock();
        for (seen, woken) in by_partition.get(tp).into_iter().flatten() {
            if *seen < next {
                woken.notify_one();
            }
        }
    }

    /// Wakes everybody: changes were missed.
    pub fn wake_all(&self) {
        let by_partition = self.by_partition.lock();
        by_partition
            .values()
            .flatten()
            .for_each(|(_, woken)| woken.notify_one());
    }

    pub fn anybody(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Resolves when somebody begins to wait.
    pub async fn began(&self) {
        self.began.notified().await;
    }
}

impl Waiter {
    /// Resolves at once if it was woken since it was made, or since the last call.
    pub async fn wait(&self) {
        self.woken.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut by_partition = self.waiters.by_partition.lock();
        for tp in &self.partitions {
            let Some(list) = by_partition.get_mut(tp) else {
                continue;
            };
            list.retain(|(_, woken)| !Arc::ptr_eq(woken, &self.woken));
            if list.is_empty() {
                by_partition.remove(tp);
            }
        }
    }
}
