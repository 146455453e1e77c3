//! The workloads, server by server, and what their numbers are held against.
mod cloud;
mod groups;
mod judge;
mod kafka;
mod local;
mod scale;

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    java, limits,
    limits::human,
    measure::{self, Measured, Timing, throughput},
    produce::{Pace, ProduceLoad},
    report::{Growth, Report},
    server::Server,
    stage::Stage,
    wire,
};

/// Our server: WAL and SQLite on the disk, the bucket a folder in memory.
pub const LOCAL: &str = "streamhouse, folder";
/// Our server on Postgres and MinIO.
pub const CLOUD: &str = "streamhouse, S3";
/// The same, MinIO as far away as S3.
pub const FAR: &str = "streamhouse, distant S3";
/// The same as [`CLOUD`], with many partitions.
pub const SCALE: &str = "streamhouse, scale";
pub const KAFKA: &str = "Apache Kafka";
/// With `log.flush.interval.messages=1`.
pub const KAFKA_FSYNC: &str = "Apache Kafka, fsync";

const MIB: f64 = 1024.0 * 1024.0;
const KIB: usize = 1024;

/// What is run, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub quick: bool,
    /// Parts of the names of servers; all if empty.
    pub only: Vec<String>,
    /// A part of the names of load workloads; all if empty.
    pub workload: String,
}

impl Plan {
    fn wants(&self, server: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| server.contains(only.as_str()))
    }

    fn includes(&self, workload: &str) -> bool {
        workload.contains(&self.workload)
    }

    fn timing(&self) -> Timing {
        let seconds = if self.quick { 2 } else { 5 };
        Timing {
            warm: Duration::from_secs(1),
            run: Duration::from_secs(seconds),
            // What is written stays: a bucket in memory must not eat it all.
            bytes_max: 768 << 20,
        }
    }

    /// (record bytes, partitions) of the throughput workloads.
    fn shapes(&self) -> Vec<(usize, i32)> {
        let all = [
            (100, 1),
            (100, 16),
            (100, 1000),
            (KIB, 1),
            (KIB, 16),
            (KIB, 1000),
        ];
        match self.quick {
            true => vec![(100, 16), (KIB, 1), (KIB, 16), (KIB, 1000)],
            false => all.to_vec(),
        }
    }
}

fn named(acks: i16, record_bytes: usize, partitions: i32) -> String {
    let acks = if acks == 1 { "1" } else { "all" };
    format!("acks={acks} {} x {partitions}", human(record_bytes))
}

/// All that the plan wants, on servers of our own.
pub async fn run(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    machine_limits(stage, plan, report).await?;
    for name in [LOCAL, CLOUD, FAR, SCALE, KAFKA, KAFKA_FSYNC] {
        if !plan.wants(name) {
            continue;
        }
        println!("\n{name}");
        let done = match name {
            LOCAL => local::local(stage, plan, report).await,
            CLOUD => cloud::cloud(stage, plan, report).await,
            FAR => cloud::far(stage, plan, report).await,
            SCALE => scale::scale(stage, plan, report).await,
            _ => kafka::kafka(stage, plan, report, name).await,
        };
        // One server that fails must not cost the numbers of the others.
        if let Err(why) = done {
            report.bar(
                format!("{name}: all workloads run"),
                format!("{why:#}"),
                "no error",
                false,
            );
        }
        stage.clear(&folder(name));
    }
    judge::judge(report);
    Ok(())
}

fn folder(name: &str) -> String {
    name.replace([' ', ','], "-").to_lowercase()
}

/// Throughput, latency and reads against a server that runs already.
pub async fn run_at(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    for acks in [1, -1] {
        writes(server, plan, report, acks).await?;
        steady(server, plan, report, acks, 500.0).await?;
    }
    tail_reads(server, plan, report).await?;
    groups::groups(server, plan, report).await
}

