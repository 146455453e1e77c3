//! `bars`: what a bucket that takes 100 ms for a PUT leaves of throughput, latency and idleness, beside what is asked for.
//!
//! `cargo xtask services cargo run --release -p sh-testkit --bin bars -- target/release/streamhouse`. The argument is the
//! server's binary; without it, `STREAMHOUSE_BIN` names it.
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and the environment"
)]
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sh_client::{Admin, Client, NewTopic, Options, Producer, ProducerOptions, ProducerRecord};
use sh_testkit::torture::{
    agent::Agent,
    proxy::{Proxy, Weather},
    services::{Minio, Postgres, binary},
};
use tokio::{process::Command, time::sleep};

/// What every PUT is held up.
const PUT_DELAY: Duration = Duration::from_millis(100);
const PARTITIONS: i32 = 16;
/// Of the default Java producer.
const IN_FLIGHT: f64 = 5.0;
const BATCH_SIZE: f64 = 16384.0;
const MIB: f64 = 1024.0 * 1024.0;

/// One line of the report.
struct Bar {
    what: String,
    measured: String,
    wanted: String,
    reached: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let bars = measure().await?;
    for bar in &bars {
        let mark = if bar.reached { "ok" } else { "MISSED" };
        println!(
            "{mark:6}  {:58} {:>16}   (wanted: {})",
            bar.what, bar.measured, bar.wanted
        );
    }
    let all = bars.iter().all(|bar| bar.reached);
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure() -> Result<Vec<Bar>> {
    let folder = tempfile::tempdir()?;
    let minio = Minio::start(&folder.path().join("minio")).await?;
    let proxy = Proxy::before(&minio.address()).await?;
    proxy.set(Weather::SlowPuts(PUT_DELAY));
    let arguments = [
        "--bucket".to_owned(),
        minio.url(proxy.address()),
        "--metadata".to_owned(),
        Postgres::of_environment()?.database("bars")?,
    ];
    let server = std::env::args().nth(1).map_or_else(binary, Ok)?;
    let agent = Agent::new(&server, &folder.path().join("agent"), &arguments)?;
    let mut agent = agent.env(&minio.credentials());
    agent.start().await?;
    let mut bars = vec![lone_records(&agent).await?];
    bars.extend(throughput(&agent).await?);
    bars.extend(idleness(&agent, &proxy).await?);
    Ok(bars)
}

/// The mean of a histogram since the last look.
struct Mean {
    name: &'static str,
    label: &'static str,
    sum: f64,
    count: f64,
}

impl Mean {
    async fn of(agent: &Agent, name: &'static str, label: &'static str) -> Result<Mean> {
        let (sum, count) = (format!("{name}_sum"), format!("{name}_count"));
        Ok(Mean {
            name,
            label,
            sum: agent.metric(&sum, label).await?,
            count: agent.metric(&count, label).await?,
        })
    }
    async fn since(self, agent: &Agent) -> Result<Duration> {
        let now = Mean::of(agent, self.name, self.label).await?;
        let count = now.count - self.count;
        ensure!(count > 0.0, "nothing was counted by {}", self.name);
        Ok(Duration::from_secs_f64((now.sum - self.sum) / count))
    }
}

async fn puts(agent: &Agent) -> Result<Mean> {
    Mean::of(agent, "streamhouse_window_upload_seconds", "").await
}

async fn commits(agent: &Agent) -> Result<Mean> {
    Mean::of(agent, "streamhouse_commit_seconds", "").await
}

/// One record at a time, with silence between.
async fn lone_records(agent: &Agent) -> Result<Bar> {
    let client = Client::connect(&agent.address(), Options::default()).await?;
    let topic = NewTopic::new("lone", 1);
    Admin::new(client.clone())
        .create_topic(&topic, false)
        .await?;
    let options = ProducerOptions {
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    };
    let producer = Producer::new(client, options);
    one_record(&producer).await?;
    let put = puts(agent).await?;
    let mut took = Vec::new();
    for _ in 0..20 {
        sleep(Duration::from_millis(400)).await;
        took.push(one_record(&producer).await?);
    }
    let put = put.since(agent).await?;
    took.sort();
    let median = took[took.len() / 2];
    let limit = put + Duration::from_millis(20);
    Ok(Bar {
        what: "a lone acks=all record, median of 20".into(),
        measured: millis(median),
        wanted: format!(
            "at most one PUT ({}) + 20 ms = {}",
            millis(put),
            millis(limit)
        ),
        reached: median <= limit,
    })
}

async fn one_record(producer: &Producer) -> Result<Duration> {
    let started = Instant::now();
    let record = ProducerRecord {
        topic: "lone".into(),
        partition: Some(0),
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from_static(b"alone")),
        headers: Vec::new(),
    };
    producer.send(record).await?.wait().await?;
    Ok(started.elapsed())
}

