//! An agent's life: start in two steps, effects carried out one by one and in any order, pause, crash.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::executor::block_on;
use sh_base::{AgentId, Incarnation, ObjectId, TopicPartition, batch::Batch};
use sh_meta::{Lane, LaneId};

use super::{
    client::{Promised, number_of, tp},
    disk::Disk,
    world::{Late, PATIENCE, World},
};
use crate::{
    agent::{self, Address, COMMIT_LANE, CONTROL_LANE},
    ingest::{
        IngestConfig,
        lease::{self, LeaseTaken},
        machine::{Effect, Event, Machine, Sealed},
    },
    mutant,
    object::{BuiltObject, ObjectBuilder},
    replay::{Replay, ReplayAge, replay},
    wal::WalRecord,
};

pub(super) struct Agent {
    pub id: AgentId,
    pub life: u32,
    /// It takes no step.
    pub asleep: bool,
    pub disk: Disk,
    pub stage: Stage,
    /// Its newest incarnation.
    me: Incarnation,
}

pub(super) enum Stage {
    Down,
    /// It has its epoch, and has not looked at its WAL.
    Begun,
    /// The wrong order (model: `aw_look_first`).
    LookedFirst(Replay),
    Up(Box<Life>),
}

pub(super) struct Life {
    me: Incarnation,
    pub machine: Machine,
    commits: Arc<Lane>,
    control: Arc<Lane>,
    uploads: Vec<BuiltObject>,
    unsynced: VecDeque<(u64, WalRecord)>,
    finished: Vec<u64>,
    /// The newest record that did not fit on the disk.
    skipped_to: u64,
    holds: Option<ObjectId>,
    taking: Vec<TopicPartition>,
    releasing: Vec<(TopicPartition, u64)>,
    awaiting: Vec<TopicPartition>,
    needs: Vec<(u32, u64)>,
    /// Results on their way back.
    pub news: VecDeque<Event>,
}

impl Agent {
    pub fn new(id: AgentId) -> Agent {
        let me = Incarnation {
            agent: id,
            epoch: 0,
            nonce: 0,
        };
        Agent {
            id,
            life: 0,
            asleep: false,
            disk: Disk::default(),
            stage: Stage::Down,
            me,
        }
    }

    pub fn up(&mut self) -> Option<&mut Life> {
        match &mut self.stage {
            Stage::Up(life) => Some(life),
            _ => None,
        }
    }
}

/// The world of a seed is shorter than any expiry.
const ANY_AGE: ReplayAge = ReplayAge {
    now_ms: 0,
    max_ms: None,
};

fn build(sealed: Sealed) -> BuiltObject {
    let mut builder = ObjectBuilder::new(sealed.id, sealed.replaces, sealed.answers);
    for run in sealed.runs {
        builder.run(run.org, run.partition, &run.batches);
    }
    builder.finish()
}

impl World {
    pub(super) fn is_awake(&mut self, i: usize) -> bool {
        !self.agents[i].asleep && self.agents[i].up().is_some()
    }

    /// One step of a start: the new epoch, then the look at the WAL. Anything may happen in between.
    pub(super) fn start(&mut self, i: usize) {
        match std::mem::replace(&mut self.agents[i].stage, Stage::Down) {
            Stage::Down if mutant::is("look_first") => {
                self.agents[i].stage = Stage::LookedFirst(self.look_at_wal(i));
            }
            Stage::Down => {
                self.begin(i);
                self.agents[i].stage = Stage::Begun;
            }
            Stage::Begun => {
                let replay = self.look_at_wal(i);
                self.rise(i, replay);
            }
            Stage::LookedFirst(replay) => {
                self.begin(i);
                self.rise(i, replay);
            }
            up => self.agents[i].stage = up,
        }
    }

