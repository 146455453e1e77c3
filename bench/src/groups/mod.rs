//! Consumer groups: many members in one group, and many groups of one member, each with a connection of its own.
mod member;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    gauge::{Latencies, Run, latencies},
    measure::{Quantiles, make_topic},
    server::Server,
};
use member::Member;

/// Which protocol members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    New,
}

/// A heartbeat of each member, and if wished a commit of one offset, at fixed times.
#[derive(Clone, Copy, Debug)]
pub struct GroupLoad {
    pub speaks: Speaks,
    pub groups: usize,
    pub members: usize,
    pub heartbeat: Duration,
    pub commit: Option<Duration>,
}

/// How long groups may take until every member has its share.
const JOINING_MAX: Duration = Duration::from_secs(180);

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Grouped {
    /// From the first request until every member of every group had its share.
    pub joined: Duration,
    pub heartbeat_ms: Option<Quantiles>,
    pub commit_ms: Option<Quantiles>,
    /// Cores of the server, while all was at rest.
    pub cores: Option<f64>,
    pub heartbeats_per_second: f64,
    pub commits_per_second: f64,
    /// Members that were told to join again, while all was at rest.
    pub rejoined: u64,
}

/// What all members of a run share.
struct Shared {
    load: GroupLoad,
    address: String,
    topic: String,
    run: Run,
    begun: Instant,
    /// How many members of a group have their share, by group and generation.
    settled: Mutex<BTreeMap<(usize, i32), usize>>,
    rejoined: AtomicU64,
    seen: Mutex<Seen>,
}

struct Seen {
    heartbeats: Latencies,
    commits: Latencies,
}

impl Shared {
    /// When a member first does what all do `every` so often, spread evenly.
    fn first(&self, place: usize, every: Duration) -> Instant {
        let count = (self.load.groups * self.load.members) as u32;
        Instant::now() + every * place as u32 / count
    }

    /// A member has its share in a generation, and not in the one before.
    fn settle(&self, group: usize, before: Option<i32>, now: i32) {
        let mut settled = self.settled.lock();
        if let Some(count) = before.and_then(|before| settled.get_mut(&(group, before))) {
            *count = count.saturating_sub(1);
        }
        *settled.entry((group, now)).or_default() += 1;
        settled.retain(|_, count| *count > 0);
    }

    fn all_settled(&self) -> bool {
        let settled = self.settled.lock();
        settled.len() == self.load.groups && settled.values().all(|n| *n == self.load.members)
    }
}

/// Runs the load for `time` after every member has its share.
pub async fn run(server: &Server, load: GroupLoad, time: Duration) -> Result<Grouped> {
    let partitions = if load.groups == 1 {
        load.members as i32
    } else {
        4
    };
    let topic = make_topic(server, "groups", partitions).await?;
    let seen = Seen {
        heartbeats: latencies(),
        commits: latencies(),
    };
    let shared = Arc::new(Shared {
        load,
        address: server.address.clone(),
        topic,
        run: Run::default(),
        begun: Instant::now(),
        settled: Mutex::default(),
        rejoined: AtomicU64::new(0),
        seen: Mutex::new(seen),
    });
    let mut members = JoinSet::new();
    for place in 0..load.groups * load.members {
        let shared = shared.clone();
        members.spawn(async move {
            let played = Member::play(&shared, place).await;
            played.inspect_err(|why| shared.run.blame(format!("member {place}: {why:#}")))
        });
    }
    let measured = watch(server, &shared, time).await;
    shared.run.end();
    members.shutdown().await;
    measured
}

async fn watch(server: &Server, shared: &Shared, time: Duration) -> Result<Grouped> {
    while !shared.all_settled() {
        if let Some(why) = shared.run.trouble() {
            bail!("groups at {}: {why}", server.name);
        }
        ensure!(
            shared.begun.elapsed() < JOINING_MAX,
            "after {JOINING_MAX:?} not every member has its share: {:?}",
            shared.settled.lock().iter().take(5).collect::<Vec<_>>()
        );
        sleep(Duration::from_millis(20)).await;
    }
    let joined = shared.begun.elapsed();
    // What joining has left behind is not part of the rest.
    sleep(Duration::from_secs(5)).await;
    let rejoined = shared.rejoined.load(Ordering::Relaxed);
    let before = server.sample().await?;
    shared.run.measure();
    let measuring = Instant::now();
    sleep(time).await;
    let (wall, after) = (measuring.elapsed().as_secs_f64(), server.sample().await?);
    if let Some(why) = shared.run.trouble() {
        bail!("groups at {}: {why}", server.name);
    }
    let seen = shared.seen.lock();
    let cpu = before.cpu.zip(after.cpu);
    Ok(Grouped {
        joined,
        heartbeat_ms: Quantiles::of(&seen.heartbeats),
        commit_ms: Quantiles::of(&seen.commits),
        cores: cpu.map(|(a, b)| (b - a).as_secs_f64() / wall),
        heartbeats_per_second: seen.heartbeats.len() as f64 / wall,
        commits_per_second: seen.commits.len() as f64 / wall,
        rejoined: shared.rejoined.load(Ordering::Relaxed) - rejoined,
    })
}
