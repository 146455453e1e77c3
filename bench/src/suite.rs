//! The workloads, server by server, and what their numbers are held against.
use std::time::Duration;

use anyhow::{Context, Result};
use sh_testkit::torture::proxy::{S3, Weather};
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
}

impl Plan {
    fn wants(&self, server: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| server.contains(only.as_str()))
    }

    fn timing(&self) -> Timing {
        let seconds = if self.quick { 2 } else { 5 };
        Timing {
            warm: Duration::from_secs(1),
            run: Duration::from_secs(seconds),
            // What is written stays: a bucket in memory must not eat it all.
            bytes_max: 2 << 30,
        }
    }

    /// (record bytes, partitions) of the throughput workloads.
    fn shapes(&self) -> Vec<(usize, i32)> {
        let all = [(100, 1), (100, 16), (100, 1000), (KIB, 1), (KIB, 16), (KIB, 1000)];
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
            LOCAL => local(stage, plan, report).await,
            CLOUD => cloud(stage, plan, report).await,
            FAR => far(stage, plan, report).await,
            _ => kafka(stage, plan, report, name).await,
        };
        // One server that fails must not cost the numbers of the others.
        if let Err(why) = done {
            report.bar(format!("{name}: all workloads run"), format!("{why:#}"), "no error", false);
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
        let load = throughput("busy", acks, partitions, record_bytes);
        let measured = measure::produce(server, &load, plan.timing(), false).await?;
        report.push(&server.name, &named(acks, record_bytes, partitions), measured);
    }
    Ok(())
}

/// Single records at a fixed rate, with a reader behind: how long it takes.
async fn steady(server: &Server, plan: &Plan, report: &mut Report, acks: i16, rate: f64) -> Result<()> {
    let load = ProduceLoad {
        records_per_batch: 1,
        batches_per_request: 1,
        connections: 1,
        pace: Pace::Open(rate),
        ..throughput("steady", acks, 1, KIB)
    };
    let measured = measure::produce(server, &load, plan.timing(), true).await?;
    report.push(&server.name, &format!("{} at {rate:.0}/s", named(acks, KIB, 1)), measured);
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
    let measured = measure::produce(server, &load, plan.timing(), true).await?;
    report.push(&server.name, &format!("{} at {mib:.0} MiB/s", named(acks, KIB, 16)), measured);
    Ok(())
}

/// What fits into memory, again and again.
async fn tail_reads(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let load = throughput("tail", -1, 16, KIB);
    let filled = measure::fill(server, &load, 96 << 20).await?;
    let timing = Timing { bytes_max: u64::MAX, ..plan.timing() };
    let measured = measure::consume(server, &load, &filled, 4, true, timing).await?;
    report.push(&server.name, TAIL, measured);
    Ok(())
}

const TAIL: &str = "tail reads from memory";
const CATCH_UP: &str = "catch-up reads, cold";
const LONE: &str = "lone acks=all records";

async fn local(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let start = async || -> Result<Server> {
        stage.clear(&folder(LOCAL));
        let mut server = stage.local(&folder(LOCAL)).await?;
        server.name = LOCAL.into();
        Ok(server)
    };
    let server = start().await?;
    idle(&server, plan, report).await?;
    crowd(&server, plan, report).await?;
    drop(server);
    let server = start().await?;
    steady(&server, plan, report, 1, 500.0).await?;
    wal_limit(stage, plan, report, &format!("{} at 500/s", named(1, KIB, 1))).await?;
    moderate(&server, plan, report, 1).await?;
    writes(&server, plan, report, 1).await?;
    wal_limit(stage, plan, report, &named(1, KIB, 16)).await?;
    drop(server);
    let server = start().await?;
    writes(&server, plan, report, -1).await?;
    tail_reads(&server, plan, report).await?;
    java_clients(stage, plan, report, &server, "acks=1").await?;
    drop(server);
    let server = start().await?;
    grow(&server, plan, report).await
}

