//! Lets a plan happen, and judges it.
use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Once, atomic::Ordering},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    client::{connect_to, create_topic, list_offset},
    consumer::{Consumer, Positions, Reading, read_all},
    groups::{GroupAnomaly, GroupCounts, Member},
    judge::{all_is_there, committed_offsets, judge, judge_groups, overfull},
    life::Life,
    plan::{Fault, Plan, What},
    producer::Producer,
    reads::{BadRead, TimeLookup, Timestamps},
    transactions::{Counts, TransactionalProducer, TxnAnomaly},
    world::{Host, World},
};
use crate::torture::{
    check::{self, Anomaly, Leases},
    history::Log,
};

/// How long the world may take to come to rest when the faults are over, in virtual time.
const REST: Duration = Duration::from_secs(240);
/// How long acks=1 records are waited for where a disk was lost.
const LOST_DISK: Duration = Duration::from_secs(30);
/// What the last reading may take of that time.
const LAST_READING: Duration = Duration::from_secs(20);
/// How often it is looked whether a dead agent is to begin again.
const LOOK: Duration = Duration::from_millis(20);

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub problems: Vec<Problem>,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
    /// Calls of seams at which an agent could have died.
    pub points: u64,
    pub virtual_ms: u64,
    /// Records that were acknowledged.
    pub acknowledged: usize,
    /// What transactional clients lived through.
    pub transactions: Counts,
    /// What members of groups lived through.
    pub groups: GroupCounts,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Write(Anomaly),
    Read(BadRead),
    Transaction(TxnAnomaly),
    Group(GroupAnomaly),
    /// Two agents show different logs when everything is over.
    Differs {
        partition: i32,
        agents: (usize, usize),
    },
    /// An extent names bytes that are not in the bucket, or are no batches.
    Absent(String),
    /// Requests held more in memory than they may.
    Overfull {
        agent: usize,
        bytes: usize,
    },
    /// The faults are over, and somebody makes no progress.
    Stuck(String),
    Panicked(String),
}

impl Problem {
    /// Its kind in a word, by which a smaller plan is known to fail alike.
    pub fn kind(&self) -> String {
        let text = match self {
            Problem::Write(anomaly) => format!("{anomaly:?}"),
            Problem::Read(bad) => format!("{bad:?}"),
            Problem::Transaction(anomaly) => format!("{anomaly:?}"),
            Problem::Group(anomaly) => format!("{anomaly:?}"),
            other => format!("{other:?}"),
        };
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

thread_local! {
    /// The first panic of a task of this thread's world.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A task that panics ends silently; the hook sees to it that the run does not.
fn listen_for_panics() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|first| {
                first.get_or_insert_with(|| info.to_string());
            });
            before(info);
        }));
    });
    PANIC.set(None);
}

/// Runs a plan on this thread. `told`: the story is written down.
pub fn run(plan: &Plan, told: bool) -> Outcome {
    listen_for_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    let mut outcome = runtime.block_on(live(plan.clone(), told));
    drop(runtime);
    if let Some(panic) = PANIC.take() {
        outcome.problems.push(Problem::Panicked(panic));
    }
    outcome
}

async fn live(plan: Plan, told: bool) -> Outcome {
    let world = World::new(plan, told);
    let mut problems = Vec::new();
    if let Err(why) = timeout(REST, found(&world)).await {
        problems.push(Problem::Stuck(format!("no agent begins to serve: {why}")));
    } else {
        happen(&world, &mut problems).await;
    }
    for problem in &problems {
        world.note(|| format!("FOUND {problem}"));
    }
    let acknowledged = world.history.lock().acknowledged();
    let transactions = world.transactions.lock().counts;
    let groups = world.groups.lock().counts;
    let outcome = Outcome {
        problems,
        points: world.points.load(Ordering::Relaxed),
        virtual_ms: world.now_ms(),
        acknowledged,
        transactions,
        groups,
        story: world.take_story(),
    };
    // Agents and their world hold each other.
    for life in world.hosts.iter().filter_map(Host::alive) {
        life.die(0);
    }
    outcome
}

