//! The world around the agents, and its steps.
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use sh_base::{AgentId, Env, ObjectId, Offset, TopicPartition};
use sh_meta::{Key, Lane, MemoryStore, MetaStore, Plan, View};

use super::{
    Chance,
    agent::Agent,
    client::{PARTITIONS, Sent},
};
use crate::{
    agent,
    commit::{CommitPlan, commit},
    ingest::{driver::read_reply, machine::Event},
    object::BuiltObject,
    row::{Fate, Head},
    test_env::test_env,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A commit that was sent and may still run.
#[derive(Clone)]
pub(super) struct Late {
    pub agent: usize,
    pub life: u32,
    pub lane: Arc<Lane>,
    pub plan: CommitPlan,
}

/// What a seed is about: without it all seeds would be alike.
pub(super) struct Mood {
    /// Of four records so many are acks=1.
    pub leader_quarters: usize,
    /// Of four records so many are idempotent.
    pub idempotent_quarters: usize,
    /// Of a hundred steps of the world so many are crashes, reconciler's, merges and forgets, ends of leases, pauses.
    crashes: usize,
    aborts: usize,
    merges: usize,
    expiries: usize,
    pauses: usize,
}

impl Mood {
    fn draw(chance: &mut Chance) -> Mood {
        let mut some = |often: usize| [0, 1, often][chance.below(3)];
        Mood {
            crashes: some(6),
            aborts: some(5),
            merges: some(10),
            expiries: some(4),
            pauses: some(3),
            leader_quarters: 1 + chance.below(4),
            idempotent_quarters: chance.below(4),
        }
    }
}

pub(super) struct World {
    pub chance: Chance,
    pub env: Env,
    pub store: Arc<dyn MetaStore>,
    pub boot: Lane,
    pub now: Duration,
    pub agents: Vec<Agent>,
    pub late: Vec<Late>,
    pub bucket: BTreeMap<ObjectId, Bytes>,
    pub put_order: Vec<ObjectId>,
    pub ghosts: Vec<BuiltObject>,
    pub sent: Vec<Sent>,
    pub next_sequence: [i32; PARTITIONS],
    pub visible: Vec<BTreeMap<Offset, usize>>,
    /// Leases (by partition and number) that their holder did not give up itself.
    pub ended: HashSet<(usize, u64)>,
    /// No more faults.
    pub calm: bool,
    pub mood: Mood,
    pub steps: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let env = test_env();
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new("sim"));
        let boot = agent::boot_lane(store.clone(), &env);
        let mut chance = Chance(seed);
        let mood = Mood::draw(&mut chance);
        World {
            chance,
            env,
            store,
            boot,
            now: Duration::from_secs(1),
            agents: (0..2).map(|i| Agent::new(AgentId(i))).collect(),
            late: Vec::new(),
            bucket: BTreeMap::new(),
            put_order: Vec::new(),
            ghosts: Vec::new(),
            sent: Vec::new(),
            next_sequence: [0; PARTITIONS],
            visible: vec![BTreeMap::new(); PARTITIONS],
            ended: HashSet::new(),
            calm: false,
            mood,
            steps: Vec::new(),
        }
    }

    pub fn live(&mut self, steps: usize) {
        self.start_all();
        for n in 0..steps {
            self.step();
            if n % 40 == 0 {
                self.look();
            }
        }
        self.settle();
        self.look();
        self.check();
    }

    fn start_all(&mut self) {
        for i in 0..2 {
            while self.agents[i].up().is_none() {
                self.start(i);
            }
        }
    }

    fn step(&mut self) {
        let i = self.chance.below(2);
        if self.agents[i].asleep {
            return self.world_step(i);
        }
        if self.agents[i].up().is_none() && self.chance.one_in(4) {
            return self.start(i);
        }
        match self.chance.below(100) {
            0..=19 => self.produce(),
            20..=24 => self.produce_again(),
            25..=37 => self.upload(i),
            38..=49 => self.news(i),
            50..=59 => self.sync_wal(i),
            60..=69 => self.control_work(i),
            _ => self.world_step(i),
        }
    }

    fn world_step(&mut self, i: usize) {
        let Mood {
            crashes,
            aborts,
            merges,
            expiries,
            pauses,
            ..
        } = self.mood;
        let mut n = self.chance.below(100);
        let mut is = |weight: usize| {
            let hit = n < weight;
            n = n.wrapping_sub(weight);
            hit
        };
        if is(crashes) {
            self.crash_somehow(i);
        } else if is(aborts) {
            self.reconcile();
        } else if is(merges) {
            self.merge();
        } else if is(merges) {
            self.forget();
        } else if is(expiries) {
            self.expire();
        } else if is(pauses) {
            self.sleep_or_wake(i);
        } else if is(1) {
            self.drain(i);
        } else if is(4) {
            self.haunt();
        } else if is(25) {
            self.time();
        } else {
            self.run_commit();
        }
    }

    /// An agent runs its own clock; those that sleep do not notice.
    fn time(&mut self) {
        let long = if self.chance.one_in(20) { 65_000 } else { 0 };
        self.now += Duration::from_millis(1 + self.chance.below(250) as u64 + long);
        for i in 0..self.agents.len() {
            if self.is_awake(i) {
                let now = self.now;
                if let Some(life) = self.agents[i].up() {
                    life.machine.tick(now);
                }
                self.act(i);
            }
        }
        self.hear_answers();
    }

    fn crash_somehow(&mut self, i: usize) {
        let with_its_disk = self.agents[i].up().is_some() && self.chance.one_in(8);
        self.crash(i, with_its_disk);
    }

    fn expire(&mut self) {
        let partition = self.chance.below(PARTITIONS);
        self.note(format!("the lease of p{partition} ends"));
        self.end_lease(partition);
    }

    fn sleep_or_wake(&mut self, i: usize) {
        let asleep = !self.agents[i].asleep;
        self.agents[i].asleep = asleep;
        self.note(format!(
            "{i} {}",
            if asleep { "falls asleep" } else { "wakes" }
        ));
    }

    fn drain(&mut self, i: usize) {
        self.note(format!("{i} drains"));
        self.handle(i, Event::Drain);
    }

    fn run_commit(&mut self) {
        let Some(late) = self.chance.draw(&mut self.late) else {
            return;
        };
        let again = late.clone();
        let Late {
            agent,
            life,
            lane,
            plan,
        } = late;
        let what = Plan {
            locks: plan.locks(),
            shares: plan.shares(),
            ..Plan::default()
        };
        let ids: Vec<_> = plan.windows.iter().map(|w| w.id.to_string()).collect();
        let apply = move |view: &View| commit(&plan, view).unwrap();
        let entry = block_on(lane.update(what, PATIENCE, apply)).unwrap();
        let result = read_reply(&entry);
        self.note(format!(
            "commit of {agent} (life {life}) {ids:?}: {:?}",
            result.as_ref().map(|c| &c.fates)
        ));
        if !self.calm && self.chance.one_in(6) {
            // What the driver does when nobody tells it what became of its commit.
            self.note("reply lost".into());
            return self.late.push(again);
        }
        let current = self.agents[agent].life == life;
        if let (Ok(committed), true, Some(up)) = (result, current, self.agents[agent].up()) {
            up.news.push_back(Event::Committed(committed));
        }
    }

    /// No more faults: everything that can finish does.
    fn settle(&mut self) {
        self.calm = true;
        self.agents.iter_mut().for_each(|a| a.asleep = false);
        self.start_all();
        for _ in 0..4000 {
            for i in 0..2 {
                self.upload(i);
                self.news(i);
                self.sync_wal(i);
                self.control_work(i);
            }
            self.run_commit();
            self.time();
            let rest = |a: &mut Agent| {
                a.up()
                    .is_some_and(|l| l.machine.is_drained() && l.news.is_empty())
            };
            if self.agents.iter_mut().all(rest) && self.late.is_empty() {
                return;
            }
            if self.chance.one_in(50) {
                (0..2).for_each(|i| self.handle(i, Event::Drain));
            }
        }
        panic!("Rest: the agents do not come to rest");
    }

    pub fn put(&mut self, object: &BuiltObject) {
        self.bucket.insert(object.id, object.parts.concat().into());
        self.put_order.push(object.id);
    }

    pub fn value(&self, key: Key) -> Option<Bytes> {
        block_on(self.store.get(&[key])).unwrap().remove(0).value
    }

    pub fn head(&self, tp: TopicPartition) -> Head {
        Head::of(self.value(Key::Head(tp)).as_ref()).unwrap()
    }

    pub fn write_head(&self, tp: TopicPartition, head: &Head) {
        self.write(Key::Head(tp), Some(head.encode()));
    }

    pub fn fate(&self, id: ObjectId) -> Option<Fate> {
        self.value(Key::Object(id))
            .map(|v| Fate::decode(&v).unwrap())
    }

    pub fn note(&mut self, text: String) {
        self.steps.push(text);
    }
}