async fn machine_limits(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let time = Duration::from_secs(if plan.quick { 1 } else { 3 });
    for size in [KIB, 64 * KIB, KIB * KIB] {
        let disk = stage.disk().to_owned();
        let limit = tokio::task::spawn_blocking(move || limits::write_and_sync(&disk, size, time));
        report.limit(limit.await??);
    }
    for limit in limits::bucket(&stage.bucket()?, "MinIO", time).await? {
        report.limit(limit);
    }
    report.limit(tokio::task::spawn_blocking(move || limits::loopback(time)).await??);
    for limit in tokio::task::spawn_blocking(limits::memory).await? {
        report.limit(limit);
    }
    Ok(())
}

/// As fast as it goes, for each shape.
async fn writes(server: &Server, plan: &Plan, report: &mut Report, acks: i16) -> Result<()> {
    for (record_bytes, partitions) in plan.shapes() {
        writes_of(server, plan, report, acks, record_bytes, partitions).await?;
    }
    Ok(())
}

async fn writes_of(
    server: &Server,
    plan: &Plan,
    report: &mut Report,
    acks: i16,
    record_bytes: usize,
    partitions: i32,
) -> Result<()> {
    let name = named(acks, record_bytes, partitions);
    if plan.includes(&name) {
        let load = throughput("busy", acks, partitions, record_bytes);
        let measured = measure::produce(server, &load, plan.timing(), false).await?;
        report.push(&server.name, &name, measured);
    }
    Ok(())
}

/// The disk's own speed at the size that the WAL wrote at, right after it did.
async fn wal_limit(
    stage: &Stage,
    plan: &Plan,
    report: &mut Report,
    server: &str,
    workload: &str,
) -> Result<()> {
    let Some(size) = report
        .find(server, workload)
        .and_then(|m| m.wal_write_bytes)
    else {
        return Ok(());
    };
    let (disk, time) = (stage.disk().to_owned(), plan.timing().run);
    let limit = tokio::task::spawn_blocking(move || {
        limits::write_and_sync(&disk, (size as usize).max(1), time)
    });
    let mut limit = limit.await??;
    limit.what = format!("{} (as the WAL did for: {server}, {workload})", limit.what);
    let limit = report.limit(limit);
    let Some(measured) = report.find(server, workload).cloned() else {
        return Ok(());
    };
    if let (Some(seen), Some(p50), Some(p99)) = (measured.produce_ms, limit.p50_ms, limit.p99_ms)
        && workload.contains("/s")
    {
        let ratio = |a: f64, b: f64| format!("{a:.2} ms, {:.2} of {b:.2} ms", a / b);
        report.bar(
            "acks=1 p50 against write + fdatasync",
            ratio(seen.p50, p50),
            "at most 1.25",
            seen.p50 <= 1.25 * p50,
        );
        report.bar(
            "acks=1 p99 against its p99",
            ratio(seen.p99, p99),
            "at most 2",
            seen.p99 <= 2.0 * p99,
        );
    } else {
        let share = measured.mib_per_second / limit.mib_per_second;
        let cpu = measured.cpu_seconds_per_gib.unwrap_or(f64::MAX);
        report.bar(
            format!("{server}: {workload} against write + fdatasync"),
            format!("{:.0} %, {cpu:.2} core-seconds per GiB", share * 100.0),
            "80 %, or under 1.0 core-second per GiB",
            share >= 0.8 || cpu < 1.0,
        );
    }
    Ok(())
}

/// Single records at a fixed rate, with a reader behind: how long it takes.
async fn steady(
    server: &Server,
    plan: &Plan,
    report: &mut Report,
    acks: i16,
    rate: f64,
) -> Result<()> {
    let load = ProduceLoad {
        records_per_batch: 1,
        batches_per_request: 1,
        connections: 1,
        pace: Pace::Open(rate),
        ..throughput("steady", acks, 1, KIB)
    };
    let name = format!("{} at {rate:.0}/s", named(acks, KIB, 1));
    if plan.includes(&name) {
        let measured = measure::produce(server, &load, plan.timing(), true).await?;
        report.push(&server.name, &name, measured);
    }
    Ok(())
}

