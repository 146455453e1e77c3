//! One measured run: a load in threads of its own, readings of the server around its measured part.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use serde::Serialize;
use sh_client::{Admin, NewTopic, OffsetSpec};
use tokio::time::sleep;

use crate::{
    consume::ConsumeLoad,
    gauge::{Generator, Latencies, Run},
    produce::{Departures, Pace, ProduceLoad, Produced},
    server::{Sample, Server},
};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// How long a run warms up, how long it is measured, and how much each of both may write.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub warm: Duration,
    pub run: Duration,
    pub bytes_max: u64,
}

/// Milliseconds at three quantiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Quantiles {
    pub fn of(seen: &Latencies) -> Option<Quantiles> {
        let at = |q| seen.value_at_quantile(q) as f64 / 1e3;
        (!seen.is_empty()).then(|| Quantiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        })
    }
}

/// What a run showed. Where the server does not tell, or it makes no sense, there is nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    pub seconds: f64,
    pub records_per_second: f64,
    pub mib_per_second: f64,
    pub produce_ms: Option<Quantiles>,
    pub end_to_end_ms: Option<Quantiles>,
    pub server_cores: Option<f64>,
    pub cpu_seconds_per_gib: Option<f64>,
    pub peak_mib: Option<f64>,
    pub puts_per_second: Option<f64>,
    pub puts_per_gib: Option<f64>,
    pub gets_per_gib: Option<f64>,
    pub up_bytes_per_byte: Option<f64>,
    pub down_bytes_per_byte: Option<f64>,
    pub transactions_per_gib: Option<f64>,
    pub rows_per_gib: Option<f64>,
    /// Bytes of one gathered write of the WAL.
    pub wal_write_bytes: Option<f64>,
    /// Error codes of answers, and how often each came.
    pub errors: BTreeMap<i16, u64>,
    pub generator_cores: f64,
    /// Empty, or what of the numbers is the generator's.
    pub generator_says: String,
    /// Requests answered by the connection that got the fewest, and the most.
    pub answered: Option<(u64, u64)>,
}

/// A load that keeps a server busy: what a few well-tuned producers send.
pub fn throughput(topic: &str, acks: i16, partitions: i32, record_bytes: usize) -> ProduceLoad {
    let (batch_bytes, batches_per_request) = match partitions {
        ..16 => (128 * 1024, 1),
        16..100 => (16 * 1024, 4),
        _ => (4 * 1024, 32),
    };
    ProduceLoad {
        topic: topic.into(),
        partitions,
        acks,
        record_bytes,
        records_per_batch: (batch_bytes / (record_bytes + 10)).max(1),
        batches_per_request,
        connections: 4,
        // acks=all waits for a PUT: as much must be under way as the store takes at once, and a window that fills meanwhile.
        pace: Pace::Closed(if acks == 1 { 16 } else { 160 }),
    }
}

/// A topic name that was not used before in this run.
fn fresh(base: &str) -> String {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    format!("{base}-{}-{number}", std::process::id())
}

pub async fn make_topic(server: &Server, base: &str, partitions: i32) -> Result<String> {
    let (name, client) = (fresh(base), server.client().await?);
    let admin = Admin::new(client.clone());
    admin
        .create_topic(&NewTopic::new(&name, partitions), false)
        .await?;
    // Kafka answers before it tells of the topic's partitions.
    for _ in 0..300 {
        let topic = client.topic(&name).await;
        if topic.is_ok_and(|topic| topic.partitions.len() == partitions as usize) {
            return Ok(name);
        }
        client.forget(&name);
        sleep(Duration::from_millis(50)).await;
    }
    bail!(
        "topic {name} has no {partitions} partitions on {}",
        server.name
    )
}