/// The disk's own speed at the size that the WAL wrote at, right after it did.
async fn wal_limit(stage: &Stage, plan: &Plan, report: &mut Report, workload: &str) -> Result<()> {
    let Some(size) = report.find(LOCAL, workload).and_then(|m| m.wal_write_bytes) else {
        return Ok(());
    };
    let (disk, time) = (stage.disk().to_owned(), plan.timing().run);
    let limit = tokio::task::spawn_blocking(move || {
        limits::write_and_sync(&disk, (size as usize).max(1), time)
    });
    let mut limit = limit.await??;
    limit.what = format!("{} (as the WAL did for: {workload})", limit.what);
    let limit = report.limit(limit);
    let Some(measured) = report.find(LOCAL, workload).cloned() else {
        return Ok(());
    };
    if let (Some(seen), Some(p50), Some(p99)) = (measured.produce_ms, limit.p50_ms, limit.p99_ms)
        && workload.contains("/s")
    {
        let ratio = |a: f64, b: f64| format!("{a:.2} ms, {:.2} of {b:.2} ms", a / b);
        report.bar("acks=1 p50 against write + fdatasync", ratio(seen.p50, p50), "at most 1.25", seen.p50 <= 1.25 * p50);
        report.bar("acks=1 p99 against its p99", ratio(seen.p99, p99), "at most 2", seen.p99 <= 2.0 * p99);
    } else {
        let share = measured.mib_per_second / limit.mib_per_second;
        let cpu = measured.cpu_seconds_per_gib.unwrap_or(f64::MAX);
        report.bar(
            format!("{workload} against write + fdatasync"),
            format!("{:.0} %, {cpu:.2} core-seconds per GiB", share * 100.0),
            "80 %, or under 1.0 core-second per GiB",
            share >= 0.8 || cpu < 1.0,
        );
    }
    Ok(())
}

async fn cloud(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut server = stage.cloud(&folder(CLOUD), None, &[]).await?;
    server.name = CLOUD.into();
    writes(&server, plan, report, -1).await?;
    let bytes = if plan.quick { 256 << 20 } else { 1 << 30 };
    let load = throughput("history", -1, 16, KIB);
    let filled = measure::fill(&server, &load, bytes).await?;
    server.restart().await?;
    let timing = Timing {
        warm: Duration::ZERO,
        run: Duration::from_secs(60),
        bytes_max: u64::MAX,
    };
    let measured = measure::consume(&server, &load, &filled, 4, false, timing).await?;
    report.push(CLOUD, CATCH_UP, measured);
    drop(server);
    let bucket = stage.bucket()?;
    let limit = |report: &Report, what: &str| {
        let limits = report.limits.iter();
        limits.filter(|l| l.what.starts_with(what)).map(|l| l.mib_per_second).fold(0.0, f64::max)
    };
    for found in limits::bucket(&bucket, "MinIO, again", plan.timing().run).await? {
        report.limit(found);
    }
    for (workload, what) in [(named(-1, KIB, 16), "PUT"), (CATCH_UP.to_owned(), "GET")] {
        let Some(measured) = report.find(CLOUD, &workload).cloned() else { continue };
        let most = limit(report, what);
        let share = measured.mib_per_second / most;
        report.bar(
            format!("{workload} against raw {what} of the store"),
            format!("{:.0} % of {most:.0} MiB/s", share * 100.0),
            "80 %",
            share >= 0.8,
        );
    }
    Ok(())
}

async fn far(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut server = stage.cloud(&folder(FAR), Some(S3), &[]).await?;
    server.name = FAR.into();
    lone(&server, plan, report).await?;
    steady(&server, plan, report, 1, 500.0).await?;
    steady(&server, plan, report, -1, 500.0).await?;
    moderate(&server, plan, report, -1).await?;
    writes_of(&server, plan, report, KIB, 16).await?;
    put_count(report);
    stage.proxy.set(Weather::SlowPuts(Duration::from_millis(100)));
    java_far(stage, plan, report, &server).await?;
    drop(server);
    overload(stage, plan, report).await
}

async fn writes_of(server: &Server, plan: &Plan, report: &mut Report, record_bytes: usize, partitions: i32) -> Result<()> {
    let load = throughput("busy", -1, partitions, record_bytes);
    let measured = measure::produce(server, &load, plan.timing(), false).await?;
    report.push(&server.name, &named(-1, record_bytes, partitions), measured);
    Ok(())
}

/// PUTs against the ideal of the design: 8 MiB each, or five a second where there is less.
fn put_count(report: &mut Report) {
    let Some(m) = report.find(FAR, &named(-1, KIB, 16)).cloned() else { return };
    let Some(puts) = m.puts_per_second else { return };
    let ideal = (m.mib_per_second / 8.0).max(5.0);
    report.bar(
        "PUTs of busy acks=all producers against the ideal",
        format!("{puts:.1} of {ideal:.1} a second"),
        "at most 1.1",
        puts <= 1.1 * ideal,
    );
}