/// Several producers at a rate well below the most there is.
async fn moderate(server: &Server, plan: &Plan, report: &mut Report, acks: i16) -> Result<()> {
    let load = ProduceLoad {
        connections: 4,
        pace: Pace::Open(320.0),
        ..throughput("moderate", acks, 16, KIB)
    };
    let mib = load.request_bytes()? as f64 * 320.0 / MIB;
    let name = format!("{} at {mib:.0} MiB/s", named(acks, KIB, 16));
    if plan.includes(&name) {
        let measured = measure::produce(server, &load, plan.timing(), true).await?;
        report.push(&server.name, &name, measured);
    }
    Ok(())
}

/// What fits into memory, again and again.
async fn tail_reads(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    if !plan.includes(TAIL) {
        return Ok(());
    }
    let load = throughput("tail", -1, 16, KIB);
    let filled = measure::fill(server, &load, TAIL_BYTES).await?;
    let timing = Timing {
        bytes_max: u64::MAX,
        ..plan.timing()
    };
    let measured = measure::consume(server, &load, &filled, 4, true, timing).await?;
    report.push(&server.name, TAIL, measured);
    Ok(())
}

const JAVA_PRODUCER: &str = "Java producer, acks=1, 1000 B x 16";
const JAVA_CONSUMER: &str = "Java consumer, 1000 B x 16";
const TAIL: &str = "tail reads from memory";
/// What was written within the last second of a busy server: it is in the memory of any.
const TAIL_BYTES: u64 = 16 << 20;
const CATCH_UP: &str = "catch-up reads, cold";
const LONE: &str = "lone acks=all records";

/// Nobody asks for anything.
async fn idle(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    if !plan.includes("idle") {
        return Ok(());
    }
    sleep(Duration::from_secs(if plan.quick { 3 } else { 5 })).await;
    let (before, begun) = (server.sample().await?, Instant::now());
    sleep(Duration::from_secs(if plan.quick { 10 } else { 20 })).await;
    let after = server.sample().await?;
    let Some((a, b)) = before.cpu.zip(after.cpu) else {
        return Ok(());
    };
    let busy = (b - a).as_secs_f64() / begun.elapsed().as_secs_f64();
    let resident = server.resident_bytes().unwrap_or(0) as f64 / MIB;
    let seen = format!("{:.2} %, {resident:.0} MiB resident", busy * 100.0);
    if server.name.contains(KAFKA) {
        report
            .notes
            .push(format!("{} when idle: {seen}", server.name));
        return Ok(());
    }
    report.bar(
        format!("{}: processor when idle", server.name),
        seen,
        "under 1 %",
        busy < 0.01,
    );
    Ok(())
}

/// Default Java producers, and a consumer of what they wrote.
async fn java_clients(
    stage: &Stage,
    plan: &Plan,
    report: &mut Report,
    server: &Server,
) -> Result<()> {
    if !plan.includes(JAVA_PRODUCER) {
        return Ok(());
    }
    // A rate is a rate: who is slow need not write as much.
    let records = match (plan.quick, server.name.as_str()) {
        (_, KAFKA_FSYNC) => 100_000,
        (true, _) => 300_000,
        (false, _) => 1_000_000,
    };
    let topic = measure::make_writable(server, "java", 16).await?;
    let (jars, address) = (stage.jars().to_owned(), server.address.clone());
    let written = topic.clone();
    let producer = tokio::task::spawn_blocking(move || {
        java::producer(&jars, &address, &written, records, &["acks=1"])
    });
    report.push(&server.name, JAVA_PRODUCER, only_rate(producer.await??));
    let (jars, address) = (stage.jars().to_owned(), server.address.clone());
    let consumer =
        tokio::task::spawn_blocking(move || java::consumer(&jars, &address, &topic, 16, records));
    report.push(&server.name, JAVA_CONSUMER, only_rate(consumer.await??));
    Ok(())
}

fn only_rate(mib_per_second: f64) -> Measured {
    Measured {
        mib_per_second,
        records_per_second: mib_per_second * MIB / 1000.0,
        ..Measured::default()
    }
}