/// The agents begin, and the topic is there.
async fn found(world: &Arc<World>) {
    for host in 0..world.hosts.len() {
        tokio::spawn(keep_alive(world.clone(), host));
    }
    loop {
        sleep(LOOK).await;
        let Some(life) = world.hosts[0].alive() else {
            continue;
        };
        if let Some(connection) = connect_to(&life, "founder").await
            && create_topic(&connection, world.plan.partitions).await
        {
            return;
        }
    }
}

/// Begins a life, and the next one when it is over, for ever.
async fn keep_alive(world: Arc<World>, host: usize) {
    loop {
        let life = Life::begin(&world, host);
        while !life.is_dead() {
            sleep(LOOK).await;
        }
        let down = life.down_ms().unwrap_or(0);
        sleep(Duration::from_millis(down)).await;
    }
}

async fn happen(world: &Arc<World>, problems: &mut Vec<Problem>) {
    let plan = &world.plan;
    let producers: Vec<_> = (0..plan.producers.len())
        .map(|n| tokio::spawn(Producer::new(world, n).run()))
        .collect();
    let transactional: Vec<_> = (0..plan.transactional.len())
        .map(|n| tokio::spawn(TransactionalProducer::new(world, n).run()))
        .collect();
    for (group, plan) in plan.groups.iter().enumerate() {
        for number in 0..plan.members.len() {
            tokio::spawn(Member::new(world, group, number).run());
        }
    }
    let mut positions = Vec::new();
    for n in 0..plan.consumers.len() {
        let consumer = Consumer::new(world, n);
        positions.push(consumer.positions());
        tokio::spawn(consumer.run());
    }
    let faults = tokio::spawn(bring(world.clone()));
    sleep(Duration::from_millis(plan.length_ms)).await;
    // A fault that was to come later does not come any more.
    faults.abort();
    calm(world);
    let deadline = Instant::now() + REST;
    finish("producer", producers, deadline, problems).await;
    finish("transactional producer", transactional, deadline, problems).await;
    progress(world, deadline, problems).await;
    all_stop(world, deadline, problems).await;
    let Some(reading) = read_settled(world, deadline, problems).await else {
        return;
    };
    reach_the_end(&positions, &reading.log, deadline, problems).await;
    look_up_times(world, &reading.timestamps).await;
    judge(world, &reading, problems);
    let Ok(offsets) = timeout_at(deadline, committed_offsets(world)).await else {
        problems.push(Problem::Stuck("committed offsets are not told".into()));
        return;
    };
    judge_groups(world, &reading, &offsets, problems);
    problems.extend(overfull(world));
    let absent = all_is_there(world).await;
    problems.extend(absent.into_iter().map(Problem::Absent));
}

fn calm(world: &Arc<World>) {
    world.note(|| "the faults are over".into());
    world.calm.store(true, Ordering::Relaxed);
    for host in &world.hosts {
        host.pause.end();
    }
}

async fn bring(world: Arc<World>) {
    let begun = Instant::now();
    for fault in &world.plan.faults {
        tokio::time::sleep_until(begun + Duration::from_millis(fault.at_ms)).await;
        let Fault { agent, what, .. } = fault;
        world.note(|| format!("agent {agent}: {what:?}"));
        strike(&world, &world.hosts[*agent], what);
    }
}