/// One record at a time, with silence between.
async fn lone(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let load = ProduceLoad {
        records_per_batch: 1,
        batches_per_request: 1,
        connections: 1,
        pace: Pace::Open(2.0),
        ..throughput("lone", -1, 1, KIB)
    };
    let timing = Timing {
        run: Duration::from_secs(if plan.quick { 8 } else { 20 }),
        ..plan.timing()
    };
    let before = server.sample().await?;
    let measured = measure::produce(server, &load, timing, true).await?;
    let after = server.sample().await?;
    let mean = |name: &str| {
        let sum = after.growth(&before, &format!("{name}_sum"), "")?;
        Some(sum / after.growth(&before, &format!("{name}_count"), "")? * 1e3)
    };
    let seen = measured.produce_ms;
    report.push(&server.name, LONE, measured);
    if let (Some(put), Some(commit), Some(seen)) = (
        mean("streamhouse_window_upload_seconds"),
        mean("streamhouse_commit_seconds"),
        seen,
    ) {
        let least = put + commit;
        report.bar(
            "lone acks=all p50 against one PUT + one commit (means)",
            format!("{:.1} ms, {:.2} of {put:.1} + {commit:.1} ms", seen.p50, seen.p50 / least),
            "at most 1.15",
            seen.p50 <= 1.15 * least,
        );
    }
    Ok(())
}

/// Nobody asks for anything.
async fn idle(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    sleep(Duration::from_secs(if plan.quick { 3 } else { 10 })).await;
    let (before, begun) = (server.sample().await?, Instant::now());
    sleep(Duration::from_secs(if plan.quick { 10 } else { 30 })).await;
    let after = server.sample().await?;
    let Some((a, b)) = before.cpu.zip(after.cpu) else { return Ok(()) };
    let busy = (b - a).as_secs_f64() / begun.elapsed().as_secs_f64();
    let resident = server.resident_bytes().unwrap_or(0) as f64 / MIB;
    report.bar(format!("{}: processor when idle", server.name), format!("{:.2} %, {resident:.0} MiB resident", busy * 100.0), "under 1 %", busy < 0.01);
    Ok(())
}

/// Idle connections and many partitions: memory.
async fn crowd(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let (connections, topics) = if plan.quick { (1_000, 2) } else { (5_000, 10) };
    let empty = server.resident_bytes().context("no process")?;
    for _ in 0..topics {
        measure::make_topic(server, "crowd", 1_000).await?;
    }
    let address = server.address.clone();
    let open = tokio::task::spawn_blocking(move || {
        (0..connections).map(|_| wire::connect(&address)).collect::<Result<Vec<_>>>()
    });
    let open = open.await??;
    sleep(Duration::from_secs(2)).await;
    let full = server.resident_bytes().context("no process")?;
    drop(open);
    let cost = (full.saturating_sub(empty)) as f64 / MIB;
    report.bar(
        format!("{connections} idle connections and {},000 partitions", topics),
        format!("{cost:.0} MiB more, {:.0} MiB in all", full as f64 / MIB),
        "under 300 MiB",
        (full as f64) < 300.0 * MIB,
    );
    Ok(())
}

