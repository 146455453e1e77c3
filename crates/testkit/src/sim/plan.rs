//! What happens in a simulated world: decided by a seed, written down, and cut smaller where it fails.
use serde::{Deserialize, Serialize};

use super::{
    groups::GroupPlan,
    transactions::{Flow, TransactionalPlan},
};
use crate::torture::chance::Chance;

/// Everything that a run depends on. The same plan gives the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides what the liars draw; everything else is below.
    pub seed: u64,
    pub agents: usize,
    pub partitions: i32,
    /// How long faults may come, milliseconds of virtual time.
    pub length_ms: u64,
    pub producers: Vec<ProducerPlan>,
    pub consumers: Vec<ConsumerPlan>,
    pub bucket: Lies,
    pub store: Lies,
    pub faults: Vec<Fault>,
    /// Size of a WAL file.
    pub wal_file_bytes: u64,
    /// What an agent caches of objects.
    pub cache_bytes: usize,
    /// What an agent's requests may hold in memory until they are committed.
    #[serde(default = "much_memory")]
    pub memory_bytes: usize,
    /// Numbers of calls at a seam at which the calling agent dies; see [`super::life`].
    #[serde(default)]
    pub crash_points: Vec<CrashPoint>,
    /// Producers with a transactional id, each its own.
    #[serde(default)]
    pub transactional: Vec<TransactionalPlan>,
    #[serde(default)]
    pub groups: Vec<GroupPlan>,
}

/// As much as four small requests take.
const LITTLE_MEMORY: usize = 4 * 1024;

/// As much as no plan's clients can fill.
pub const fn much_memory() -> usize {
    256 << 20
}