fn strike(world: &Arc<World>, host: &Host, what: &What) {
    let until = |ms: u64| world.now_ms() + ms;
    match *what {
        What::Crash { down_ms } => {
            if let Some(life) = host.alive() {
                life.die(down_ms);
            }
        }
        What::LoseDisk { down_ms } => {
            if let Some(life) = host.alive() {
                life.die(down_ms);
                host.disk.wipe();
                *host.id.lock() = None;
            }
        }
        What::Stop { down_ms } => {
            if let Some(life) = host.alive() {
                tokio::spawn(async move { life.shut_down(down_ms).await.is_ok() });
            }
        }
        What::Pause { ms } => {
            host.pause.begin();
            let (world, number) = (world.clone(), host.number);
            tokio::spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                world.note(|| format!("agent {number} goes on"));
                world.hosts[number].pause.end();
            });
        }
        What::Clock { skew_ms } => host.skew_ms.store(skew_ms, Ordering::Relaxed),
        What::CutBucket { ms } => host.cut_bucket.store(until(ms), Ordering::Relaxed),
        What::CutStore { ms } => host.cut_store.store(until(ms), Ordering::Relaxed),
        What::FullDisk { ms } => {
            host.full.store(true, Ordering::Relaxed);
            let (world, number) = (world.clone(), host.number);
            tokio::spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                world.hosts[number].full.store(false, Ordering::Relaxed);
            });
        }
        What::FailSync { .. } => host.fail_sync.store(true, Ordering::Relaxed),
    }
}

async fn finish(
    kind: &str,
    producers: Vec<JoinHandle<()>>,
    deadline: Instant,
    problems: &mut Vec<Problem>,
) {
    for (number, producer) in producers.into_iter().enumerate() {
        let abort = producer.abort_handle();
        if timeout_at(deadline, producer).await.is_err() {
            abort.abort();
            let text = format!("{kind} {number} gets no acknowledgement");
            problems.push(Problem::Stuck(text));
        }
    }
}

/// Every partition of every group finds an owner that commits.
async fn progress(world: &Arc<World>, deadline: Instant, problems: &mut Vec<Problem>) {
    for group in 0..world.plan.groups.len() {
        while !world.groups.lock().is_fresh(group, world.plan.partitions) {
            if Instant::now() > deadline {
                let text = format!("group {group} does not commit for every partition");
                problems.push(Problem::Stuck(text));
                break;
            }
            sleep(LOOK).await;
        }
    }
}

/// Reads everything, again while acks=1 records may still be on their way from a WAL, and while a transaction that nobody
/// ends may still be aborted for its time.
async fn read_settled(
    world: &Arc<World>,
    deadline: Instant,
    problems: &mut Vec<Problem>,
) -> Option<Reading> {
    // A disk that is lost takes its records with it: for those nobody waits long.
    let disks = world.plan.loses_disks();
    let patience = if disks { LOST_DISK } else { REST };
    let patient = (deadline - 2 * LAST_READING).min(Instant::now() + patience);
    let mut pause = Duration::from_secs(1);
    loop {
        let mut found = Vec::new();
        let read = read_everywhere(world, deadline, &mut found).await;
        let passes = read.as_ref().is_some_and(|reading| {
            let history = world.history.lock();
            let anomalies = check::check(&history, &reading.log, &[], Leases::MayBeLost);
            reading.held_up().next().is_some() || anomalies.iter().any(Anomaly::may_pass)
        });
        if !passes || Instant::now() > patient {
            problems.extend(found);
            return read;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_READING);
    }
}

/// The topic as every agent shows it: they must agree.
async fn read_everywhere(
    world: &Arc<World>,
    deadline: Instant,
    problems: &mut Vec<Problem>,
) -> Option<Reading> {
    let mut first: Option<Reading> = None;
    for host in &world.hosts {
        let reading = timeout_at(deadline, read_at(world, host)).await;
        let reading = match reading {
            Ok(Ok(reading)) => reading,
            Ok(Err(why)) => {
                let text = format!("agent {} does not show its log: {why}", host.number);
                problems.push(Problem::Stuck(text));
                continue;
            }
            Err(_) => {
                let text = format!("agent {} does not serve", host.number);
                problems.push(Problem::Stuck(text));
                continue;
            }
        };
        match &first {
            None => first = Some(reading),
            Some(seen) => {
                problems.extend(differ(&seen.log, &reading.log, host.number));
                problems.extend(differ(&seen.committed, &reading.committed, host.number));
            }
        }
    }
    first
}

