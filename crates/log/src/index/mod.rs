//! The index: which extents hold which offsets, under the chain rule (see [`chain`]), in bounded memory.
pub mod chain;
mod history;
pub mod scan;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sh_base::{Failure, Offset, TopicPartition};
use sh_meta::MetaStore;

use crate::row::Head;
use chain::{Chain, Found};
pub use chain::{Heard, Known, PartChange, Standing};
use history::History;

/// What a reader at an offset gets: the head as of one version, and extents from the one that holds the offset on.
#[derive(Clone, Debug)]
pub struct View {
    pub head: Arc<Head>,
    /// Tiling, in order; they end at the head's next offset, or earlier if there are many. Empty outside of the log.
    pub extents: Vec<Known>,
}

/// The partitions that somebody reads here. One lock, never held across an await.
pub struct Index {
    store: Arc<dyn MetaStore>,
    slots: Mutex<Slots>,
    history: History,
}

struct Slots {
    by_partition: HashMap<TopicPartition, Slot>,
    /// Sum of all weights, and its bound.
    weight: usize,
    weight_max: usize,
    /// Counts uses: the least recently used partition goes first.
    clock: u64,
}

struct Slot {
    chain: Chain,
    used: u64,
    /// Names this slot since it was made or forgotten: it has heard every change since.
    life: u64,
    scanning: Scanning,
}

impl Slot {
    fn new(life: u64) -> Slot {
        Slot {
            chain: Chain::default(),
            used: life,
            life,
            scanning: Scanning::default(),
        }
    }
}

/// Held by the one scan of a partition that is running.
type Scanning = Arc<tokio::sync::Mutex<()>>;

impl Index {
    /// `extents_max`: extents kept in memory, of all partitions together (about 150 bytes each).
    pub fn new(store: Arc<dyn MetaStore>, extents_max: usize) -> Index {
        let slots = Slots {
            by_partition: HashMap::new(),
            weight: 0,
            weight_max: extents_max,
            clock: 0,
        };
        Index {
            history: History::new(store.clone(), extents_max / 4),
            slots: Mutex::new(slots),
            store,
        }
    }

    /// Is the partition kept here, so that its changes matter?
    pub fn wants(&self, tp: &TopicPartition) -> bool {
        self.slots.lock().by_partition.contains_key(tp)
    }

    /// A change of a partition, in any order. Partitions that nobody reads are not kept.
    pub fn hear(&self, tp: &TopicPartition, change: PartChange) {
        self.slots.lock().update(tp, |slot| slot.chain.hear(change));
    }

    /// Something of the partition was not understood or went missing: it is scanned when it is read next.
    pub fn forget(&self, tp: &TopicPartition) {
        self.slots.lock().forget(tp);
        self.history.forget(tp);
    }

    /// Changes were missed, and nobody knows of which partitions.
    pub fn forget_all(&self) {
        let mut slots = self.slots.lock();
        let all: Vec<TopicPartition> = slots.by_partition.keys().copied().collect();
        all.iter().for_each(|tp| slots.forget(tp));
        drop(slots);
        self.history.forget_all();
    }

    /// The newest head that was heard of here: no end for anybody, as it may be behind (model: `aw_cache_end`).
    pub fn heard_head(&self, tp: &TopicPartition) -> Option<Arc<Head>> {
        let slots = self.slots.lock();
        slots.by_partition.get(tp)?.chain.head().cloned()
    }

    /// How the chain stands against somebody who knows of the next offset `seen`.
    pub fn standing(&self, tp: &TopicPartition, seen: Offset) -> Standing {
        let slots = self.slots.lock();
        let slot = slots.by_partition.get(tp);
        slot.map_or(Standing::MayBePast, |slot| slot.chain.standing(seen))
    }

    /// What a reader at `offset` gets. The store is read where the chain does not reach, so a view that does not hold the
    /// offset is the truth.
    pub async fn view(&self, tp: TopicPartition, offset: Offset) -> Result<View, Failure> {
        if let Some(view) = self.try_view(tp, offset).await? {
            return Ok(view);
        }
        // Older extents were deleted since the head was heard of: it is read anew.
        self.forget(&tp);
        let view = self.try_view(tp, offset).await?;
        view.ok_or_else(|| scan::torn(tp))
    }

    async fn try_view(&self, tp: TopicPartition, offset: Offset) -> Result<Option<View>, Failure> {
        match self.find(tp, offset).await? {
            Found::Here { head, extents } => Ok(Some(View { head, extents })),
            Found::Older { head, from } => {
                let extents = self.history.extents(tp, offset, from).await?;
                let holds = extents.first().is_some_and(|k| k.base <= offset);
                Ok(holds.then_some(View { head, extents }))
            }
        }
    }

    async fn find(&self, tp: TopicPartition, offset: Offset) -> Result<Found, Failure> {
        let (found, scanning) = self.look(tp, offset);
        if let Some(found) = found {
            return Ok(found);
        }
        let _alone = scanning.lock().await;
        match self.look(tp, offset).0 {
            Some(found) => Ok(found),
            None => self.scan(tp, offset).await,
        }
    }

    fn look(&self, tp: TopicPartition, offset: Offset) -> (Option<Found>, Scanning) {
        let mut slots = self.slots.lock();
        let slot = slots.slot(tp);
        (slot.chain.look(offset), slot.scanning.clone())
    }

    /// Reads the store, keeps what it says, and looks at exactly that.
    async fn scan(&self, tp: TopicPartition, offset: Offset) -> Result<Found, Failure> {
        metrics::counter!("streamhouse_index_scans_total").increment(1);
        let life = self.slots.lock().slot(tp).life;
        let scan = scan::read_snapshot(&*self.store, tp).await?;
        let found = scan.look(offset);
        self.slots.lock().update(&tp, |slot| {
            // SUBTLE: a slot that was let go or forgotten meanwhile has not heard what was committed after this scan.
            if slot.life == life {
                slot.chain.install(scan);
            }
        });
        Ok(found)
    }
}

impl Slots {
    /// The partition's slot, made if need be, and marked as used.
    fn slot(&mut self, tp: TopicPartition) -> &mut Slot {
        self.clock += 1;
        let life = self.clock;
        let slot = self.by_partition.entry(tp).or_insert_with(|| {
            let slot = Slot::new(life);
            self.weight += slot.chain.weight();
            slot
        });
        slot.used = self.clock;
        slot
    }

    /// Changes a slot that is kept, and keeps the sum of weights.
    fn update(&mut self, tp: &TopicPartition, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.by_partition.get_mut(tp) else {
            return;
        };
        let before = slot.chain.weight();
        change(slot);
        self.weight = self.weight - before + slot.chain.weight();
        if self.weight > self.weight_max {
            self.evict();
        }
    }

    fn forget(&mut self, tp: &TopicPartition) {
        self.clock += 1;
        let life = self.clock;
        self.update(tp, |slot| {
            slot.chain = Chain::default();
            slot.life = life;
        });
    }

    /// Lets the least recently used partitions go, a tenth of all memory at once, so that it is seldom done.
    fn evict(&mut self) {
        let mut by_use: Vec<(u64, TopicPartition)> = self
            .by_partition
            .iter()
            .map(|(tp, slot)| (slot.used, *tp))
            .collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        let goal = self.weight_max - self.weight_max / 10;
        // The newest stays: it is the one that is being read.
        by_use.pop();
        for (_, tp) in by_use {
            if self.weight <= goal {
                break;
            }
            if let Some(slot) = self.by_partition.remove(&tp) {
                self.weight -= slot.chain.weight();
            }
        }
    }
}