    fn begin(&mut self, i: usize) {
        let address = Address {
            host: "h".into(),
            port: 1,
            zone: None,
            http: None,
        };
        let id = self.agents[i].id;
        let (me, _) = block_on(agent::begin_life(
            &self.boot, &self.env, id, &address, PATIENCE,
        ))
        .unwrap();
        self.agents[i].me = me;
        self.note(format!("{i} begins epoch {}", me.epoch));
    }

    fn lane(&self, i: usize, lane: u8) -> Arc<Lane> {
        let id = LaneId {
            by: self.agents[i].me,
            lane,
        };
        Arc::new(Lane::new(self.store.clone(), self.env.clone(), id, 0))
    }

    fn look_at_wal(&mut self, i: usize) -> Replay {
        const LOOK_LANE: u8 = 9;
        let recovered = self.agents[i].disk.reopen();
        let lane = self.lane(i, LOOK_LANE);
        block_on(replay(
            &self.store,
            &lane,
            self.agents[i].me,
            recovered,
            ANY_AGE,
            PATIENCE,
        ))
        .unwrap()
    }

    fn rise(&mut self, i: usize, replay: Replay) {
        let again: Vec<_> = replay
            .restored
            .entries
            .iter()
            .map(|e| (e.wal, e.promise.base_offset))
            .collect();
        let leases: Vec<_> = replay
            .restored
            .leases
            .iter()
            .map(|(tp, l)| (tp.partition, l.epoch))
            .collect();
        self.note(format!(
            "start {i}: finished {:?}, again {again:?}, leases {leases:?}",
            replay.finished
        ));
        let cfg = IngestConfig {
            window_bytes_max: 400,
            lease_pause: Duration::from_millis(300),
            ..IngestConfig::default()
        };
        let (me, holds) = (self.agents[i].me, replay.restored.wal_oldest);
        let machine = Machine::new(cfg, me, replay.restored, self.now, 0);
        self.agents[i].life += 1;
        self.agents[i].stage = Stage::Up(Box::new(Life {
            me,
            machine,
            commits: self.lane(i, COMMIT_LANE),
            control: self.lane(i, CONTROL_LANE),
            uploads: vec![],
            unsynced: VecDeque::new(),
            finished: replay.finished,
            skipped_to: 0,
            holds,
            taking: vec![],
            releasing: vec![],
            awaiting: vec![],
            needs: vec![],
            news: VecDeque::new(),
        }));
        self.act(i);
    }

    pub(super) fn act(&mut self, i: usize) {
        let life_number = self.agents[i].life;
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let (mut late, mut promised) = (Vec::new(), Vec::new());
        for effect in life.machine.take_effects() {
            match effect {
                Effect::Upload(sealed) => life.uploads.push(build(sealed)),
                Effect::Commit(plan) => {
                    late.push(Late {
                        agent: i,
                        life: life_number,
                        lane: life.commits.clone(),
                        plan,
                    });
                }
                Effect::Wal(number, record) => {
                    promised.extend(promise(i, &record));
                    life.unsynced.push_back((number, record));
                }
                Effect::WalFinish(number) => life.finished.push(number),
                Effect::TakeLease(tp) => life.taking.push(tp),
                Effect::ReleaseLease(tp, epoch) => life.releasing.push((tp, epoch)),
                Effect::AwaitFree(tp) => life.awaiting.push(tp),
                Effect::NeedNothingBefore(needs) => life.needs.push(needs),
            }
        }
        self.late.extend(late);
        for (number, promise) in promised {
            self.sent[number].promises.push(promise);
        }
    }

    pub(super) fn handle(&mut self, i: usize, event: Event) {
        let now = self.now;
        if let Some(life) = self.agents[i].up() {
            life.machine.handle(now, 0, event);
            self.act(i);
        }
        self.hear_answers();
    }

    pub(super) fn news(&mut self, i: usize) {
        let event = self.agents[i].up().and_then(|life| life.news.pop_front());
        if let Some(event) = event {
            self.handle(i, event);
        }
    }