async fn read_at(world: &Arc<World>, host: &Host) -> Result<Reading, String> {
    loop {
        if let Some(life) = host.alive()
            && let Some(connection) = connect_to(&life, "auditor").await
        {
            match read_all(&connection, world.plan.partitions).await {
                Err(_) if connection.is_closed() => {}
                outcome => return outcome,
            }
        }
        sleep(LOOK).await;
    }
}

fn differ(first: &Log, other: &Log, agent: usize) -> Option<Problem> {
    let (partition, _) = first.iter().find(|(partition, part)| {
        // What stood in a WAL may come while we read: the shorter one must be the beginning of the longer.
        let records = other.get(partition).map_or(&[][..], |p| &p.records);
        let common = part.records.len().min(records.len());
        part.records[..common] != records[..common]
    })?;
    Some(Problem::Differs {
        partition: *partition,
        agents: (0, agent),
    })
}

async fn reach_the_end(
    positions: &[Positions],
    log: &Log,
    deadline: Instant,
    problems: &mut Vec<Problem>,
) {
    let ends: Vec<(i32, i64)> = log
        .iter()
        .filter_map(|(p, part)| Some((*p, part.records.last()?.offset + 1)))
        .collect();
    for (number, positions) in positions.iter().enumerate() {
        let there = || {
            let positions = positions.lock();
            ends.iter()
                .all(|(p, end)| positions.get(p).is_some_and(|at| at >= end))
        };
        while !there() {
            if Instant::now() > deadline {
                let text = format!("consumer {number} is at {:?} of {ends:?}", positions.lock());
                problems.push(Problem::Stuck(text));
                break;
            }
            sleep(LOOK).await;
        }
    }
}

/// Asks the first agent for the times of records, and just after them.
async fn look_up_times(world: &Arc<World>, timestamps: &Timestamps) {
    let Some(life) = world.hosts[0].alive() else {
        return;
    };
    let Some(connection) = connect_to(&life, "auditor").await else {
        return;
    };
    let mut chance = world.chance(8, 0);
    for (partition, times) in timestamps {
        let times: Vec<i64> = times.values().copied().collect();
        for _ in 0..4.min(times.len()) {
            let timestamp = times[chance.below(times.len())] + chance.below(2) as i64;
            let Ok((time, offset)) = list_offset(&connection, *partition, timestamp).await else {
                continue;
            };
            let told = (offset >= 0).then_some((offset, time));
            world.reads.lock().times.push(TimeLookup {
                partition: *partition,
                timestamp,
                told,
            });
        }
    }
}

/// For what waited behind a late update.
const LATE_FOLLOWERS: Duration = Duration::from_secs(3);

/// A clean stop of every agent flushes everything: after it nothing is under way, and what is read is final.
async fn all_stop(world: &Arc<World>, deadline: Instant, problems: &mut Vec<Problem>) {
    for host in &world.hosts {
        let stopping = async {
            let life = loop {
                match host.alive().filter(|life| life.is_serving()) {
                    Some(life) => break life,
                    None => sleep(LOOK).await,
                }
            };
            life.shut_down(0).await
        };
        match timeout_at(deadline, stopping).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                let text = format!("agent {} stops unclean: {why:#}", host.number);
                problems.push(Problem::Stuck(text));
            }
            Err(_) => {
                let text = format!("agent {} does not stop", host.number);
                problems.push(Problem::Stuck(text));
            }
        }
    }
    // A session of an agent that died may still hold locks, and others of it wait for them: all of that happens yet.
    if timeout_at(deadline, world.late.all_ended()).await == Ok(true) {
        sleep(LATE_FOLLOWERS).await;
    }
}
