//! Two agents on one bucket and one store, one thread, seeded chance: `WritePath.tla` with the real machine, the real commit
//! function and the real replay. A crash, a late commit, an aborted window, a lost lease may come at any step; the history is
//! then held against DESIGN 2. There is no clock: time is whatever the seed says, so what holds here holds for every clock.
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, executor::block_on};
use sh_base::{
    AgentId, Env, Incarnation, ObjectId, Offset, Org, ProducerId, TopicId, TopicPartition,
    batch::{Batch, BatchBuilder, BatchProducer, Codec},
};
use sh_meta::{Decision, Key, KeyRange, Lane, LaneId, MemoryStore, MetaStore, Plan, View, Write};

use super::{
    IngestConfig,
    driver::read_reply,
    lease::{self, LeaseTaken},
    machine::{Effect, Event, Machine, Sealed},
};
use crate::{
    agent::{self, Address, COMMIT_LANE, CONTROL_LANE},
    api::{Ack, Append, Charge, Ticket},
    commit::{CommitPlan, commit},
    object::{BuiltObject, ObjectBuilder},
    replay::replay,
    row::{Extent, Fate, Head},
    test_env::test_env,
    wal::{Recovered, WalRecord},
};

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One record that a client sent: its own batch.
struct Sent {
    partition: usize,
    ack: Ack,
    idempotent: bool,
    batch: Batch,
    /// Connections (agent, life) in the order of sending.
    on: Vec<(usize, u32)>,
    tickets: Vec<(usize, Ticket)>,
    acked: Option<Offset>,
    refused: bool,
}

struct Agent {
    id: AgentId,
    life: u32,
    up: Option<Life>,
    /// What its disk holds.
    disk: Vec<(u64, WalRecord)>,
}

struct Life {
    me: Incarnation,
    machine: Machine,
    commits: Arc<Lane>,
    control: Arc<Lane>,
    uploads: Vec<BuiltObject>,
    unsynced: Vec<(u64, WalRecord)>,
    finished: HashSet<u64>,
    taking: Vec<TopicPartition>,
    releasing: Vec<(TopicPartition, u64)>,
    awaiting: Vec<TopicPartition>,
    /// Results on their way back.
    news: VecDeque<Event>,
}

/// A commit that was sent and may still run.
struct Late {
    agent: usize,
    life: u32,
    lane: Arc<Lane>,
    plan: CommitPlan,
}

struct World {
    chance: Chance,
    env: Env,
    store: Arc<dyn MetaStore>,
    boot: Lane,
    now: Duration,
    agents: Vec<Agent>,
    late: Vec<Late>,
    bucket: BTreeMap<ObjectId, Bytes>,
    ghosts: Vec<BuiltObject>,
    sent: Vec<Sent>,
    next_sequence: [i32; PARTITIONS],
    visible: Vec<BTreeMap<Offset, usize>>,
    lease_taken_away: bool,
    steps: Vec<String>,
}

const PARTITIONS: usize = 2;

fn tp(partition: usize) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), partition as i32)
}

fn make_batch(number: usize, producer: Option<BatchProducer>) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(p) = producer {
        builder = builder.producer(p);
    }
    builder.push(number as i64, None, Some(&(number as u64).to_be_bytes()), &[]);
    builder.build().unwrap()
}

fn build(sealed: Sealed) -> BuiltObject {
    let mut builder = ObjectBuilder::new(sealed.id, sealed.replaces, sealed.answers);
    for run in sealed.runs {
        builder.run(run.org, run.partition, &run.batches);
    }
    builder.finish()
}