/// One Java producer, with its defaults and with larger batches.
async fn throughput(agent: &Agent) -> Result<Vec<Bar>> {
    let client = Client::connect(&agent.address(), Options::default()).await?;
    let topic = NewTopic::new("busy", PARTITIONS);
    Admin::new(client).create_topic(&topic, false).await?;
    // The first run is for the Java machine and for ours to get warm.
    java_producer(agent, 50_000, &[]).await?;
    let (default, round) = timed(agent, 250_000, &[]).await?;
    let ceiling = round.ceiling(BATCH_SIZE);
    let (large, large_round) = timed(agent, 500_000, &["batch.size=131072"]).await?;
    Ok(vec![
        Bar {
            what: "one default Java producer, 16 partitions".into(),
            measured: format!("{default:.1} MiB/s"),
            wanted: format!("80 % of its ceiling {ceiling:.1} MiB/s at {round}"),
            reached: default >= 0.8 * ceiling,
        },
        Bar {
            what: "the same with batch.size=131072".into(),
            measured: format!("{large:.1} MiB/s"),
            wanted: format!("over 20 MiB/s; here at {large_round}"),
            reached: large > 20.0,
        },
    ])
}

/// What a request waits for: means over a run.
struct Round {
    put: Duration,
    commit: Duration,
}

impl Round {
    /// MiB per second of a producer with so large batches, whoever serves it.
    fn ceiling(&self, batch_bytes: f64) -> f64 {
        let round = self.put + self.commit + Duration::from_millis(10);
        IN_FLIGHT * batch_bytes * f64::from(PARTITIONS) / round.as_secs_f64() / MIB
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (put, commit) = (millis(self.put), millis(self.commit));
        write!(f, "PUT {put} + commit {commit} + 10 ms")
    }
}

async fn timed(agent: &Agent, records: u32, settings: &[&str]) -> Result<(f64, Round)> {
    let (put, commit) = (puts(agent).await?, commits(agent).await?);
    let rate = java_producer(agent, records, settings).await?;
    let (put, commit) = (put.since(agent).await?, commit.since(agent).await?);
    Ok((rate, Round { put, commit }))
}

/// MiB per second of Kafka's own ProducerPerformance with records of 1000 bytes.
async fn java_producer(agent: &Agent, records: u32, settings: &[&str]) -> Result<f64> {
    let mut java = Command::new("java");
    java.args(["-Xmx1g", "-cp"])
        .arg(kafka_jars()?.join("*"))
        .args([
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            "busy",
        ])
        .args(["--num-records", &records.to_string()])
        .args([
            "--record-size",
            "1000",
            "--throughput",
            "-1",
            "--producer-props",
        ])
        .arg(format!("bootstrap.servers={}", agent.address()))
        .args(settings);
    let out = java.output().await.context("cannot run java")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // `250000 records sent, 12345.6 records/sec (11.77 MB/sec), ...`; the last line is the whole run.
    let last = text
        .lines()
        .rev()
        .find(|line| line.contains("records/sec ("));
    let rate = last.and_then(|line| {
        line.split_once("records/sec (")?
            .1
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    let said = || {
        format!(
            "ProducerPerformance said:\n{text}{}",
            String::from_utf8_lossy(&out.stderr)
        )
    };
    rate.with_context(said)
}

/// The jars that the tests' oracle runs from.
fn kafka_jars() -> Result<PathBuf> {
    let home = match std::env::var_os("KAFKA_ORACLE_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
            .join(".cache/kafka-oracle"),
    };
    let jars = home.join("kafka-4.3.1/libs");
    ensure!(
        jars.exists(),
        "no {}; run `cargo xtask test` once",
        jars.display()
    );
    Ok(jars)
}

/// A minute in which nobody asks for anything.
async fn idleness(agent: &Agent, proxy: &Proxy) -> Result<[Bar; 2]> {
    sleep(Duration::from_secs(15)).await;
    let (ticks, puts, since) = (agent.cpu_ticks()?, proxy.puts(), Instant::now());
    sleep(Duration::from_secs(60)).await;
    let busy = (agent.cpu_ticks()? - ticks) as f64 / 100.0 / since.elapsed().as_secs_f64();
    let puts = proxy.puts() - puts;
    Ok([
        Bar {
            what: "PUTs of an idle server in a minute".into(),
            measured: puts.to_string(),
            wanted: "none".into(),
            reached: puts == 0,
        },
        Bar {
            what: "processor time of an idle server over a minute".into(),
            measured: format!("{:.2} %", busy * 100.0),
            wanted: "under 1 %".into(),
            reached: busy < 0.01,
        },
    ])
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
