//! The write path as a machine without I/O: events in, effects out, `now` always an argument.
//!
//! The rules of `WritePath.tla` that live here: windows are committed in their order; an aborted one is submitted again under
//! a new id in its place; a refused batch goes out again before anything newer of its partition; a lease is taken only when
//! nothing of the partition is under way, and given up the same way; the WAL learns of a new id before its upload; records
//! are finished in the WAL only when they were stored.
mod leasing;
mod walled;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use sh_base::{
    ErrorCode, Failure, Incarnation, ObjectId, Offset, Org, TopicPartition, batch::Batch,
};

use super::{
    config::IngestConfig,
    driver::Drained,
    lease::LeaseTaken,
    part::{Assigned, HeldLease, LeaseState, Part},
    window::{Budget, Dependent, Entry, Reply, Stage, Window},
};
use crate::{
    api::{Ack, Append, AppendResult, Appended},
    commit::{CommitPlan, Promise, windows_of_one_update},
    mutant,
    row::{Answer, Fate, Head, RunAnswers},
    wal::record::WalRecord,
};

/// What happened.
pub enum Event {
    Append(Append, Reply),
    /// The object is in the bucket: where each batch starts, and how long the PUT took.
    Uploaded {
        id: ObjectId,
        starts: Vec<u64>,
        took: Duration,
    },
    Committed(Committed),
    /// Everything up to this WAL record is synced.
    WalSynced(u64),
    /// The WAL's disk is full: these records are not in it.
    WalSkipped(Vec<u64>),
    /// The oldest object id that the WAL's files name.
    WalHolds(Option<ObjectId>),
    LeaseTaken(TopicPartition, LeaseTaken),
    LeaseReleased(TopicPartition),
    /// No other agent holds a lease of the partition.
    Free(TopicPartition),
    /// A head was heard of.
    Head(TopicPartition, Head),
    /// The agent must stop: everything unanswered gets this.
    Fatal(Failure),
    /// Flush, give up leases.
    Drain,
}

/// The fates of the leading windows, in order, the last one perhaps aborted.
pub struct Committed {
    pub fates: Vec<Fate>,
    /// Log starts of the partitions that were written.
    pub log_starts: HashMap<TopicPartition, Offset>,
}

/// What to do.
pub enum Effect {
    Upload(Sealed),
    Commit(CommitPlan),
    /// A record and its number.
    Wal(u64, WalRecord),
    /// This batch record is stored: the WAL needs it no more.
    WalFinish(u64),
    TakeLease(TopicPartition),
    ReleaseLease(TopicPartition, u64),
    /// Say that the partition is wanted, and wait until no other agent holds its lease.
    AwaitFree(TopicPartition),
    /// Of this agent's ids nothing before this (epoch, seq) is needed any more.
    NeedNothingBefore((u32, u64)),
}

/// A closed window, ready to become an object.
pub struct Sealed {
    pub id: ObjectId,
    pub replaces: Vec<ObjectId>,
    pub answers: Vec<(ObjectId, Vec<RunAnswers>)>,
    pub runs: Vec<SealedRun>,
}

pub struct SealedRun {
    pub org: Org,
    pub partition: TopicPartition,
    pub batches: Vec<Batch>,
}

/// What the replay of the WAL hands to a fresh machine.
#[derive(Default)]
pub struct Restored {
    /// In WAL order.
    pub entries: Vec<RestoredEntry>,
    /// Leases of a former life that nobody has taken: their promises stand.
    pub leases: BTreeMap<TopicPartition, HeldLease>,
    /// The newest number of the WAL.
    pub wal_last: u64,
    /// The oldest object id that its files name.
    pub wal_oldest: Option<ObjectId>,
}

pub struct RestoredEntry {
    pub partition: TopicPartition,
    pub org: Org,
    pub batch: Batch,
    pub promise: Promise,
    pub wal: u64,
    /// The aborted object it was in.
    pub replaces: Option<ObjectId>,
}

pub struct Machine {
    cfg: IngestConfig,
    me: Incarnation,
    next_seq: u64,
    windows: VecDeque<Window>,
    /// Ordered, so that a run can be repeated.
    parts: BTreeMap<TopicPartition, Part>,
    budget: Budget,
    committing: bool,
    /// Answers of commits that no closed window carries yet.
    answers: Vec<(ObjectId, Vec<RunAnswers>)>,
    /// acks=1 answers that wait for the WAL, by record number.
    acks: VecDeque<(u64, Reply, Appended)>,
    wal_last: u64,
    wal_synced: u64,
    wal_oldest: Option<ObjectId>,
    wal_bytes: u64,
    put_time: Duration,
    /// When writers were last answered after a commit.
    answered: Duration,
    next_sweep: Duration,
    needs_said: (u32, u64),
    next_needs: Duration,
    draining: bool,
    dead: Option<Failure>,
    effects: Vec<Effect>,
}