impl World {
    fn new(seed: u64) -> World {
        let env = test_env();
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new("sim"));
        let boot = agent::boot_lane(store.clone(), &env);
        let agent = |i| Agent { id: AgentId(i), life: 0, up: None, disk: Vec::new() };
        let mut world = World {
            chance: Chance(seed),
            env,
            store,
            boot,
            now: Duration::from_secs(1),
            agents: (0..2).map(agent).collect(),
            late: Vec::new(),
            bucket: BTreeMap::new(),
            ghosts: Vec::new(),
            sent: Vec::new(),
            next_sequence: [0; PARTITIONS],
            visible: vec![BTreeMap::new(); PARTITIONS],
            lease_taken_away: false,
            steps: Vec::new(),
        };
        world.start(0);
        world.start(1);
        world
    }

    fn note(&mut self, text: String) {
        self.steps.push(text);
    }

    fn start(&mut self, i: usize) {
        let address = Address { host: "h".into(), port: 1, zone: None };
        let id = self.agents[i].id;
        let patience = Duration::from_secs(1);
        let (me, _) = block_on(agent::begin_life(&self.boot, &self.env, id, &address, patience)).unwrap();
        let lane = |n| Arc::new(Lane::new(self.store.clone(), self.env.clone(), LaneId { by: me, lane: n }, 0));
        let (commits, control) = (lane(COMMIT_LANE), lane(CONTROL_LANE));
        let records = self.agents[i].disk.clone();
        let last = records.last().map_or(0, |(n, _)| *n);
        let recovered = Recovered { records, last };
        let replayed = block_on(replay(&self.store, &control, me, recovered, patience)).unwrap();
        let again: Vec<_> =
            replayed.restored.entries.iter().map(|e| (e.wal, e.promise.base_offset)).collect();
        let leases: Vec<_> = replayed.restored.leases.iter().map(|(tp, l)| (tp.partition, l.epoch)).collect();
        self.note(format!("start {i}: finished {:?}, again {again:?}, leases {leases:?}", replayed.finished));
        let finished: HashSet<u64> = replayed.finished.into_iter().collect();
        let cfg = IngestConfig { window_bytes_max: 400, lease_pause: Duration::from_millis(300), ..IngestConfig::default() };
        let machine = Machine::new(cfg, me, replayed.restored, self.now, 0);
        self.agents[i].life += 1;
        self.agents[i].up = Some(Life {
            me,
            machine,
            commits,
            control,
            uploads: vec![],
            unsynced: vec![],
            finished,
            taking: vec![],
            releasing: vec![],
            awaiting: vec![],
            news: VecDeque::new(),
        });
        self.act(i);
    }

    fn act(&mut self, i: usize) {
        let life_number = self.agents[i].life;
        let Some(life) = &mut self.agents[i].up else { return };
        for effect in life.machine.take_effects() {
            match effect {
                Effect::Upload(sealed) => life.uploads.push(build(sealed)),
                Effect::Commit(plan) => {
                    let lane = life.commits.clone();
                    self.late.push(Late { agent: i, life: life_number, lane, plan });
                }
                Effect::Wal(number, record) => life.unsynced.push((number, record)),
                Effect::WalFinish(number) => {
                    life.finished.insert(number);
                }
                Effect::TakeLease(tp) => life.taking.push(tp),
                Effect::ReleaseLease(tp, epoch) => life.releasing.push((tp, epoch)),
                Effect::AwaitFree(tp) => life.awaiting.push(tp),
            }
        }
    }

    fn handle(&mut self, i: usize, event: Event) {
        if let Some(life) = &mut self.agents[i].up {
            life.machine.handle(self.now, 0, event);
            self.act(i);
        }
        self.hear_answers();
    }

    /// **What a client is told**, the moment it is told.
    fn hear_answers(&mut self) {
        for sent in &mut self.sent {
            sent.tickets.retain_mut(|(_, ticket)| match ticket.now_or_never() {
                None => true,
                Some(Ok(appended)) => {
                    sent.acked.get_or_insert(appended.base_offset);
                    false
                }
                Some(Err(_)) => {
                    sent.refused = true;
                    false
                }
            });
        }
    }

    fn send(&mut self, i: usize, number: usize) {
        let life = self.agents[i].life;
        let sent = &mut self.sent[number];
        let memory = Arc::new(tokio::sync::Semaphore::new(1));
        let permit = memory.try_acquire_owned().unwrap();
        let (reply, ticket) = tokio::sync::oneshot::channel();
        let append = Append {
            partition: tp(sent.partition),
            org: Org::default(),
            ack: sent.ack,
            batch: sent.batch.clone(),
            charge: Charge::new(permit),
            lease_allowed: true,
        };
        sent.on.push((i, life));
        sent.tickets.push((i, Ticket(ticket)));
        let text = format!("send {number} to {i}: p{} {:?} idem {}", sent.partition, sent.ack, sent.idempotent);
        self.note(text);
        self.handle(i, Event::Append(append, reply));
    }

    fn produce(&mut self) {
        let i = self.chance.below(2);
        if self.agents[i].up.is_none() {
            return;
        }
        let number = self.sent.len();
        let partition = self.chance.below(PARTITIONS);
        let ack = if self.chance.one_in(2) { Ack::Leader } else { Ack::Durable };
        let idempotent = self.chance.one_in(3);
        let producer = idempotent.then(|| {
            let base_sequence = self.next_sequence[partition];
            self.next_sequence[partition] += 1;
            BatchProducer { id: ProducerId(1), epoch: 0, base_sequence }
        });
        let batch = make_batch(number, producer);
        let (on, tickets) = (vec![], vec![]);
        self.sent.push(Sent { partition, ack, idempotent, batch, on, tickets, acked: None, refused: false });
        self.send(i, number);
    }

    /// An idempotent producer that got no answer, or an error, sends its record again, anywhere.
    fn produce_again(&mut self) {
        let again: Vec<_> = (0..self.sent.len()).filter(|n| self.sent[*n].idempotent).collect();
        if again.is_empty() {
            return;
        }
        let number = again[self.chance.below(again.len())];
        let i = self.chance.below(2);
        if self.agents[i].up.is_some() && self.sent[number].acked.is_none() {
            self.send(i, number);
        }
    }

    fn upload(&mut self, i: usize) {
        let Some(life) = &mut self.agents[i].up else { return };
        if life.uploads.is_empty() {
            return;
        }
        let n = self.chance.below(life.uploads.len());
        let object = life.uploads.swap_remove(n);
        let starts = object.runs.iter().flat_map(|r| r.starts.iter().copied()).collect();
        let event = Event::Uploaded { id: object.id, starts, took: Duration::from_millis(20) };
        let text = format!("uploaded {}", object.id);
        self.bucket.insert(object.id, whole(&object));
        self.note(text);
        self.handle(i, event);
    }

    fn run_commit(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let n = self.chance.below(self.late.len());
        let Late { agent, life, lane, plan } = self.late.swap_remove(n);
        let what = Plan { locks: plan.locks(), shares: plan.shares(), ..Plan::default() };
        let ids: Vec<_> = plan.windows.iter().map(|w| w.id.to_string()).collect();
        let apply = move |view: &View| commit(&plan, view).unwrap();
        let entry = block_on(lane.update(what, Duration::from_secs(1), apply)).unwrap();
        let result = read_reply(&entry);
        let text = format!("commit of {agent} (life {life}) {ids:?}: {:?}", result.as_ref().map(|c| &c.fates));
        self.note(text);
        let current = self.agents[agent].life == life;
        if let (Ok(committed), true, Some(up)) = (result, current, &mut self.agents[agent].up) {
            up.news.push_back(Event::Committed(committed));
        }
    }

    fn sync_wal(&mut self, i: usize) {
        let Some(life) = &mut self.agents[i].up else { return };
        let n = self.chance.below(life.unsynced.len() + 1);
        let synced: Vec<_> = life.unsynced.drain(..n).collect();
        if let Some((upto, _)) = synced.last() {
            let upto = *upto;
            self.agents[i].disk.extend(synced);
            self.note(format!("wal of {i} synced to {upto}"));
            self.handle(i, Event::WalSynced(upto));
        }
    }

    fn lease_work(&mut self, i: usize) {
        let which = self.chance.below(3);
        let Some(life) = &mut self.agents[i].up else { return };
        let (me, control) = (life.me, life.control.clone());
        let event = match which {
            0 if !life.taking.is_empty() => {
                let tp = life.taking.remove(0);
                Event::LeaseTaken(tp, block_on(lease::try_take(&self.store, &control, me, tp)).unwrap())
            }
            1 if !life.releasing.is_empty() => {
                let (tp, epoch) = life.releasing.remove(0);
                block_on(lease::release_lease(&control, me, tp, epoch));
                Event::LeaseReleased(tp)
            }
            2 if !life.awaiting.is_empty() => {
                let tp = life.awaiting.remove(0);
                let head = head(&self.store, tp);
                if head.lease.is_some_and(|l| l.holder != me.agent) {
                    life.awaiting.push(tp);
                    return self.want(i, tp);
                }
                Event::Free(tp)
            }
            _ => return,
        };
        let text = match &event {
            Event::LeaseTaken(tp, LeaseTaken::Held(l)) => format!("{i} took p{} lease {} at {}", tp.partition, l.epoch, l.next_offset),
            Event::LeaseTaken(tp, other) => format!("{i} took p{}: {other:?}", tp.partition),
            Event::LeaseReleased(tp) => format!("{i} released p{}", tp.partition),
            Event::Free(tp) => format!("{i} sees p{} free", tp.partition),
            _ => String::new(),
        };
        self.note(text);
        self.handle(i, event);
    }

    /// Asks for a partition; the holder hears of it, or is taken for dead.
    fn want(&mut self, i: usize, tp: TopicPartition) {
        let mut wanted = head(&self.store, tp);
        if self.chance.one_in(3) {
            self.note(format!("{i} takes p{} away", tp.partition));
            self.lease_taken_away = true;
            wanted.lease = None;
            self.write_head(tp, &wanted);
        } else {
            wanted.wanted = true;
            self.write_head(tp, &wanted);
            self.handle(1 - i, Event::Head(tp, wanted));
        }
    }

    fn write_head(&self, tp: TopicPartition, head: &Head) {
        let (key, value) = (Key::Head(tp), head.encode());
        self.write(key, value);
    }

    fn write(&self, key: Key, value: Bytes) {
        let plan = Plan { locks: vec![key.clone()], ..Plan::default() };
        let write = move |_: &View| Decision {
            writes: vec![Write { key: key.clone(), value: Some(value.clone()), version: None }],
            reply: Bytes::new(),
        };
        block_on(self.boot.update(plan, Duration::from_secs(1), write)).unwrap();
    }

    fn news(&mut self, i: usize) {
        let event = self.agents[i].up.as_mut().and_then(|life| life.news.pop_front());
        if let Some(event) = event {
            self.handle(i, event);
        }
    }

    fn time(&mut self) {
        self.now += Duration::from_millis(1 + self.chance.below(250) as u64);
        for i in 0..self.agents.len() {
            if let Some(life) = &mut self.agents[i].up {
                life.machine.tick(self.now);
                self.act(i);
            }
        }
        self.hear_answers();
    }

    fn crash(&mut self, i: usize) {
        let Some(life) = self.agents[i].up.take() else { return };
        self.note(format!("crash {i}"));
        // A part of what was not synced may be on the disk all the same.
        let n = self.chance.below(life.unsynced.len() + 1);
        self.agents[i].disk.extend(life.unsynced.into_iter().take(n));
        self.ghosts.extend(life.uploads);
        self.sent.iter_mut().for_each(|s| s.tickets.retain(|(agent, _)| *agent != i));
    }

    fn haunt(&mut self) {
        if !self.ghosts.is_empty() {
            let n = self.chance.below(self.ghosts.len());
            let object = self.ghosts.swap_remove(n);
            self.bucket.insert(object.id, whole(&object));
            self.note(format!("late PUT of {}", object.id));
        }
    }

    /// The reconciler: whoever inserts first decides; only an aborted object is deleted.
    fn reconcile(&mut self) {
        let ids: Vec<ObjectId> = self.bucket.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.chance.below(ids.len())];
        if fate(&self.store, id).is_none() {
            self.write(Key::Object(id), Fate::Aborted.encode());
            self.bucket.remove(&id);
            self.note(format!("reconciler aborts {id}"));
        }
    }

    fn step(&mut self) {
        let i = self.chance.below(2);
        match self.chance.below(100) {
            0..=19 => self.produce(),
            20..=24 => self.produce_again(),
            25..=39 => self.upload(i),
            40..=54 => self.run_commit(),
            55..=66 => self.news(i),
            67..=74 => self.sync_wal(i),
            75..=82 => self.lease_work(i),
            83..=93 => self.time(),
            94..=95 => self.crash(i),
            96..=97 if self.agents[i].up.is_none() => self.start(i),
            98 => self.reconcile(),
            99 => self.haunt(),
            _ => {}
        }
    }

    fn live(&mut self, steps: usize) {
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

    /// No more faults: everything that can finish does.
    fn settle(&mut self) {
        for i in 0..2 {
            if self.agents[i].up.is_none() {
                self.start(i);
            }
        }
        for _ in 0..4000 {
            for i in 0..2 {
                self.upload(i);
                self.news(i);
                self.sync_wal(i);
                self.lease_work(i);
            }
            self.run_commit();
            self.time();
            let rest = |a: &Agent| a.up.as_ref().is_some_and(|l| l.machine.is_drained() && l.news.is_empty());
            if self.agents.iter().all(rest) && self.late.is_empty() {
                return;
            }
            if self.chance.one_in(50) {
                (0..2).for_each(|i| self.handle(i, Event::Drain));
            }
        }
        panic!("the agents do not come to rest");
    }

    // The history, held against the promises.

    /// What a partition holds, through its extents and the bucket: every referenced byte is there.
    fn read(&self, partition: usize) -> BTreeMap<Offset, usize> {
        let tp = tp(partition);
        let range = KeyRange::extents(tp, 0, Offset::MAX);
        let mut log = BTreeMap::new();
        let mut next = 0;
        for (key, row) in block_on(self.store.scan(range, 100_000, false)).unwrap() {
            let Key::Extent(_, base) = key else { panic!("not an extent") };
            let extent = Extent::decode(&row.value.unwrap()).unwrap();
            assert_eq!(base, next, "extents tile");
            next = extent.end;
            let Some(place) = extent.place else { continue };
            let object = self.bucket.get(&place.object).expect("a referenced object is in the bucket");
            let (start, end) = (place.start as usize, place.start as usize + place.len as usize);
            let mut rest = object.slice(start..end);
            let mut offset = base;
            while !rest.is_empty() {
                let (batch, after) = Batch::split_trusted(rest).unwrap();
                rest = after;
                log.insert(offset, batch.header().base_timestamp as usize);
                offset += batch.offsets();
            }
            assert_eq!(offset, extent.end, "an extent holds its offsets");
        }
        assert_eq!(next, head(&self.store, tp).next_offset, "extents end at the log end");
        log
    }

    /// What a reader saw at an offset stays there.
    fn look(&mut self) {
        for partition in 0..PARTITIONS {
            let log = self.read(partition);
            for (offset, number) in &self.visible[partition] {
                assert_eq!(log.get(offset), Some(number), "p{partition} offset {offset} changed");
            }
            self.visible[partition] = log;
        }
    }

    fn check(&self) {
        let logs: Vec<_> = (0..PARTITIONS).map(|p| self.read(p)).collect();
        let mut place: HashMap<usize, Offset> = HashMap::new();
        for (partition, log) in logs.iter().enumerate() {
            for (offset, number) in log {
                assert_eq!(self.sent[*number].partition, partition, "a record is in its partition");
                assert_eq!(place.insert(*number, *offset), None, "record {number} is stored twice");
            }
        }
        for (number, sent) in self.sent.iter().enumerate() {
            let Some(told) = sent.acked else { continue };
            let stored = place.get(&number).unwrap_or_else(|| panic!("acknowledged record {number} is lost"));
            if sent.ack == Ack::Durable || !self.lease_taken_away {
                assert_eq!(*stored, told, "record {number} is not where the client was told");
            }
        }
        self.check_order(&place);
    }

    /// Records of one connection to one partition keep their order, whatever their acks.
    fn check_order(&self, place: &HashMap<usize, Offset>) {
        let mut last: HashMap<(usize, (usize, u32)), (usize, Offset)> = HashMap::new();
        for (number, sent) in self.sent.iter().enumerate() {
            let [on] = sent.on[..] else { continue };
            let Some(offset) = place.get(&number) else { continue };
            if let Some((before, at)) = last.insert((sent.partition, on), (number, *offset)) {
                assert!(at < *offset, "records {before} and {number} of one connection changed places");
            }
        }
    }
}