    pub(super) fn upload(&mut self, i: usize) {
        let mut uploads = match self.agents[i].up() {
            Some(life) => std::mem::take(&mut life.uploads),
            None => return,
        };
        let object = self.chance.draw(&mut uploads);
        if let Some(life) = self.agents[i].up() {
            life.uploads = uploads;
        }
        let Some(object) = object else { return };
        self.put(&object);
        self.note(format!("uploaded {}", object.id));
        let starts = object
            .runs
            .iter()
            .flat_map(|r| r.starts.iter().copied())
            .collect();
        self.handle(
            i,
            Event::Uploaded {
                id: object.id,
                starts,
                took: Duration::from_millis(20),
            },
        );
    }

    /// The WAL's thread: finishes, trims, writes, syncs; now and then the disk is full.
    pub(super) fn sync_wal(&mut self, i: usize) {
        let full = !self.calm && self.chance.one_in(12);
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let (finished, queued) = (std::mem::take(&mut life.finished), life.unsynced.len());
        let n = self.chance.below(queued + 1);
        let disk = &mut self.agents[i].disk;
        finished
            .into_iter()
            .for_each(|number| disk.files.finish(number));
        if disk.trim() > 0 {
            self.note(format!("a file of {i} goes"));
            self.tell_what_the_wal_holds(i);
        }
        if full {
            return self.full_disk(i, n);
        }
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let synced: Vec<_> = life.unsynced.drain(..n).collect();
        let Some((last, _)) = synced.last() else {
            return;
        };
        let behind = life
            .unsynced
            .front()
            .is_none_or(|(next, _)| *next > life.skipped_to);
        let upto = if behind {
            (*last).max(life.skipped_to)
        } else {
            *last
        };
        self.agents[i].disk.write(synced);
        self.note(format!("wal of {i} synced to {upto}"));
        self.tell_what_the_wal_holds(i);
        self.handle(i, Event::WalSynced(upto));
    }

    /// Batches fall back to being durable, moves wait.
    fn full_disk(&mut self, i: usize, n: usize) {
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let group: Vec<_> = life.unsynced.drain(..n).collect();
        let Some((last, _)) = group.last() else {
            return;
        };
        life.skipped_to = life.skipped_to.max(*last);
        let is_move = |(_, record): &(u64, WalRecord)| matches!(record, WalRecord::Moved { .. });
        let (moves, batches): (Vec<_>, Vec<_>) = group.into_iter().partition(is_move);
        let waits = !moves.is_empty();
        moves
            .into_iter()
            .rev()
            .for_each(|m| life.unsynced.push_front(m));
        let (skipped, upto): (Vec<_>, _) = (
            batches.iter().map(|(number, _)| *number).collect(),
            life.skipped_to,
        );
        self.note(format!("the disk of {i} is full: {skipped:?} skipped"));
        self.handle(i, Event::WalSkipped(skipped));
        if !waits {
            self.handle(i, Event::WalSynced(upto));
        }
    }

    fn tell_what_the_wal_holds(&mut self, i: usize) {
        let holds = self.agents[i].disk.files.oldest_object();
        let Some(life) = self.agents[i].up() else {
            return;
        };
        if std::mem::replace(&mut life.holds, holds) != holds {
            self.handle(i, Event::WalHolds(holds));
        }
    }