/// How often idle leases and forgotten partitions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often it is said which ids are needed: each time the agent's row is written, for which commits wait a moment.
const NEEDS_EVERY: Duration = Duration::from_secs(60);

impl Machine {
    pub fn new(
        cfg: IngestConfig,
        me: Incarnation,
        restored: Restored,
        now: Duration,
        now_ms: i64,
    ) -> Machine {
        let budget = Budget::new(cfg.early_closes_per_second, cfg.early_closes_burst, now);
        let mut machine = Machine {
            cfg,
            me,
            next_seq: 1,
            windows: VecDeque::new(),
            parts: BTreeMap::new(),
            budget,
            committing: false,
            answers: Vec::new(),
            acks: VecDeque::new(),
            wal_last: restored.wal_last,
            wal_synced: restored.wal_last,
            wal_oldest: restored.wal_oldest,
            wal_bytes: 0,
            put_time: Duration::ZERO,
            answered: Duration::ZERO,
            next_sweep: now + SWEEP_EVERY,
            needs_said: (0, 0),
            next_needs: now,
            draining: false,
            dead: None,
            effects: Vec::new(),
        };
        machine.restore(restored, now, now_ms);
        machine
    }

    pub fn handle(&mut self, now: Duration, now_ms: i64, event: Event) {
        match event {
            Event::Append(append, reply) => self.append(now, now_ms, append, reply),
            Event::Uploaded { id, starts, took } => self.uploaded(id, starts, took),
            Event::Committed(committed) => self.committed(now, now_ms, committed),
            Event::WalSynced(upto) => self.wal_synced(upto),
            Event::WalSkipped(numbers) => self.wal_skipped(&numbers),
            Event::WalHolds(oldest) => self.wal_oldest = oldest,
            Event::LeaseTaken(tp, lease) => self.lease_taken(now, now_ms, tp, lease),
            Event::LeaseReleased(tp) | Event::Free(tp) => self.lease_over(now, now_ms, tp),
            Event::Head(tp, head) => self.head(now, tp, &head),
            Event::Fatal(why) => self.die(why),
            Event::Drain => self.drain(now),
        }
        self.commit_what_is_ready(now_ms);
    }

    /// The time has come that [`Machine::next_timeout`] named.
    pub fn tick(&mut self, now: Duration) {
        if self.close_time(now).is_some_and(|at| at <= now) {
            self.close(now);
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_EVERY;
            self.sweep(now);
            self.say_what_is_needed(now);
        }
    }