fn whole(object: &BuiltObject) -> Bytes {
    object.parts.concat().into()
}

fn head(store: &Arc<dyn MetaStore>, tp: TopicPartition) -> Head {
    let rows = block_on(store.get(&[Key::Head(tp)])).unwrap();
    Head::of(rows[0].value.as_ref()).unwrap()
}

fn fate(store: &Arc<dyn MetaStore>, id: ObjectId) -> Option<Fate> {
    let rows = block_on(store.get(&[Key::Object(id)])).unwrap();
    rows[0].value.as_ref().map(|v| Fate::decode(v).unwrap())
}

/// Timers want a runtime around them. The steps do not run *in* it: its budget for one task would hold them up.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn run(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed);
    world.live(steps);
    world
}

/// Runs a seed and, if it fails, prints its story.
fn story(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    let live = std::panic::AssertUnwindSafe(|| world.live(steps));
    if let Err(why) = std::panic::catch_unwind(live) {
        eprintln!("seed {seed}:\n  {}", world.steps.join("\n  "));
        std::panic::resume_unwind(why);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let more = std::env::var("STREAMHOUSE_TEST_SEEDS").ok().and_then(|n| n.parse().ok());
    0..more.unwrap_or(300)
}

#[test]
fn the_promises_hold_for_every_seed() {
    let runtime = runtime();
    let _entered = runtime.enter();
    for seed in seeds() {
        story(seed, 400);
    }
}

#[test]
fn one_seed_is_one_story() {
    let runtime = runtime();
    let _entered = runtime.enter();
    assert_eq!(run(42, 300).steps, run(42, 300).steps);
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut all = String::new();
    for seed in seeds().take(60) {
        all.push_str(&run(seed, 400).steps.join("\n"));
    }
    for what in ["Again", "Aborted", "Duplicate", "took p0 lease", "released p", "away", "late PUT", "crash", "leases [(", "again [("] {
        assert!(all.contains(what), "no seed shows {what:?}");
    }
}