    /// The agent's calls to the store, one at a time.
    pub(super) fn control_work(&mut self, i: usize) {
        let store = self.store.clone();
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let queues = [
            life.taking.len(),
            life.releasing.len(),
            life.awaiting.len(),
            life.needs.len(),
        ];
        let mut waiting: Vec<usize> = (0..4).filter(|n| queues[*n] > 0).collect();
        let Some(which) = self.chance.draw(&mut waiting) else {
            return;
        };
        let Some(life) = self.agents[i].up() else {
            return;
        };
        let (me, control) = (life.me, life.control.clone());
        let event = match which {
            0 => {
                let tp = life.taking.remove(0);
                Event::LeaseTaken(
                    tp,
                    block_on(lease::try_take(&store, &control, me, tp)).unwrap(),
                )
            }
            1 => {
                let (tp, epoch) = life.releasing.remove(0);
                block_on(lease::release_lease(&control, me, tp, epoch));
                Event::LeaseReleased(tp)
            }
            2 => {
                let tp = life.awaiting.remove(0);
                if self.head(tp).lease.is_some_and(|l| l.holder != me.agent) {
                    return self.want(i, tp);
                }
                Event::Free(tp)
            }
            _ => {
                let needs = life.needs.remove(0);
                let raise =
                    move |row: &mut agent::AgentRow| row.needs_from = row.needs_from.max(needs);
                block_on(agent::change_own_row(&control, me, PATIENCE, raise)).unwrap();
                return self.note(format!("{i} needs nothing before {needs:?}"));
            }
        };
        self.note(describe(i, &event));
        self.handle(i, event);
    }

    /// Asks for a partition; the holder hears of it, or is taken for dead.
    fn want(&mut self, i: usize, tp: TopicPartition) {
        if let Some(life) = self.agents[i].up() {
            life.awaiting.push(tp);
        }
        let mut wanted = self.head(tp);
        if self.chance.one_in(3) {
            self.note(format!("{i} takes p{} away", tp.partition));
            self.end_lease(tp.partition as usize);
        } else {
            wanted.wanted = true;
            self.write_head(tp, &wanted);
            if self.is_awake(1 - i) {
                self.handle(1 - i, Event::Head(tp, wanted));
            }
        }
    }

    /// Whoever holds the lease of a partition has it no more, and does not know.
    pub(super) fn end_lease(&mut self, partition: usize) {
        let mut head = self.head(tp(partition));
        if let Some(lease) = head.lease.take() {
            self.ended.insert((partition, lease.epoch));
            head.wanted = false;
            self.write_head(tp(partition), &head);
        }
    }

    pub(super) fn crash(&mut self, i: usize, with_its_disk: bool) {
        let stage = std::mem::replace(&mut self.agents[i].stage, Stage::Down);
        self.note(format!("crash {i}"));
        self.agents[i].asleep = false;
        if let Stage::Up(life) = stage {
            // A part of what was not synced may be on the disk all the same.
            let n = self.chance.below(life.unsynced.len() + 1);
            self.agents[i].disk.write(life.unsynced.into_iter().take(n));
            self.ghosts.extend(life.uploads);
        }
        self.sent
            .iter_mut()
            .for_each(|s| s.tickets.retain(|(agent, _)| *agent != i));
        if with_its_disk {
            self.note(format!("{i} loses its disk"));
            self.agents[i].disk = Disk::default();
            let told = self.sent.iter_mut().flat_map(|s| &mut s.told);
            told.filter(|t| t.by == i).for_each(|t| t.disk_lost = true);
        }
    }
}

/// Which record this is, if it is an acks=1 batch, and what it was promised.
fn promise(by: usize, record: &WalRecord) -> Option<(usize, Promised)> {
    let WalRecord::Batch(b) = record else {
        return None;
    };
    let batch = Batch::parse(b.bytes.clone()).unwrap();
    Some((
        number_of(&batch),
        Promised {
            by,
            offset: b.base_offset,
            lease: b.lease_epoch,
        },
    ))
}

fn describe(i: usize, event: &Event) -> String {
    match event {
        Event::LeaseTaken(tp, LeaseTaken::Held(l)) => format!(
            "{i} took p{} lease {} at {}",
            tp.partition, l.epoch, l.next_offset
        ),
        Event::LeaseTaken(tp, other) => format!("{i} took p{}: {other:?}", tp.partition),
        Event::LeaseReleased(tp) => format!("{i} released p{}", tp.partition),
        Event::Free(tp) => format!("{i} sees p{} free", tp.partition),
        _ => String::new(),
    }
}
