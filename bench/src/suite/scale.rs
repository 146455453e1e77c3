//! Our server on Postgres with as many partitions as one cluster may have: its start, its memory, a request.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::*;

/// Partitions of one topic.
const TOPIC: u32 = 1_000;

pub(super) async fn scale(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let partitions: u32 = if plan.quick { 10_000 } else { 100_000 };
    let mut server = stage.cloud(&folder(SCALE), None, &[]).await?;
    server.name = SCALE.into();
    let (_, p50_few, cpu_few) = cost(&server, 1.0).await?;
    let begun = Instant::now();
    for _ in 0..partitions / TOPIC {
        write_each(&server, "scale", TOPIC as i32, 1).await?;
    }
    let made = begun.elapsed().as_secs_f64();
    let took = server.restart().await?.as_secs_f64();
    let (_, p50, cpu) = cost(&server, f64::from(partitions)).await?;
    let resident = server.resident_bytes().context("no process")? as f64 / MIB;
    report.bar(
        format!("start with {partitions} partitions on Postgres"),
        format!("{took:.1} s (they were made and written to in {made:.0} s)"),
        "under 20 s",
        took < 20.0,
    );
    report.bar(
        format!("memory after it, {partitions} partitions"),
        format!("{resident:.0} MiB"),
        "under 300 MiB",
        resident < 300.0,
    );
    report.bar(
        format!("a produce request with {partitions} partitions on Postgres against none"),
        format!("{cpu:.0} against {cpu_few:.0} microseconds of CPU, p50 {p50:.2} against {p50_few:.2} ms"),
        "no more than 1.3 of it",
        cpu <= 1.3 * cpu_few,
    );
    Ok(())
}

/// Makes a topic and writes so many batches to each of its partitions.
pub(super) async fn write_each(
    server: &Server,
    topic: &str,
    partitions: i32,
    batches: u32,
) -> Result<()> {
    let load = ProduceLoad {
        topic: measure::make_topic(server, topic, partitions).await?,
        records_per_batch: 1,
        batches_per_request: partitions as usize,
        connections: 1,
        pace: Pace::Closed(1),
        ..throughput(topic, -1, partitions, 10)
    };
    let bytes = load.request_bytes()? * u64::from(batches);
    measure::pour(server, &load, bytes).await
}

/// (how many exist, median latency in ms, CPU microseconds of a request): the cheapest of three runs, as whatever else the
/// machine does only adds.
pub(super) async fn cost(server: &Server, exist: f64) -> Result<(f64, f64, f64)> {
    let load = ProduceLoad {
        records_per_batch: 10,
        batches_per_request: 1,
        connections: 1,
        pace: Pace::Open(400.0),
        ..throughput("cost", 1, 1, 100)
    };
    let timing = Timing {
        warm: Duration::from_millis(500),
        run: Duration::from_millis(1_500),
        bytes_max: u64::MAX,
    };
    let (mut p50, mut cpu) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let m = measure::produce(server, &load, timing, false).await?;
        let requests = m.records_per_second / load.request_records() as f64;
        cpu = cpu.min(m.server_cores.unwrap_or(0.0) / requests * 1e6);
        p50 = p50.min(m.produce_ms.map_or(f64::MAX, |q| q.p50));
    }
    Ok((exist, p50, cpu))
}