/// A topic that takes what a load writes. **Apache Kafka tells of a topic's partitions before it has made their logs**, and
/// refuses what comes before (UNKNOWN_TOPIC_OR_PARTITION): with 1,000 partitions for seconds.
pub async fn make_writable(server: &Server, base: &str, partitions: i32) -> Result<String> {
    let name = make_topic(server, base, partitions).await?;
    let admin = Admin::new(server.client().await?);
    let begun = Instant::now();
    for partition in 0..partitions {
        while let Err(why) = admin
            .list_offset(&name, partition, OffsetSpec::Latest)
            .await
        {
            if begun.elapsed() > WRITABLE_MAX {
                let server = &server.name;
                return Err(why).with_context(|| {
                    format!("partition {partition} of {name} on {server} takes no records")
                });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(name)
}

/// How long a server may take to make the partitions of a topic.
const WRITABLE_MAX: Duration = Duration::from_secs(120);

/// Waits for the threads of a load without holding a thread of the runtime.
async fn joined<T: Send + Sync + 'static>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow!("a thread of the load panicked"))?
}

/// The measured part of a run: warm-up, readings, time, readings.
async fn observe(server: &Server, run: &Run, timing: Timing) -> Result<(Sample, Sample, Duration)> {
    let patiently = async |most: Duration, bytes: &AtomicU64| {
        let begun = Instant::now();
        while begun.elapsed() < most
            && bytes.load(Ordering::Relaxed) < timing.bytes_max
            && !run.is_finished()
        {
            sleep(Duration::from_millis(20).min(most)).await;
        }
    };
    patiently(timing.warm, &run.bytes_ever).await;
    server.forget_peak();
    let before = server.sample().await?;
    run.measure();
    let begun = Instant::now();
    patiently(timing.run, &run.bytes).await;
    let wall = begun.elapsed();
    let after = server.sample().await?;
    run.end();
    Ok((before, after, wall))
}

/// Produces; with `end_to_end`, one consumer follows.
pub async fn produce(
    server: &Server,
    load: &ProduceLoad,
    timing: Timing,
    end_to_end: bool,
) -> Result<Measured> {
    let mut load = load.clone();
    load.topic = make_writable(server, &load.topic, load.partitions).await?;
    let run = Arc::new(Run::default());
    let departures: Option<Arc<Departures>> =
        end_to_end.then(|| Arc::new((0..load.partitions).map(|_| Mutex::default()).collect()));
    let consumers = departures.clone().map(|departures| {
        let reading = ConsumeLoad {
            topic: load.topic.clone(),
            partitions: load.partitions,
            connections: 1,
            partition_bytes_max: 1024 * 1024,
            again: false,
            records_per_batch: load.records_per_batch as i64,
            counts: false,
        };
        let (address, run) = (server.address.clone(), run.clone());
        thread::spawn(move || reading.run(&address, &run, &[], Some(&departures)))
    });
    let producers = {
        let (address, run, load) = (server.address.clone(), run.clone(), load.clone());
        thread::spawn(move || load.run(&address, &run, departures.as_ref()))
    };
    let (before, after, wall) = observe(server, &run, timing).await?;
    let produced = joined(producers).await;
    run.all_answered();
    let produced = produced?;
    let mut measured = summary(&run, &before, &after, wall, &produced.generator);
    if let Some(thread) = consumers {
        let consumed = joined(thread).await?;
        measured.end_to_end_ms = Quantiles::of(&consumed.latencies);
    }
    measured.peak_mib = server.peak_bytes().map(|bytes| bytes as f64 / MIB);
    // What was written must not fill the disk of the machine; that it cannot be deleted changes no number.
    drop(
        Admin::new(server.client().await?)
            .delete_topic(&load.topic)
            .await,
    );
    note_producers(&mut measured, &produced);
    match run.trouble() {
        Some(why) => Err(anyhow!(why)).with_context(|| format!("producing to {}", server.name)),
        None => Ok(measured),
    }
}

fn note_producers(measured: &mut Measured, produced: &Produced) {
    measured.produce_ms = Quantiles::of(&produced.latencies);
    let least = produced.answered.iter().min().copied();
    measured.answered = least.zip(produced.answered.iter().max().copied());
}

/// Writes about `bytes` to a topic that exists.
pub async fn pour(server: &Server, load: &ProduceLoad, bytes: u64) -> Result<()> {
    let run = Arc::new(Run::default());
    let timing = Timing {
        warm: Duration::from_secs(120),
        run: Duration::ZERO,
        bytes_max: bytes,
    };
    let producers = {
        let (address, run, load) = (server.address.clone(), run.clone(), load.clone());
        thread::spawn(move || load.run(&address, &run, None))
    };
    observe(server, &run, timing).await?;
    joined(producers).await?;
    match run.trouble() {
        Some(why) => Err(anyhow!(why)).with_context(|| format!("filling {}", server.name)),
        None => Ok(()),
    }
}

/// Writes about `bytes` and returns the topic and the end offset of each partition.
pub async fn fill(server: &Server, load: &ProduceLoad, bytes: u64) -> Result<(String, Vec<i64>)> {
    let mut load = load.clone();
    load.topic = make_writable(server, &load.topic, load.partitions).await?;
    pour(server, &load, bytes).await?;
    let admin = Admin::new(server.client().await?);
    let mut ends = Vec::new();
    for partition in 0..load.partitions {
        let latest = admin
            .list_offset(&load.topic, partition, OffsetSpec::Latest)
            .await?;
        ends.push(latest.context("a partition without an end")?.0);
    }
    Ok((load.topic, ends))
}

/// Reads a filled topic from its beginning; `again` and again, or once.
pub async fn consume(
    server: &Server,
    load: &ProduceLoad,
    (topic, ends): &(String, Vec<i64>),
    connections: usize,
    again: bool,
    timing: Timing,
) -> Result<Measured> {
    let reading = ConsumeLoad {
        topic: topic.clone(),
        partitions: load.partitions,
        connections,
        partition_bytes_max: 1024 * 1024,
        again,
        records_per_batch: load.records_per_batch as i64,
        counts: true,
    };
    let run = Arc::new(Run::default());
    let consumers = {
        let (address, run, ends) = (server.address.clone(), run.clone(), ends.clone());
        thread::spawn(move || {
            let consumed = reading.run(&address, &run, &ends, None);
            run.finish();
            consumed
        })
    };
    let (before, after, wall) = observe(server, &run, timing).await?;
    let consumed = joined(consumers).await?;
    let mut measured = summary(&run, &before, &after, wall, &consumed.generator);
    measured.peak_mib = server.peak_bytes().map(|bytes| bytes as f64 / MIB);
    match run.trouble() {
        Some(why) => Err(anyhow!(why)).with_context(|| format!("reading from {}", server.name)),
        None => Ok(measured),
    }
}

fn summary(
    run: &Run,
    before: &Sample,
    after: &Sample,
    wall: Duration,
    generator: &Generator,
) -> Measured {
    let bytes = run.bytes.load(Ordering::Relaxed) as f64;
    let (seconds, gib) = (wall.as_secs_f64(), bytes / GIB);
    let cpu = before
        .cpu
        .zip(after.cpu)
        .map(|(a, b)| (b - a).as_secs_f64());
    let grown = |name: &str, label: &str| after.growth(before, name, label);
    let per_gib = |value: Option<f64>| value.filter(|_| gib > 0.0).map(|value| value / gib);
    let requests = |op: &str| grown("streamhouse_bucket_requests_total", &format!("op=\"{op}\""));
    let moved = |way: &str| grown("streamhouse_bucket_bytes_total", way);
    let gets = requests("get").zip(requests("get_all")).map(|(a, b)| a + b);
    let syncs = grown("streamhouse_wal_syncs_total", "").filter(|syncs| *syncs > 0.0);
    Measured {
        seconds,
        records_per_second: run.records.load(Ordering::Relaxed) as f64 / seconds,
        mib_per_second: bytes / MIB / seconds,
        server_cores: cpu.map(|cpu| cpu / seconds),
        cpu_seconds_per_gib: per_gib(cpu),
        puts_per_second: requests("put").map(|puts| puts / seconds),
        puts_per_gib: per_gib(requests("put")),
        gets_per_gib: per_gib(gets),
        up_bytes_per_byte: moved("up").filter(|_| bytes > 0.0).map(|up| up / bytes),
        down_bytes_per_byte: moved("down")
            .filter(|_| bytes > 0.0)
            .map(|down| down / bytes),
        transactions_per_gib: per_gib(grown("streamhouse_commit_seconds_count", "")),
        rows_per_gib: per_gib(grown("streamhouse_commit_rows_total", "")),
        wal_write_bytes: grown("streamhouse_wal_bytes_total", "")
            .zip(syncs)
            .map(|(bytes, syncs)| bytes / syncs),
        errors: run.errors(),
        generator_cores: generator.cpu.as_secs_f64() / seconds,
        generator_says: generator.verdict(),
        ..Measured::default()
    }
}
