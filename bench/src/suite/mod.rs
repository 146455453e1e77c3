//! The workloads, server by server, and what their numbers are held against.
mod cloud;
mod local;

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
            bytes_max: 1 << 30,
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
    for (name, section) in [LOCAL, CLOUD, FAR, KAFKA, KAFKA_FSYNC].map(|name| (name, name)) {
        if !plan.wants(name) {
            continue;
        }
        println!("\n{name}");
        let done = match section {
            LOCAL => local::local(stage, plan, report).await,
            CLOUD => cloud::cloud(stage, plan, report).await,
            FAR => cloud::far(stage, plan, report).await,
            _ => kafka(stage, plan, report, name).await,
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
    judge(report);
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
    tail_reads(server, plan, report).await
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
        let name = named(acks, record_bytes, partitions);
        if plan.includes(&name) {
            let load = throughput("busy", acks, partitions, record_bytes);
            let measured = measure::produce(server, &load, plan.timing(), false).await?;
            report.push(&server.name, &name, measured);
        }
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
    let filled = measure::fill(server, &load, 96 << 20).await?;
    let timing = Timing {
        bytes_max: u64::MAX,
        ..plan.timing()
    };
    let measured = measure::consume(server, &load, &filled, 4, true, timing).await?;
    report.push(&server.name, TAIL, measured);
    Ok(())
}

const TAIL: &str = "tail reads from memory";
const CATCH_UP: &str = "catch-up reads, cold";
const LONE: &str = "lone acks=all records";

/// Nobody asks for anything.
async fn idle(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    sleep(Duration::from_secs(if plan.quick { 3 } else { 10 })).await;
    let (before, begun) = (server.sample().await?, Instant::now());
    sleep(Duration::from_secs(if plan.quick { 10 } else { 30 })).await;
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

/// Topics of workloads that are over leave the disk at once.
const FREES_THE_DISK: &str = "log.segment.delete.delay.ms=100";

async fn kafka(stage: &Stage, plan: &Plan, report: &mut Report, name: &str) -> Result<()> {
    let settings = match name {
        KAFKA => FREES_THE_DISK.to_owned(),
        _ => format!("{FREES_THE_DISK}\nlog.flush.interval.messages=1"),
    };
    let mut server = stage.kafka(&folder(name), &settings).await?;
    server.name = name.into();
    // Its compiler needs to see the work before it is good at it.
    let warm = Timing {
        warm: Duration::from_secs(if plan.quick { 8 } else { 15 }),
        run: Duration::from_millis(1),
        bytes_max: u64::MAX,
    };
    for shape in [(100, 16), (KIB, 16)] {
        measure::produce(
            &server,
            &throughput("warm", 1, shape.1, shape.0),
            warm,
            false,
        )
        .await?;
    }
    writes(&server, plan, report, 1).await?;
    steady(&server, plan, report, 1, 500.0).await?;
    moderate(&server, plan, report, 1).await?;
    if name == KAFKA {
        tail_reads(&server, plan, report).await?;
        tail_reads(&server, plan, report).await?;
        idle(&server, plan, report).await?;
    }
    java_clients(stage, plan, report, &server, "acks=1").await
}

/// Default Java producers, and a consumer of what they wrote.
async fn java_clients(
    stage: &Stage,
    plan: &Plan,
    report: &mut Report,
    server: &Server,
    acks: &str,
) -> Result<()> {
    let records = if plan.quick { 300_000 } else { 1_000_000 };
    let topic = measure::make_topic(server, "java", 16).await?;
    let (jars, address, settings) = (
        stage.jars().to_owned(),
        server.address.clone(),
        acks.to_owned(),
    );
    let written = topic.clone();
    let producer = tokio::task::spawn_blocking(move || {
        java::producer(&jars, &address, &written, records, &[&settings])
    });
    report.push(
        &server.name,
        &format!("Java producer, {acks}, 1000 B x 16"),
        only_rate(producer.await??),
    );
    let (jars, address) = (stage.jars().to_owned(), server.address.clone());
    let consumer =
        tokio::task::spawn_blocking(move || java::consumer(&jars, &address, &topic, 16, records));
    report.push(
        &server.name,
        "Java consumer, 1000 B x 16",
        only_rate(consumer.await??),
    );
    Ok(())
}

fn only_rate(mib_per_second: f64) -> Measured {
    Measured {
        mib_per_second,
        records_per_second: mib_per_second * MIB / 1000.0,
        ..Measured::default()
    }
}

/// What our numbers are held against Kafka's, of the same run.
fn judge(report: &mut Report) {
    let busy = named(1, KIB, 16);
    let (ours, kafka, fsync) = (
        report.find(LOCAL, &busy).cloned(),
        report.find(KAFKA, &busy).cloned(),
        report.find(KAFKA_FSYNC, &busy).cloned(),
    );
    if let (Some(ours), Some(kafka)) = (&ours, &kafka) {
        let cpu = (ours.cpu_seconds_per_gib, kafka.cpu_seconds_per_gib);
        if let (Some(a), Some(b)) = cpu {
            report.bar(
                "CPU per GiB written against Kafka's, acks=1",
                format!("{a:.2} against {b:.2} core-seconds"),
                "at most a third",
                a <= b / 3.0,
            );
        }
        if let (Some(a), Some(b)) = (ours.peak_mib, kafka.peak_mib) {
            report.bar(
                "memory against Kafka's",
                format!("{a:.0} against {b:.0} MiB"),
                "at most a quarter",
                a <= b / 4.0,
            );
        }
    }
    if let (Some(a), Some(b)) = (
        report
            .find(CLOUD, &named(-1, KIB, 16))
            .and_then(|m| m.cpu_seconds_per_gib),
        kafka.as_ref().and_then(|m| m.cpu_seconds_per_gib),
    ) {
        report.bar(
            "CPU per GiB written to S3, acks=all, against Kafka's",
            format!("{a:.2} against {b:.2} core-seconds"),
            "at most a third",
            a <= b / 3.0,
        );
    }
    if let (Some(a), Some(b)) = (&ours, &fsync) {
        let times = a.mib_per_second / b.mib_per_second;
        report.bar(
            "throughput against Kafka that fsyncs, acks=1",
            format!("{times:.1} times"),
            "3 times",
            times >= 3.0,
        );
    }
    let tail = report.find(LOCAL, TAIL).and_then(|m| m.cpu_seconds_per_gib);
    if let Some(cost) = tail {
        report.bar(
            "tail reads from memory",
            format!("{:.2} GiB per core-second", 1.0 / cost),
            "above 1",
            cost < 1.0,
        );
    }
    if let (Some(a), Some(b)) = (
        tail,
        report.find(KAFKA, TAIL).and_then(|m| m.cpu_seconds_per_gib),
    ) {
        report.bar(
            "CPU per GiB read against Kafka's",
            format!("{a:.2} against {b:.2} core-seconds"),
            "at most Kafka's",
            a <= b,
        );
    }
    for workload in [
        "Java producer, acks=1, 1000 B x 16",
        "Java consumer, 1000 B x 16",
    ] {
        let rate = |server| report.find(server, workload).map(|m| m.mib_per_second);
        if let (Some(a), Some(b)) = (rate(LOCAL), rate(KAFKA)) {
            report.bar(
                format!("{workload} against Kafka without fsync"),
                format!("{a:.1} against {b:.1} MiB/s"),
                "at least Kafka's",
                a >= b,
            );
        }
    }
}
