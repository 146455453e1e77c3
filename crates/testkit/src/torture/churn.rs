//! Churn: members of many groups, of both protocols, join, leave and vanish all the time, and agents are killed; then
//! everybody must find a place, and nothing that was committed may have moved back.
mod crowd;
mod member;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use kafka_protocol::{
    messages::{
        GroupId, OffsetFetchRequest, TopicName, offset_fetch_request::OffsetFetchRequestTopic,
        offset_fetch_response::OffsetFetchResponsePartition,
    },
    protocol::StrBytes,
};
use sh_client::{Client, CoordinatorKind, Options};
use tokio::time::sleep;

use self::crowd::Crowd;
use super::{
    agent::Agent,
    chance::Chance,
    check::Leases,
    copying::QUICK_GROUPS,
    endurance::{Place, World},
    flights,
    scene::{Cast, PARTITIONS, Scene, Verdict},
    watch::{Watch, Watched},
    writer::Kind,
};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub groups: usize,
    pub lasting: Duration,
    /// Between two kills of an agent.
    pub between_kills: Duration,
}

/// What all groups read.
const TOPIC: &str = "churn";
/// Members that a group may have.
const SLOTS: usize = 3;
/// A pause between requests of the writer: every group reads all of it.
const PAUSE: Duration = Duration::from_millis(150);
/// How long groups may need to settle and to read everything, once the trouble is over.
const SETTLE_MAX: Duration = Duration::from_secs(180);
/// How long a start and the first records after it may take.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// What a run was.
#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub watched: Watched,
    pub groups: usize,
    pub joins: usize,
    pub leaves: usize,
    pub vanished: usize,
    pub kills: usize,
    /// The slowest start after a kill.
    pub slowest_start: Duration,
    /// How long the groups needed to settle, and to read everything.
    pub settled: Duration,
    pub caught_up: Duration,
    pub ends: BTreeMap<String, usize>,
    /// Offsets behind which a group has committed, and which no member was handed: (group, partition, from, to).
    pub skipped: Vec<(String, i32, i64, i64)>,
    pub resident_bytes_max: u64,
}

impl Report {
    /// The numbers, in a few lines.
    pub fn summary(&self) -> String {
        format!(
            "{} groups, {} joins, {} leaves, {} vanished; {} kills, back after at most {:?}; settled in {:?}, caught up in {:?}\n\
             {} records acknowledged, {} anomalies; committed offsets were looked at {} times, {} moved back; {} ranges skipped\n\
             {} MiB resident at most; members began anew after {:?}",
            self.groups,
            self.joins,
            self.leaves,
            self.vanished,
            self.kills,
            self.slowest_start,
            self.settled,
            self.caught_up,
            self.verdict.acknowledged,
            self.verdict.anomalies.len(),
            self.watched.looks,
            self.watched.moved_back.len(),
            self.skipped.len(),
            self.resident_bytes_max >> 20,
            self.ends
        )
    }

    /// An error where a promise was broken.
    pub fn must_be_clean(&self) -> Result<()> {
        self.verdict.must_be_clean()?;
        self.watched.must_be_clean()?;
        let shown = &self.skipped[..self.skipped.len().min(12)];
        ensure!(shown.is_empty(), "groups skipped records: {shown:?}");
        Ok(())
    }
}

/// Runs under `folder`. An error says which group is stuck.
pub async fn run(place: Place, folder: &Path, size: Size, mut chance: Chance) -> Result<Report> {
    let flights = flights::load()?;
    let mut world = World::start(place, folder, &QUICK_GROUPS).await?;
    let addresses: Vec<String> = world.agents.iter().map(Agent::address).collect();
    let cast = Cast {
        topic: TOPIC,
        writers: vec![Kind::Idempotent],
    };
    let scene = Scene::begin(&addresses, &[cast], &flights, PAUSE, &mut chance.fork()).await?;
    scene.progress(1, RECOVERY_MAX).await?;
    let mut crowd = Crowd::new(&addresses.join(","), size.groups, chance.fork());
    let watch = Watch::start(&crowd.bootstrap, crowd.names());
    let (mut kills, mut slowest_start, mut resident_bytes_max) = (0, Duration::ZERO, 0);
    let started = Instant::now();
    let mut killed = started;
    while started.elapsed() < size.lasting {
        crowd.stir();
        sleep(Duration::from_secs(1)).await;
        for agent in &world.agents {
            resident_bytes_max = resident_bytes_max.max(agent.resident_bytes()?);
        }
        if killed.elapsed() >= size.between_kills {
            let victim = chance.below(world.agents.len());
            let took = kill(&mut world.agents[victim], &mut crowd, &mut chance).await?;
            (kills, killed) = (kills + 1, Instant::now());
            slowest_start = slowest_start.max(took);
            println!(
                "{:>6} s  killed agent {victim}, back after {took:?}; {} joins, {} leaves, {} vanished",
                started.elapsed().as_secs(),
                crowd.joins,
                crowd.leaves,
                crowd.vanished
            );
        }
    }
    crowd.fill();
    let settled = crowd.settle().await?;
    let verdict = scene.end(Leases::Kept).await?;
    let caught_up = crowd.catch_up().await?;
    let watched = watch.stop().await?;
    nobody_has_no_offsets(&crowd.bootstrap).await?;
    let skipped = crowd.disperse().await?;
    for agent in &mut world.agents {
        agent.drain().await?;
    }
    let ends = crowd.ends.lock().clone();
    Ok(Report {
        verdict,
        watched,
        groups: size.groups,
        joins: crowd.joins,
        leaves: crowd.leaves,
        vanished: crowd.vanished,
        kills,
        slowest_start,
        settled,
        caught_up,
        ends,
        skipped,
        resident_bytes_max,
    })
}

/// The churn goes on while the agent is down.
async fn kill(agent: &mut Agent, crowd: &mut Crowd, chance: &mut Chance) -> Result<Duration> {
    agent.kill()?;
    crowd.stir();
    sleep(chance.millis(0, 1_000)).await;
    let down = Instant::now();
    agent.start().await?;
    Ok(down.elapsed())
}

/// Somebody who asks for the offsets of a group that nobody knows is told -1, and no error.
async fn nobody_has_no_offsets(bootstrap: &str) -> Result<()> {
    const NOBODY: &str = "nobody";
    let client = Client::connect(bootstrap, Options::default()).await?;
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_indexes((0..PARTITIONS).collect());
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str(NOBODY)))
        .with_topics(Some(vec![topic]));
    let ask = || async {
        let coordinator = client.coordinator(CoordinatorKind::Group, NOBODY).await?;
        coordinator.call(&request, 7).await
    };
    let answer = client.retry("OffsetFetch", ask).await?;
    let parts: Vec<_> = answer.topics.iter().flat_map(|t| &t.partitions).collect();
    let none = |p: &OffsetFetchResponsePartition| p.error_code == 0 && p.committed_offset == -1;
    ensure!(
        answer.error_code == 0
            && parts.len() == PARTITIONS as usize
            && parts.iter().all(|p| none(p)),
        "an unknown group has offsets: {answer:?}"
    );
    Ok(())
}