/// An agent dies at a call of one of its seams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashPoint {
    /// The how many-th point of the run, from 1.
    pub number: u64,
    /// How long the agent stays away, milliseconds.
    pub down_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerPlan {
    pub acks: AcksPlan,
    pub idempotent: bool,
    pub batches: u32,
    /// Mean time between two batches, milliseconds.
    pub pace_ms: u64,
    /// Batches that may wait for their answer.
    pub in_flight: usize,
    /// Of a hundred batches, after how many it hangs up in the middle.
    pub hangs_up: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcksPlan {
    None,
    Leader,
    All,
    /// Each batch as chance says.
    Mixed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerPlan {
    pub session: bool,
    pub read_committed: bool,
    pub max_bytes: i32,
    /// Of a hundred rounds, after how many it goes to another agent.
    pub wanders: usize,
}

/// Of a thousand calls, how many end so; see [`super::liar`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lies {
    /// Refused at once (503): it did not happen.
    pub refused: usize,
    /// It did not happen, and nobody says so.
    pub request_lost: usize,
    /// It happened, and nobody says so.
    pub reply_lost: usize,
    /// It happens later, when the caller has given up.
    pub late: usize,
    /// It takes seconds.
    pub stalled: usize,
    /// The slowest of the ordinary calls, milliseconds.
    pub slow_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Virtual time since the clients began.
    pub at_ms: u64,
    pub agent: usize,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The process dies; its disk tears the write that was under way.
    Crash { down_ms: u64 },
    /// The machine is lost with its disk; a new agent comes.
    LoseDisk { down_ms: u64 },
    /// A clean stop, and a start.
    Stop { down_ms: u64 },
    /// It does nothing for so long, and does not know.
    Pause { ms: u64 },
    /// Its wall clock jumps, and is now off by so much (less than the hour by which a producer's clock may be ahead).
    Clock { skew_ms: i64 },
    /// It does not reach the bucket.
    CutBucket { ms: u64 },
    /// It does not reach the metadata store.
    CutStore { ms: u64 },
    /// The disk of its WAL is full.
    FullDisk { ms: u64 },
    /// The next fsync of its WAL fails.
    FailSync { down_ms: u64 },
}

impl Plan {
    /// The plan of a seed.
    pub fn of_seed(seed: u64) -> Plan {
        let mut c = Chance::new(seed ^ 0x5EED);
        let agents = c.one_of(&[1, 1, 2, 2, 2, 3, 4]);
        let partitions = 1 + c.below(3) as i32;
        let length_ms = 2_000 + c.next() % 8_000;
        let producers = (0..1 + c.below(4)).map(|_| producer(&mut c)).collect();
        let consumers = (0..1 + c.below(2)).map(|_| consumer(&mut c)).collect();
        let (bucket, store) = (lies(&mut c), lies(&mut c));
        let faults = faults(&mut c, agents, length_ms);
        Plan {
            seed,
            agents,
            partitions,
            length_ms,
            producers,
            consumers,
            bucket,
            store,
            faults,
            wal_file_bytes: c.one_of(&[2_000, 8_000, 64_000]),
            cache_bytes: c.one_of(&[2_000, 64_000, 16_000_000]),
            memory_bytes: much_memory(),
            crash_points: Vec::new(),
            transactional: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// [`Plan::of_seed`] with agents that have memory for a few requests only.
    pub fn of_little_memory(seed: u64) -> Plan {
        Plan {
            memory_bytes: LITTLE_MEMORY,
            ..Plan::of_seed(seed)
        }
    }

    /// The plan of a seed for a world with transactions: fewer other producers, and one read_committed consumer at least.
    pub fn of_transactions(seed: u64) -> Plan {
        let mut c = Chance::new(seed ^ 0x7A11);
        let mut plan = Plan::of_seed(seed);
        plan.producers.truncate(c.below(3));
        plan.length_ms += c.next() % 10_000;
        plan.transactional = (0..1 + c.below(3))
            .map(|_| TransactionalPlan::by_chance(&mut c))
            .collect();
        for fault in &mut plan.faults {
            fault.at_ms = c.next() % plan.length_ms;
        }
        plan.faults.sort_by_key(|f| f.at_ms);
        plan.consumers[0].read_committed = true;
        plan
    }

    /// The plan of a seed for a world with consumer groups.
    pub fn of_groups(seed: u64) -> Plan {
        let mut c = Chance::new(seed ^ 0x6209);
        let mut plan = Plan::of_seed(seed);
        plan.producers.truncate(1);
        plan.length_ms += c.next() % 20_000;
        plan.groups = (0..1 + c.below(2))
            .map(|_| GroupPlan::by_chance(&mut c))
            .collect();
        for fault in &mut plan.faults {
            fault.at_ms = c.next() % plan.length_ms;
        }
        plan.faults.sort_by_key(|f| f.at_ms);
        plan
    }

    /// [`Plan::of_transactions`] with clients of the classic flow, whose flaws are known.
    pub fn of_classic_transactions(seed: u64) -> Plan {
        let mut plan = Plan::of_transactions(seed);
        for transactional in &mut plan.transactional {
            transactional.flow = Flow::Classic;
        }
        plan
    }

    /// May acks=1 records be lost? Only with the disk that they were on.
    pub fn loses_disks(&self) -> bool {
        let lost = |f: &Fault| matches!(f.what, What::LoseDisk { .. });
        self.faults.iter().any(lost)
    }

    /// Plans that are smaller by one thing, the greatest cuts first.
    pub fn smaller(&self) -> Vec<Plan> {
        let mut all = Vec::new();
        let mut cut = |change: &dyn Fn(&mut Plan)| {
            let mut plan = self.clone();
            change(&mut plan);
            if plan != *self {
                all.push(plan);
            }
        };
        cut(&|p| p.faults.clear());
        cut(&|p| p.faults.truncate(p.faults.len() / 2));
        cut(&|p| drop(p.faults.drain(..p.faults.len() / 2)));
        cut(&|p| p.bucket = Lies::default());
        cut(&|p| p.store = Lies::default());
        cut(&|p| p.consumers.clear());
        for n in 0..self.producers.len() {
            cut(&|p| _ = p.producers.remove(n));
        }
        for n in 0..self.faults.len() {
            cut(&|p| _ = p.faults.remove(n));
        }
        for n in 0..self.consumers.len() {
            cut(&|p| _ = p.consumers.remove(n));
        }
        cut(&|p| _ = p.groups.pop());
        for n in 0..self.groups.len() {
            cut(&|p| p.groups[n].members.truncate(1));
            cut(&|p| p.groups[n].goes = 0);
        }
        // The last alone: the others are known by their place.
        cut(&|p| _ = p.transactional.pop());
        for n in 0..self.transactional.len() {
            cut(&|p| p.transactional[n].transactions = 1);
            cut(&|p| p.transactional[n].transactions /= 2);
            cut(&|p| p.transactional[n].copies = false);
            cut(&|p| p.transactional[n].aborts = 0);
            cut(&|p| p.transactional[n].silences = 0);
            cut(&|p| p.transactional[n].replaced = 0);
            cut(&|p| p.transactional[n].late = 0);
        }
        for n in 0..self.producers.len() {
            cut(&|p| p.producers[n].batches /= 2);
            cut(&|p| p.producers[n].hangs_up = 0);
            cut(&|p| p.producers[n].in_flight = 1);
        }
        let last = self.agents - 1;
        if last > 0 && self.faults.iter().all(|f| f.agent != last) {
            cut(&|p| p.agents = last);
        }
        cut(&|p| p.partitions = 1);
        let seams: [fn(&mut Plan) -> &mut Lies; 2] = [|p| &mut p.bucket, |p| &mut p.store];
        for seam in seams {
            cut(&|p| seam(p).refused = 0);
            cut(&|p| seam(p).request_lost = 0);
            cut(&|p| seam(p).reply_lost = 0);
            cut(&|p| seam(p).late = 0);
            cut(&|p| seam(p).stalled = 0);
        }
        cut(&|p| p.memory_bytes = much_memory());
        for n in 0..self.crash_points.len() {
            cut(&|p| _ = p.crash_points.remove(n));
        }
        all
    }
}

fn producer(c: &mut Chance) -> ProducerPlan {
    let idempotent = c.below(2) == 0;
    let acks = match idempotent {
        true => c.one_of(&[AcksPlan::All, AcksPlan::All, AcksPlan::Leader]),
        false => c.one_of(&[
            AcksPlan::None,
            AcksPlan::Leader,
            AcksPlan::Leader,
            AcksPlan::All,
            AcksPlan::Mixed,
        ]),
    };
    ProducerPlan {
        acks,
        idempotent,
        batches: 5 + c.below(30) as u32,
        pace_ms: c.one_of(&[5, 50, 200]),
        in_flight: 1 + c.below(5),
        hangs_up: c.one_of(&[0, 0, 5, 20]),
    }
}

fn consumer(c: &mut Chance) -> ConsumerPlan {
    ConsumerPlan {
        session: c.below(2) == 0,
        read_committed: c.below(2) == 0,
        max_bytes: c.one_of(&[100, 1_000, 1_000_000]),
        wanders: c.one_of(&[0, 5, 30]),
    }
}

fn lies(c: &mut Chance) -> Lies {
    let often = c.one_of(&[0, 0, 10, 50, 150]);
    let mut some = || c.below(often + 1);
    Lies {
        refused: some(),
        request_lost: some(),
        reply_lost: some(),
        late: some(),
        stalled: some() / 4,
        slow_ms: c.one_of(&[1, 10, 60, 300]),
    }
}

fn faults(c: &mut Chance, agents: usize, length_ms: u64) -> Vec<Fault> {
    let many = c.one_of(&[0, 2, 5, 10]);
    let disks = c.below(8) == 0;
    let mut faults: Vec<Fault> = (0..many)
        .map(|_| Fault {
            at_ms: c.next() % length_ms,
            agent: c.below(agents),
            what: what(c, disks),
        })
        .collect();
    faults.sort_by_key(|f| f.at_ms);
    faults
}

fn what(c: &mut Chance, disks: bool) -> What {
    let mut ms = |most: u64| 1 + c.next() % most;
    let (short, long) = (ms(2_000), ms(12_000));
    let skew_ms = ms(6_000_000) as i64 - 3_000_000;
    match c.below(if disks { 12 } else { 11 }) {
        0..=3 => What::Crash { down_ms: short },
        4 => What::Stop { down_ms: short },
        5 => What::Pause { ms: long },
        6 => What::Clock { skew_ms },
        7 => What::CutBucket { ms: long },
        8 => What::CutStore { ms: long },
        9 => What::FullDisk { ms: long },
        10 => What::FailSync { down_ms: short },
        _ => What::LoseDisk { down_ms: short },
    }
}
