//! What the disk of a WAL does: it is slow, full, fails an fsync, and tears what was not synced.
use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use sh_log::wal::memory::{DiskLiar, Torn, WriteFate};
use tokio::time::sleep;

use super::{life::Life, world::World};
use crate::torture::chance::Chance;

pub struct SimDiskLiar {
    world: Arc<World>,
    life: Arc<Life>,
    chance: Mutex<Chance>,
}

impl SimDiskLiar {
    pub fn new(world: &Arc<World>, life: &Arc<Life>) -> SimDiskLiar {
        let number = life.host as u64 * 1000 + u64::from(life.number);
        SimDiskLiar {
            world: world.clone(),
            life: life.clone(),
            chance: Mutex::new(world.chance(3, number)),
        }
    }
}

#[async_trait]
impl DiskLiar for SimDiskLiar {
    async fn write(&self, bytes: usize) -> WriteFate {
        self.life.point("before a write of the WAL").await;
        let slow = self.chance.lock().below(8) == 0;
        let most = if slow { 200 } else { 4 };
        let takes = self.chance.lock().millis(0, most);
        sleep(takes).await;
        self.life.pass().await;
        let host = &self.world.hosts[self.life.host];
        let calm = self.world.is_calm();
        let name = self.life.name();
        if !calm && host.fail_sync.swap(false, Ordering::Relaxed) {
            self.world.note(|| format!("{name}: an fsync fails"));
            return WriteFate::Failed;
        }
        if !calm && host.full.load(Ordering::Relaxed) {
            self.world.note(|| format!("{name}: the disk is full"));
            return WriteFate::Full;
        }
        self.world
            .note(|| format!("{name}: {bytes} bytes of WAL synced"));
        WriteFate::Synced
    }

    async fn synced(&self) {
        self.life.point("after a write of the WAL").await;
    }
}

/// What is left of a write that was never synced: nothing, a part, all, or a part that begins late.
pub fn tear(size: usize, chance: &mut Chance) -> Torn {
    let to = chance.below(size + 1);
    match chance.below(4) {
        0 => Torn { from: 0, to: 0 },
        1 => Torn { from: 0, to: size },
        2 => Torn { from: 0, to },
        _ => Torn {
            from: chance.below(to + 1),
            to,
        },
    }
}
