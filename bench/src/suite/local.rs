//! Our server on SQLite and a folder: the WAL, memory, and what grows.
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::*;

pub(super) async fn local(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
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
    wal_limit(
        stage,
        plan,
        report,
        &format!("{} at 500/s", named(1, KIB, 1)),
    )
    .await?;
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
            format!("{workload} against write + fdatasync"),
            format!("{:.0} %, {cpu:.2} core-seconds per GiB", share * 100.0),
            "80 %, or under 1.0 core-second per GiB",
            share >= 0.8 || cpu < 1.0,
        );
    }
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
        (0..connections)
            .map(|_| wire::connect(&address))
            .collect::<Result<Vec<_>>>()
    });
    let open = open.await??;
    sleep(Duration::from_secs(2)).await;
    let full = server.resident_bytes().context("no process")?;
    drop(open);
    let cost = (full.saturating_sub(empty)) as f64 / MIB;
    report.bar(
        format!(
            "{connections} idle connections and {},000 partitions",
            topics
        ),
        format!("{cost:.0} MiB more, {:.0} MiB in all", full as f64 / MIB),
        "under 300 MiB",
        (full as f64) < 300.0 * MIB,
    );
    Ok(())
}

/// What a produce request costs as more partitions, then more extents, exist.
async fn grow(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let steps: &[u32] = if plan.quick {
        &[10, 1_000, 10_000]
    } else {
        &[10, 100, 1_000, 10_000, 100_000]
    };
    let mut partitions = Growth {
        of: "partitions".into(),
        points: Vec::new(),
    };
    let mut exist = 0;
    for step in steps {
        while exist < *step {
            let more = (step - exist).min(1_000);
            measure::make_topic(server, "many", more as i32).await?;
            exist += more;
        }
        partitions
            .points
            .push(cost(server, f64::from(*step)).await?);
    }
    let mut extents = Growth {
        of: "extents".into(),
        points: Vec::new(),
    };
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
