//! A run: topics, writers and followers; whatever the test does to the servers meanwhile; the verdict.
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use sh_client::{Admin, Client, NewTopic, Options};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    chance::Chance,
    check::{Anomaly, Leases, check},
    flights::Flight,
    history::History,
    reading::{Follower, read_all},
    writer::{Kind, Plan, Shared, write},
};

/// Flights are keyed by carrier into so many partitions.
pub const PARTITIONS: i32 = 6;

/// Who writes to a topic.
pub struct Cast {
    pub topic: &'static str,
    pub writers: Vec<Kind>,
}

/// When the last acks=1 record must be there: that it will come is promised, not when. Another agent's lease may be in its way.
const COMMIT_MAX: Duration = Duration::from_secs(30);

/// A run under way.
pub struct Scene {
    bootstrap: String,
    stop: watch::Sender<bool>,
    topics: BTreeMap<&'static str, Stage>,
    writers: Mutex<Vec<JoinHandle<Result<()>>>>,
}

struct Stage {
    shared: Shared,
    follower: Follower,
}

/// What a run was, in numbers.
#[derive(Debug, Default)]
pub struct Verdict {
    pub acknowledged: usize,
    pub batches: usize,
    pub read: usize,
    pub seen: usize,
    pub anomalies: Vec<(String, Anomaly)>,
}

impl Verdict {
    /// An error that shows the first anomalies of each kind, if there are any.
    pub fn must_be_clean(&self) -> Result<()> {
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (topic, anomaly) in &self.anomalies {
            let shown = anomaly.to_string();
            let kind = shown.split(' ').next().unwrap_or_default().to_owned();
            kinds
                .entry(kind)
                .or_default()
                .push(format!("{topic}: {shown}"));
        }
        let shown: String = kinds
            .iter()
            .map(|(kind, all)| {
                format!(
                    "\n{} {kind}:\n  {}",
                    all.len(),
                    all[..all.len().min(8)].join("\n  ")
                )
            })
            .collect();
        ensure!(kinds.is_empty(), "promises were broken:{shown}");
        Ok(())
    }
}

impl Scene {
    /// Creates the topics and starts writing. Writers begin at the addresses in turn, and know all of them.
    pub async fn begin(
        addresses: &[String],
        casts: &[Cast],
        flights: &Arc<[Flight]>,
        pause: Duration,
        chance: &mut Chance,
    ) -> Result<Scene> {
        let bootstrap = addresses.join(",");
        let (stop, stopping) = watch::channel(false);
        let admin = Admin::new(Client::connect(&bootstrap, Options::default()).await?);
        let mut scene = Scene {
            bootstrap,
            stop,
            topics: BTreeMap::new(),
            writers: Mutex::default(),
        };
        for cast in casts {
            let topic = NewTopic::new(cast.topic, PARTITIONS);
            admin.create_topic(&topic, false).await?;
            let shared = Shared::new(stopping.clone());
            for kind in cast.writers.iter().copied() {
                let mut addresses = addresses.to_vec();
                let turn = scene.writers.lock().len() % addresses.len();
                addresses.rotate_left(turn);
                let plan = Plan {
                    kind,
                    addresses,
                    topic: cast.topic.to_owned(),
                    partitions: PARTITIONS,
                    flights: flights.clone(),
                    pause,
                    patience: Duration::from_secs(10),
                    chance: chance.fork(),
                };
                let writer = tokio::spawn(write(plan, shared.clone()));
                scene.writers.lock().push(writer);
            }
            let follower = Follower::start(&scene.bootstrap, cast.topic, PARTITIONS);
            scene.topics.insert(cast.topic, Stage { shared, follower });
        }
        Ok(scene)
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        let of = |stage: &Stage| stage.shared.acknowledged.load(Ordering::Relaxed);
        self.topics.values().map(of).sum()
    }

    /// Waits until so many more records were acknowledged.
    pub async fn progress(&self, records: u64, at_most: Duration) -> Result<()> {
        self.reach(self.acknowledged() + records, at_most).await
    }

    /// Waits until so many were acknowledged in all.
    pub async fn reach(&self, wanted: u64, at_most: Duration) -> Result<()> {
        let since = Instant::now();
        while self.acknowledged() < wanted {
            self.nobody_gave_up().await?;
            ensure!(
                since.elapsed() < at_most,
                "{} of {wanted} records were acknowledged after {at_most:?}",
                self.acknowledged()
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// An error of the first writer that gave up.
    async fn nobody_gave_up(&self) -> Result<()> {
        let ended = {
            let mut writers = self.writers.lock();
            let ended = writers.iter().position(JoinHandle::is_finished);
            ended.map(|n| writers.remove(n))
        };
        match ended {
            Some(writer) => writer.await?.context("a writer gave up"),
            None => Ok(()),
        }
    }

    /// Lets the writers get their last answers, reads everything and checks it.
    pub async fn end(self, leases: Leases) -> Result<Verdict> {
        self.stop.send_replace(true);
        for writer in self.writers.into_inner() {
            writer.await?.context("a writer gave up")?;
        }
        let mut verdict = Verdict::default();
        for (topic, stage) in self.topics {
            let seen = stage.follower.stop().await?;
            let history: History = stage.shared.history.lock().clone();
            let since = Instant::now();
            let (log, anomalies) = loop {
                let log = read_all(&self.bootstrap, topic, PARTITIONS).await?;
                let anomalies = check(&history, &log, &seen, leases);
                if since.elapsed() > COMMIT_MAX || !anomalies.iter().any(Anomaly::may_pass) {
                    break (log, anomalies);
                }
                sleep(Duration::from_millis(500)).await;
            };
            verdict.acknowledged += history.acknowledged();
            verdict.batches += history.batches.len();
            verdict.read += log.values().map(|p| p.records.len()).sum::<usize>();
            verdict.seen += seen.len();
            let named = anomalies.into_iter().map(|a| (topic.to_owned(), a));
            verdict.anomalies.extend(named);
        }
        Ok(verdict)
    }
}
