//! What all parts of a simulated world share: time, the stores as they really are, the hosts, and what was seen.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sh_base::{AgentId, Clock, Env, Rng};
use sh_blob::MemoryBucket;
use sh_log::wal::memory::MemoryDisk;
use sh_meta::MemoryStore;
use tokio::{sync::Notify, time::Instant};

use super::{
    groups::Groups, late::LateUpdates, life::Life, plan::Plan, reads::Reads,
    transactions::Transactions,
};
use crate::torture::{chance::Chance, history::History};

/// The wall clock at the beginning, milliseconds since the epoch.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

/// The one topic of the world.
pub const TOPIC: &str = "t";

pub struct World {
    pub plan: Plan,
    pub begun: Instant,
    pub bucket: MemoryBucket,
    pub store: MemoryStore,
    pub late: LateUpdates,
    pub hosts: Vec<Host>,
    /// No more faults.
    pub calm: AtomicBool,
    pub history: Mutex<History>,
    pub reads: Mutex<Reads>,
    pub transactions: Mutex<Transactions>,
    pub groups: Mutex<Groups>,
    /// For each partition an offset that its end must be past.
    pub durable: Mutex<BTreeMap<i32, i64>>,
    /// Crash points that were passed.
    pub points: AtomicU64,
    sources: AtomicU32,
    story: Mutex<Story>,
}

/// A machine that agents live on, one after the other.
pub struct Host {
    pub number: usize,
    pub disk: MemoryDisk,
    /// What its disk remembers of who it is.
    pub id: Mutex<Option<AgentId>>,
    pub life: Mutex<Option<Arc<Life>>>,
    pub lives: AtomicU32,
    pub skew_ms: AtomicI64,
    pub full: AtomicBool,
    pub fail_sync: AtomicBool,
    /// Until when it does not reach a store, milliseconds of virtual time.
    pub cut_bucket: AtomicU64,
    pub cut_store: AtomicU64,
    /// The most that requests held in memory, bytes.
    pub memory_most: AtomicUsize,
    pub pause: Pause,
}

/// Whether an agent is held still. Those who wait go on in the order they came.
#[derive(Default)]
pub struct Pause {
    held: AtomicBool,
    ended: Notify,
}

impl Pause {
    pub fn begin(&self) {
        self.held.store(true, Ordering::Relaxed);
    }
    pub fn end(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.ended.notify_waiters();
    }
    /// Returns while nobody holds it.
    pub async fn over(&self) {
        loop {
            let ended = self.ended.notified();
            if !self.held.load(Ordering::Relaxed) {
                return;
            }
            ended.await;
        }
    }
}

/// What happened, in order.
#[derive(Default)]
struct Story {
    told: bool,
    lines: Vec<String>,
}

impl World {
    /// `told`: the story is written down. (A run does the same without.)
    pub fn new(plan: Plan, told: bool) -> Arc<World> {
        let begun = Instant::now();
        let env = Env {
            clock: Arc::new(SimClock { begun, host: None }),
            rng: Arc::new(SimRng::new(plan.seed)),
        };
        let hosts = (0..plan.agents).map(Host::new).collect();
        let story = Mutex::new(Story {
            told,
            ..Story::default()
        });
        Arc::new(World {
            plan,
            begun,
            bucket: MemoryBucket::new(&env),
            store: MemoryStore::new("simulated"),
            late: LateUpdates::default(),
            hosts,
            calm: AtomicBool::new(false),
            history: Mutex::default(),
            reads: Mutex::default(),
            transactions: Mutex::default(),
            groups: Mutex::default(),
            durable: Mutex::default(),
            points: AtomicU64::new(0),
            sources: AtomicU32::new(0),
            story,
        })
    }

    pub fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    pub fn wall_ms(&self) -> i64 {
        EPOCH_MS + self.now_ms() as i64
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn new_source(&self) -> u32 {
        self.sources.fetch_add(1, Ordering::Relaxed)
    }

    /// A stream of chance of its own for each purpose.
    pub fn chance(&self, purpose: u64, number: u64) -> Chance {
        let mixed = self.plan.seed ^ purpose << 48 ^ number << 24;
        Chance::new(mixed).fork()
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        let mut story = self.story.lock();
        if story.told {
            let ms = self.now_ms();
            let line = format!("{:>4}.{:03} {}", ms / 1000, ms % 1000, line());
            story.lines.push(line);
        }
    }

    pub fn take_story(&self) -> Vec<String> {
        std::mem::take(&mut self.story.lock().lines)
    }

    /// What an agent on this host may know of the world.
    pub fn env(self: &Arc<World>, host: usize, life: u32) -> Env {
        let clock = SimClock {
            begun: self.begun,
            host: Some((self.clone(), host)),
        };
        let seed = self.chance(1, host as u64 * 1000 + u64::from(life)).next();
        Env {
            clock: Arc::new(clock),
            rng: Arc::new(SimRng::new(seed)),
        }
    }

    /// The end of a partition is now known to be at least this.
    pub fn must_be_past(&self, partition: i32, end: i64) {
        let mut durable = self.durable.lock();
        let known = durable.entry(partition).or_default();
        *known = end.max(*known);
    }

    pub fn least_end(&self, partition: i32) -> i64 {
        self.durable.lock().get(&partition).copied().unwrap_or(0)
    }
}

impl Host {
    fn new(number: usize) -> Host {
        Host {
            number,
            disk: MemoryDisk::default(),
            id: Mutex::default(),
            life: Mutex::default(),
            lives: AtomicU32::new(0),
            skew_ms: AtomicI64::new(0),
            full: AtomicBool::new(false),
            fail_sync: AtomicBool::new(false),
            cut_bucket: AtomicU64::new(0),
            cut_store: AtomicU64::new(0),
            memory_most: AtomicUsize::new(0),
            pause: Pause::default(),
        }
    }

    /// The life that serves here now.
    pub fn alive(&self) -> Option<Arc<Life>> {
        self.life.lock().clone().filter(|life| !life.is_dead())
    }
}

struct SimClock {
    begun: Instant,
    host: Option<(Arc<World>, usize)>,
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        let skew = self.host.as_ref().map_or(0, |(world, host)| {
            world.hosts[*host].skew_ms.load(Ordering::Relaxed)
        });
        EPOCH_MS + self.begun.elapsed().as_millis() as i64 + skew
    }
    fn mono(&self) -> Duration {
        self.begun.elapsed()
    }
}

struct SimRng(Mutex<Chance>);

impl SimRng {
    fn new(seed: u64) -> SimRng {
        SimRng(Mutex::new(Chance::new(seed)))
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        self.0.lock().next()
    }
}