    /// When to call [`Machine::tick`], if nothing happens before.
    pub fn next_timeout(&mut self, now: Duration) -> Option<Duration> {
        let sweep = (!self.parts.is_empty()).then_some(self.next_sweep);
        [self.close_time(now), sweep].into_iter().flatten().min()
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// How it ended, once nothing is under way and no lease is held, or this agent must stop.
    pub fn drained(&self) -> Drained {
        match &self.dead {
            Some(why) => Some(Err(why.clone())),
            None => self.is_drained().then_some(Ok(())),
        }
    }

    /// Nothing is under way, and no lease is held. Never true of an agent that must stop with something unanswered.
    pub fn is_drained(&self) -> bool {
        let at_rest = |p: &Part| {
            p.pending == 0
                && p.redo.is_empty()
                && p.parked.is_empty()
                && matches!(p.lease, LeaseState::None)
        };
        self.windows.is_empty() && self.parts.values().all(at_rest)
    }

    // Taking batches in.

    fn append(&mut self, now: Duration, now_ms: i64, a: Append, reply: Reply) {
        let mut entry = Entry {
            partition: a.partition,
            org: a.org,
            ack: a.ack,
            batch: a.batch,
            transaction: a.transaction,
            lease_allowed: a.lease_allowed,
            reply: Some(reply),
            promise: None,
            wal: None,
            replayed: false,
            replaces: None,
            _charge: Some(a.charge),
        };
        if let Some(why) = &self.dead {
            return entry.answer(Err(why.clone()));
        }
        let part = self.parts.entry(entry.partition).or_default();
        if part.is_blocked() || !part.parked.is_empty() {
            part.parked.push_back(entry);
        } else {
            self.place(now, now_ms, entry);
        }
    }

    /// Gives an entry its place: an offset if there is a lease, and a window.
    fn place(&mut self, now: Duration, now_ms: i64, mut entry: Entry) {
        let (wal_has_room, draining) = (self.wal_bytes < self.cfg.wal_bytes_max, self.draining);
        let part = self.parts.entry(entry.partition).or_default();
        let transactional = entry.transaction.is_some();
        let wants_lease = entry.ack == Ack::Leader
            && entry.lease_allowed
            && !transactional
            && wal_has_room
            && !draining;
        let expiry_ms = self.cfg.producer_expiry_ms;
        match &mut part.lease {
            // **A transactional batch gets no offset before its commit**, where its transaction is looked at.
            LeaseState::Held(_) if transactional => {
                let tp = entry.partition;
                part.parked.push_front(entry);
                self.give_up(now, tp);
            }
            LeaseState::Held(lease) => match lease.assign(now, (now_ms, expiry_ms), &mut entry) {
                Assigned::Next => self.put_promised(now, now_ms, entry, wal_has_room),
                Assigned::Answer(answer) => {
                    let epoch = lease.epoch;
                    self.answer_in_order(entry, epoch, answer);
                }
            },
            LeaseState::None if wants_lease && part.pause_until <= now => {
                let tp = entry.partition;
                part.parked.push_front(entry);
                part.lease = LeaseState::Wanted;
                self.settle(tp);
            }
            _ => {
                self.put(now, entry);
            }
        }
    }

    /// A batch with an offset: if it is acks=1, the WAL gets it and its answer waits for the fsync.
    fn put_promised(&mut self, now: Duration, now_ms: i64, entry: Entry, wal_has_room: bool) {
        let (leader, tp) = (entry.ack == Ack::Leader && wal_has_room, entry.partition);
        let (index, ordinal) = self.put(now, entry);
        if leader {
            self.write_ahead(now_ms, index, tp, ordinal);
        }
    }

    /// **An answer that was decided ahead of commits is not heard before them**: a duplicate's original may still be lost.
    fn answer_in_order(&mut self, mut entry: Entry, lease_epoch: u64, answer: AppendResult) {
        match (self.windows.back_mut(), entry.reply.take()) {
            (Some(window), Some(reply)) if !mutant::is("duplicate_early") => {
                window.after.push(Dependent {
                    reply,
                    partition: entry.partition,
                    lease_epoch,
                    answer,
                });
            }
            (_, Some(reply)) => {
                let _ = reply.send(answer);
            }
            (_, None) => {}
        }
    }

    fn answer_dependent(&mut self, d: Dependent) {
        let held = self
            .parts
            .get_mut(&d.partition)
            .and_then(Part::held)
            .map(|l| l.epoch);
        let answer = match held == Some(d.lease_epoch) {
            true => d.answer,
            false => Err(Failure::new(
                ErrorCode::NotLeader,
                "the lease ended meanwhile: send the batch again",
            )),
        };
        let _ = d.reply.send(answer);
    }

    /// Puts an entry into the open window; tells which window that is, and the entry's ordinal in it.
    fn put(&mut self, now: Duration, entry: Entry) -> (usize, u32) {
        if let Some(part) = self.parts.get_mut(&entry.partition) {
            part.pending += 1;
        }
        let index = self.open_window(now);
        let window = &mut self.windows[index];
        let ordinal = window.push(now, entry);
        window.full = window.is_full(self.cfg.window_bytes_max);
        (index, ordinal)
    }

    fn open_window(&mut self, now: Duration) -> usize {
        let usable = |w: &Window| w.stage == Stage::Open && !w.is_full(self.cfg.window_bytes_max);
        if !self.windows.back().is_some_and(usable) {
            self.close(now);
            let id = self.next_id();
            self.windows.push_back(Window::new(id, now));
        }
        self.windows.len() - 1
    }

    fn next_id(&mut self) -> ObjectId {
        let seq = self.next_seq;
        self.next_seq += 1;
        ObjectId { by: self.me, seq }
    }

    // Closing and uploading.

    /// When the open window is to be closed. **Early**, when no window that was closed by choice is on its way, nothing has
    /// arrived for a while and the budget allows it; at its age otherwise; at once when it is full.
    ///
    /// **Those who were just answered write again at once, and are waited for**: a window that others had filled meanwhile
    /// would leave without them, and from then on two halves of one producer's requests would take turns, each waiting for
    /// the other's PUT.
    fn close_time(&mut self, now: Duration) -> Option<Duration> {
        let on_the_way = self.windows.iter().filter(|w| w.stage != Stage::Open);
        let (in_flight, by_choice) =
            on_the_way.fold((0, 0), |(n, c), w| (n + 1, c + usize::from(!w.full)));
        let quiet = self.quiet();
        let window = self
            .windows
            .back()
            .filter(|w| w.stage == Stage::Open && !w.entries.is_empty())?;
        if window.full || self.draining {
            return Some(now);
        }
        if in_flight >= self.cfg.windows_in_flight {
            return None;
        }
        let (aged, calm) = (
            window.opened + self.cfg.window_age_max,
            window.last_arrival.max(self.answered) + quiet,
        );
        if by_choice > 0 {
            return Some(aged);
        }
        Some(aged.min(calm.max(self.budget.next(now))))
    }

    /// How long nothing must arrive before a window is closed early.
    fn quiet(&self) -> Duration {
        (self.put_time / 16).clamp(Duration::from_micros(500), self.cfg.quiet_max)
    }

    fn close(&mut self, now: Duration) {
        let Some(window) = self.windows.back_mut().filter(|w| w.stage == Stage::Open) else {
            return;
        };
        if window.entries.is_empty() && window.after.is_empty() {
            return;
        }
        window.close();
        window.answers = std::mem::take(&mut self.answers);
        if !window.full {
            self.budget.take(now);
        }
        self.upload_what_is_ready();
    }

    /// **The WAL knows the id of a window before its upload**, synced (model: `aw_no_chain`).
    fn upload_what_is_ready(&mut self) {
        for window in &mut self.windows {
            let synced = window.wal_upto <= self.wal_synced || mutant::is("upload_before_sync");
            if window.stage == Stage::Closed && synced {
                window.stage = Stage::Uploading;
                self.effects.push(Effect::Upload(window.seal()));
            }
        }
    }

    fn uploaded(&mut self, id: ObjectId, starts: Vec<u64>, took: Duration) {
        self.put_time = if self.put_time.is_zero() {
            took
        } else {
            (self.put_time * 7 + took) / 8
        };
        if let Some(window) = self.windows.iter_mut().find(|w| w.id == id) {
            window.stage = Stage::Stored;
            window.starts = starts;
            if mutant::is("trim_early") {
                let numbers = window.entries.iter().filter_map(|e| e.wal);
                self.effects.extend(numbers.map(Effect::WalFinish));
            }
        }
    }

    // Committing.

    /// **In window order, one update in flight, merging all leading windows that are stored** (model: `Send`, `bug_order`).
    fn commit_what_is_ready(&mut self, now_ms: i64) {
        if self.committing || self.dead.is_some() {
            return;
        }
        if mutant::is("order")
            && let Some(i) = self.windows.iter().position(|w| w.stage == Stage::Stored)
        {
            self.windows.swap(0, i);
        }
        let stored = self.windows.iter().take_while(|w| w.stage == Stage::Stored);
        let mut windows: Vec<_> = stored.map(Window::plan).collect();
        if windows.is_empty() {
            return;
        }
        windows.truncate(windows_of_one_update(windows.iter()));
        let held: HashSet<_> = self
            .parts
            .iter()
            .filter(|(_, p)| !p.redo.is_empty())
            .map(|(tp, _)| *tp)
            .collect();
        self.committing = true;
        self.effects.push(Effect::Commit(CommitPlan {
            by: self.me,
            windows,
            held,
            now_ms,
            producer_expiry_ms: self.cfg.producer_expiry_ms,
        }));
    }

    fn committed(&mut self, now: Duration, now_ms: i64, committed: Committed) {
        self.committing = false;
        self.answered = now;
        let mut touched = BTreeSet::new();
        for fate in committed.fates {
            match fate {
                Fate::Committed(runs) => self.learn(runs, &committed.log_starts, &mut touched),
                Fate::Aborted => self.resubmit(),
            }
        }
        for tp in touched {
            self.resume(now, now_ms, tp);
        }
    }

    /// The first window is committed (model: `Learn`).
    fn learn(
        &mut self,
        runs: Vec<RunAnswers>,
        log_starts: &HashMap<TopicPartition, Offset>,
        touched: &mut BTreeSet<TopicPartition>,
    ) {
        let Some(mut window) = self.windows.pop_front() else {
            return;
        };
        let answers: Vec<Answer> = runs
            .iter()
            .flat_map(|r| r.answers.iter().copied())
            .collect();
        for (entry, answer) in window.entries.drain(..).zip(answers) {
            touched.insert(entry.partition);
            let log_start = log_starts.get(&entry.partition).copied().unwrap_or(0);
            self.conclude(entry, answer, log_start);
        }
        window
            .after
            .drain(..)
            .for_each(|dependent| self.answer_dependent(dependent));
        self.answers.push((window.id, runs));
    }

    fn conclude(&mut self, mut entry: Entry, answer: Answer, log_start: Offset) {
        let part = self.parts.entry(entry.partition).or_default();
        part.pending = part.pending.saturating_sub(1);
        let appended = |base_offset, duplicate| Appended {
            base_offset,
            log_start,
            duplicate,
        };
        let result = match answer {
            Answer::Stored { base_offset } => Ok(appended(base_offset, false)),
            Answer::Duplicate { base_offset } => Ok(appended(base_offset, true)),
            Answer::Refused(why) => Err(Failure::from(why.code())),
            Answer::Again => return self.again(entry),
        };
        self.finish_in_wal(&entry, &result);
        entry.answer(result);
    }

    /// Refused for a lease: it goes out again, before anything newer of its partition, without its promise.
    fn again(&mut self, mut entry: Entry) {
        let tp = entry.partition;
        entry.replayed |= entry.wal.is_some();
        entry.promise = None;
        let part = self.parts.entry(tp).or_default();
        part.redo.push_back(entry);
        if !matches!(part.lease, LeaseState::Foreign) {
            part.lease = LeaseState::Foreign;
            self.effects.push(Effect::AwaitFree(tp));
        }
    }

    /// **An aborted window is submitted again, under a new id, in its place** (model: `Resubmit`, `aw_resubmit_late`).
    fn resubmit(&mut self) {
        let id = self.next_id();
        let Some(window) = self.windows.front_mut() else {
            return;
        };
        window.replaces.push(window.id);
        window.id = id;
        window.stage = Stage::Closed;
        let moved = walled::moved_records(window);
        self.move_in_wal(0, moved);
        if mutant::is("resubmit_late") {
            let closed = self
                .windows
                .iter()
                .take_while(|w| w.stage != Stage::Open)
                .count();
            self.windows.make_contiguous()[..closed].rotate_left(1);
        }
        self.upload_what_is_ready();
    }

    // Beginning and end.

    /// What the WAL brought back goes out first, at the promised offsets where the lease is still ours (model: `Restarted`).
    fn restore(&mut self, restored: Restored, now: Duration, now_ms: i64) {
        for (tp, lease) in restored.leases {
            self.parts.entry(tp).or_default().lease = LeaseState::Held(HeldLease {
                last_used: now,
                ..lease
            });
        }
        let mut touched = Vec::new();
        for r in restored.entries {
            self.wal_bytes += r.batch.bytes().len() as u64;
            let part = self.parts.entry(r.partition).or_default();
            let mut entry = Entry {
                partition: r.partition,
                org: r.org,
                ack: Ack::Leader,
                batch: r.batch,
                transaction: None,
                lease_allowed: true,
                reply: None,
                promise: None,
                wal: Some(r.wal),
                replayed: true,
                replaces: r.replaces,
                _charge: None,
            };
            if let Some(lease) = part.held().filter(|l| l.epoch == r.promise.lease_epoch) {
                entry.promise = Some(r.promise);
                lease.restore(&entry, now_ms);
            }
            part.redo.push_back(entry);
            touched.push(r.partition);
        }
        touched
            .into_iter()
            .for_each(|tp| self.resume(now, now_ms, tp));
    }

    fn drain(&mut self, now: Duration) {
        self.draining = true;
        self.close(now);
        let held: Vec<_> = self
            .parts
            .iter_mut()
            .filter_map(|(tp, p)| p.held().is_some().then_some(*tp))
            .collect();
        held.into_iter().for_each(|tp| self.give_up(now, tp));
    }

    fn die(&mut self, why: Failure) {
        for window in &mut self.windows {
            window.fail(&why);
        }
        for part in self.parts.values_mut() {
            part.redo
                .iter_mut()
                .chain(&mut part.parked)
                .for_each(|e| e.answer(Err(why.clone())));
        }
        self.acks.clear();
        self.dead = Some(why);
    }
}

#[cfg(test)]
mod tests;
