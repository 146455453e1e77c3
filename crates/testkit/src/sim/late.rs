//! Updates that the store still runs although nobody waits for them: they hold their locks until they end.
use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use sh_meta::{LaneId, Update};
use tokio::sync::Notify;

/// Those that are under way. Who locks the same rows, or asks about the same request, waits for them.
#[derive(Default)]
pub struct LateUpdates {
    held: Mutex<Held>,
    ended: Notify,
}

#[derive(Default)]
struct Held {
    next: u64,
    by: BTreeMap<u64, (LaneId, BTreeSet<Vec<u8>>)>,
}

fn keys(update: &Update) -> BTreeSet<Vec<u8>> {
    let all = update.locks.iter().chain(&update.shares);
    all.map(|key| key.encode().to_vec()).collect()
}

impl LateUpdates {
    /// Takes the locks of an update for longer than its caller waits.
    pub fn begin(&self, update: &Update) -> u64 {
        let mut held = self.held.lock();
        held.next += 1;
        let number = held.next;
        held.by.insert(number, (update.request.lane, keys(update)));
        number
    }

    pub fn end(&self, number: u64) {
        self.held.lock().by.remove(&number);
        self.ended.notify_waiters();
    }

    /// Waits until all have ended. Says whether there were any.
    pub async fn all_ended(&self) -> bool {
        let mut any = false;
        loop {
            let ended = self.ended.notified();
            if self.held.lock().by.is_empty() {
                return any;
            }
            any = true;
            ended.await;
        }
    }

    /// Waits until no late update stands in the way of this one.
    pub async fn wait(&self, update: &Update) {
        let wanted = keys(update);
        loop {
            let ended = self.ended.notified();
            let stands = |(lane, locks): &(LaneId, BTreeSet<Vec<u8>>)| {
                *lane == update.request.lane || !locks.is_disjoint(&wanted)
            };
            if !self.held.lock().by.values().any(stands) {
                return;
            }
            ended.await;
        }
    }
}