/// Ten times more producers than the bucket can take.
async fn overload(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    const MEMORY: u64 = 64 << 20;
    let slow = Weather::SlowPuts(Duration::from_millis(1_000));
    let name = format!("{}-overload", folder(FAR));
    let settings = [format!("--memory-bytes={MEMORY}"), format!("--cache-bytes={MEMORY}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut server = stage.cloud(&name, Some(slow), &settings).await?;
    server.name = FAR.into();
    let empty = server.resident_bytes().context("no process")?;
    let load = ProduceLoad {
        connections: 200,
        pace: Pace::Closed(4),
        ..throughput("overload", -1, 16, KIB)
    };
    let timing = Timing {
        warm: Duration::from_secs(5),
        run: Duration::from_secs(if plan.quick { 15 } else { 30 }),
        bytes_max: u64::MAX,
    };
    let measured = measure::produce(&server, &load, timing, false).await?;
    let workload = format!("overload: {} producers, PUT 1 s", load.connections);
    report.push(FAR, &workload, measured.clone());
    let allowed = (empty + 2 * MEMORY) as f64 / MIB * 1.25;
    let peak = measured.peak_mib.unwrap_or(f64::MAX);
    report.bar("overload: memory within its settings", format!("{peak:.0} MiB"), format!("{allowed:.0} MiB: the empty server, 64 for requests, 64 for the cache, a quarter for the allocator"), peak <= allowed);
    let (least, most) = measured.answered.unwrap_or((0, 0));
    report.bar("overload: every producer progresses", format!("{least} to {most} requests answered"), "each more than 0, no errors", least > 0 && measured.errors == 0);
    let p99 = measured.produce_ms.map_or(f64::MAX, |q| q.p99);
    report.bar("overload: p99 within the request's timeout", format!("{:.1} s", p99 / 1e3), "30 s", p99 <= 30_000.0);
    Ok(())
}

/// What a produce request costs as more partitions, then more extents, exist.
async fn grow(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let steps: &[u32] = if plan.quick { &[10, 1_000, 10_000] } else { &[10, 100, 1_000, 10_000, 100_000] };
    let mut partitions = Growth { of: "partitions".into(), points: Vec::new() };
    let mut exist = 0;
    for step in steps {
        while exist < *step {
            let more = (step - exist).min(1_000);
            measure::make_topic(server, "many", more as i32).await?;
            exist += more;
        }
        partitions.points.push(cost(server, f64::from(*step)).await?);
    }
    let mut extents = Growth { of: "extents".into(), points: Vec::new() };
    let mut written = 0;
    for step in steps {
        if *step > written {
            // A window of one batch for each of many partitions is as many extents.
            let wide = (step - written).min(1_000);
            let requests = (step - written) / wide;
            write_extents(server, wide, requests).await?;
            written += wide * requests;
        }
        extents.points.push(cost(server, f64::from(*step)).await?);
    }
    for growth in [partitions, extents] {
        let ends = growth.points.first().zip(growth.points.last());
        if let Some(((_, _, first), (most, _, last))) = ends {
            report.bar(
                format!("a produce request with {most:.0} {} against 10", growth.of),
                format!("{last:.0} against {first:.0} microseconds of CPU"),
                "no more than 1.3 of it",
                *last <= 1.3 * first,
            );
        }
        report.growth.push(growth);
    }
    Ok(())
}

async fn write_extents(server: &Server, partitions: u32, requests: u32) -> Result<()> {
    let load = ProduceLoad {
        records_per_batch: 1,
        batches_per_request: partitions as usize,
        connections: 1,
        pace: Pace::Closed(1),
        ..throughput("extents", -1, partitions as i32, 10)
    };
    let bytes = load.request_bytes()? * u64::from(requests);
    measure::fill(server, &load, bytes).await.map(drop)
}

/// (how many exist, median latency in ms, CPU microseconds of a request)
async fn cost(server: &Server, exist: f64) -> Result<(f64, f64, f64)> {
    let load = ProduceLoad {
        records_per_batch: 10,
        batches_per_request: 1,
        connections: 1,
        pace: Pace::Open(400.0),
        ..throughput("cost", 1, 1, 100)
    };
    let timing = Timing {
        warm: Duration::from_millis(500),
        run: Duration::from_secs(3),
        bytes_max: u64::MAX,
    };
    let m = measure::produce(server, &load, timing, false).await?;
    let requests = m.records_per_second / load.request_records() as f64;
    let cpu = m.server_cores.unwrap_or(0.0) / requests * 1e6;
    Ok((exist, m.produce_ms.map_or(0.0, |q| q.p50), cpu))
}

async fn kafka(stage: &Stage, plan: &Plan, report: &mut Report, name: &str) -> Result<()> {
    let settings = if name == KAFKA { "" } else { "log.flush.interval.messages=1" };
    let mut server = stage.kafka(&folder(name), settings).await?;
    server.name = name.into();
    // Its compiler needs to see the work before it is good at it.
    let warm = Timing {
        warm: Duration::from_secs(if plan.quick { 8 } else { 15 }),
        run: Duration::from_millis(1),
        bytes_max: u64::MAX,
    };
    for shape in [(100, 16), (KIB, 16)] {
        measure::produce(&server, &throughput("warm", 1, shape.1, shape.0), warm, false).await?;
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
async fn java_clients(stage: &Stage, plan: &Plan, report: &mut Report, server: &Server, acks: &str) -> Result<()> {
    let records = if plan.quick { 300_000 } else { 1_000_000 };
    let topic = measure::make_topic(server, "java", 16).await?;
    let (jars, address, settings) = (stage.jars().to_owned(), server.address.clone(), acks.to_owned());
    let written = topic.clone();
    let producer = tokio::task::spawn_blocking(move || {
        java::producer(&jars, &address, &written, records, &[&settings])
    });
    report.push(&server.name, &format!("Java producer, {acks}, 1000 B x 16"), only_rate(producer.await??));
    let (jars, address) = (stage.jars().to_owned(), server.address.clone());
    let consumer = tokio::task::spawn_blocking(move || java::consumer(&jars, &address, &topic, 16, records));
    report.push(&server.name, "Java consumer, 1000 B x 16", only_rate(consumer.await??));
    Ok(())
}

fn only_rate(mib_per_second: f64) -> Measured {
    Measured {
        mib_per_second,
        records_per_second: mib_per_second * MIB / 1000.0,
        ..Measured::default()
    }
}

/// The default Java producer where a PUT takes 100 ms.
async fn java_far(stage: &Stage, plan: &Plan, report: &mut Report, server: &Server) -> Result<()> {
    let records = if plan.quick { 100_000 } else { 250_000 };
    let topic = measure::make_topic(server, "java", 16).await?;
    let run = async |records, settings: &'static [&'static str]| -> Result<(f64, f64)> {
        let (jars, address, topic) = (stage.jars().to_owned(), server.address.clone(), topic.clone());
        let before = server.sample().await?;
        let producer = tokio::task::spawn_blocking(move || java::producer(&jars, &address, &topic, records, settings));
        let rate = producer.await??;
        let after = server.sample().await?;
        let mean = |name: &str| {
            let sum = after.growth(&before, &format!("{name}_sum"), "").unwrap_or(0.0);
            sum / after.growth(&before, &format!("{name}_count"), "").unwrap_or(1.0)
        };
        Ok((rate, mean("streamhouse_window_upload_seconds") + mean("streamhouse_commit_seconds")))
    };
    run(50_000, &[]).await?;
    let (rate, round) = run(records, &[]).await?;
    report.push(&server.name, "Java producer, acks=all, PUT 100 ms", only_rate(rate));
    // Five requests in flight, a batch of 16 KiB for each of 16 partitions, a round trip and 10 ms.
    let ceiling = 5.0 * 16.0 * 16.0 / 1024.0 / (round + 0.010);
    report.bar("one default Java producer where a PUT takes 100 ms", format!("{rate:.1} MiB/s"), format!("80 % of its ceiling {ceiling:.1} MiB/s at {:.0} ms a round", round * 1e3), rate >= 0.8 * ceiling);
    let (rate, _) = run(2 * records, &["batch.size=131072"]).await?;
    report.push(&server.name, "Java producer, batch.size=131072", only_rate(rate));
    report.bar("the same with batch.size=131072", format!("{rate:.1} MiB/s"), "over 20 MiB/s", rate > 20.0);
    Ok(())
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
            report.bar("CPU per GiB written against Kafka's, acks=1", format!("{a:.2} against {b:.2} core-seconds"), "at most a third", a <= b / 3.0);
        }
        if let (Some(a), Some(b)) = (ours.peak_mib, kafka.peak_mib) {
            report.bar("memory against Kafka's", format!("{a:.0} against {b:.0} MiB"), "at most a quarter", a <= b / 4.0);
        }
    }
    if let (Some(a), Some(b)) = (
        report.find(CLOUD, &named(-1, KIB, 16)).and_then(|m| m.cpu_seconds_per_gib),
        kafka.as_ref().and_then(|m| m.cpu_seconds_per_gib),
    ) {
        report.bar("CPU per GiB written to S3, acks=all, against Kafka's", format!("{a:.2} against {b:.2} core-seconds"), "at most a third", a <= b / 3.0);
    }
    if let (Some(a), Some(b)) = (&ours, &fsync) {
        let times = a.mib_per_second / b.mib_per_second;
        report.bar("throughput against Kafka that fsyncs, acks=1", format!("{times:.1} times"), "3 times", times >= 3.0);
    }
    let tail = report.find(LOCAL, TAIL).and_then(|m| m.cpu_seconds_per_gib);
    if let Some(cost) = tail {
        report.bar("tail reads from memory", format!("{:.2} GiB per core-second", 1.0 / cost), "above 1", cost < 1.0);
    }
    if let (Some(a), Some(b)) = (tail, report.find(KAFKA, TAIL).and_then(|m| m.cpu_seconds_per_gib)) {
        report.bar("CPU per GiB read against Kafka's", format!("{a:.2} against {b:.2} core-seconds"), "at most Kafka's", a <= b);
    }
    for workload in ["Java producer, acks=1, 1000 B x 16", "Java consumer, 1000 B x 16"] {
        let rate = |server| report.find(server, workload).map(|m| m.mib_per_second);
        if let (Some(a), Some(b)) = (rate(LOCAL), rate(KAFKA)) {
            report.bar(format!("{workload} against Kafka without fsync"), format!("{a:.1} against {b:.1} MiB/s"), "at least Kafka's", a >= b);
        }
    }
}
