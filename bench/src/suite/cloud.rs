//! Our server on Postgres and an object store, near and as far away as S3.
use std::time::Duration;

use anyhow::{Context, Result};
use sh_testkit::torture::proxy::{S3, Weather};

use super::*;

pub(super) async fn cloud(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut server = stage.cloud(&folder(CLOUD), None, &[]).await?;
    server.name = CLOUD.into();
    writes(&server, plan, report, -1).await?;
    writes_of(&server, plan, report, 1, KIB, 16).await?;
    wal_limit(stage, plan, report, CLOUD, &named(1, KIB, 16)).await?;
    catch_up(&mut server, plan, report).await?;
    drop(server);
    let bucket = stage.bucket()?;
    for found in limits::bucket(&bucket, "MinIO, again", plan.timing().run).await? {
        report.limit(found);
    }
    against_raw(report, &named(-1, KIB, 16), "PUT");
    against_raw(report, CATCH_UP, "GET");
    Ok(())
}

/// Everything that was written, from the bucket, once.
async fn catch_up(server: &mut Server, plan: &Plan, report: &mut Report) -> Result<()> {
    if !plan.includes(CATCH_UP) {
        return Ok(());
    }
    let bytes = if plan.quick { 512 << 20 } else { 1 << 30 };
    let load = throughput("history", -1, 16, KIB);
    let filled = measure::fill(server, &load, bytes).await?;
    server.restart().await?;
    let timing = Timing {
        warm: Duration::ZERO,
        run: Duration::from_secs(60),
        bytes_max: u64::MAX,
    };
    let measured = measure::consume(server, &load, &filled, 4, false, timing).await?;
    report.push(CLOUD, CATCH_UP, measured);
    Ok(())
}

/// A workload beside what the store gives a client that does nothing else: the mean of what was measured in this run.
fn against_raw(report: &mut Report, workload: &str, what: &str) {
    let limits = report.limits.iter().filter(|l| l.what.starts_with(what));
    let rates: Vec<f64> = limits.map(|l| l.mib_per_second).collect();
    let Some(measured) = report.find(CLOUD, workload) else {
        return;
    };
    let raw = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let share = measured.mib_per_second / raw;
    report.bar(
        format!("{workload} against raw {what} of the store"),
        format!("{:.0} % of {raw:.0} MiB/s", share * 100.0),
        "80 %",
        share >= 0.8,
    );
}

pub(super) async fn far(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut server = stage.cloud(&folder(FAR), Some(S3), &[]).await?;
    server.name = FAR.into();
    lone(&server, plan, report).await?;
    steady(&server, plan, report, 1, 500.0).await?;
    steady(&server, plan, report, -1, 500.0).await?;
    moderate(&server, plan, report, -1).await?;
    writes_of(&server, plan, report, -1, KIB, 16).await?;
    put_count(report);
    stage
        .proxy
        .set(Weather::SlowPuts(Duration::from_millis(100)));
    java_far(stage, plan, report, &server).await?;
    drop(server);
    overload(stage, plan, report).await
}

/// PUTs against the ideal of the design: 8 MiB each, or five a second where there is less.
fn put_count(report: &mut Report) {
    let Some(m) = report.find(FAR, &named(-1, KIB, 16)).cloned() else {
        return;
    };
    let Some(puts) = m.puts_per_second else {
        return;
    };
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
    if !plan.includes(LONE) {
        return Ok(());
    }
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
            format!(
                "{:.1} ms, {:.2} of {put:.1} + {commit:.1} ms",
                seen.p50,
                seen.p50 / least
            ),
            "at most 1.15",
            seen.p50 <= 1.15 * least,
        );
    }
    Ok(())
}

/// Ten times more producers than the bucket can take.
async fn overload(stage: &Stage, plan: &Plan, report: &mut Report) -> Result<()> {
    if !plan.includes("overload") {
        return Ok(());
    }
    const MEMORY: u64 = 64 << 20;
    let slow = Weather::SlowPuts(Duration::from_millis(1_000));
    let name = format!("{}-overload", folder(FAR));
    let settings = [
        format!("--memory-bytes={MEMORY}"),
        format!("--cache-bytes={MEMORY}"),
    ];
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
    report.bar(
        "overload: every producer progresses",
        format!("{least} to {most} requests answered"),
        "each more than 0, no errors",
        least > 0 && measured.errors.is_empty(),
    );
    let p99 = measured.produce_ms.map_or(f64::MAX, |q| q.p99);
    report.bar(
        "overload: p99 within the request's timeout",
        format!("{:.1} s", p99 / 1e3),
        "30 s",
        p99 <= 30_000.0,
    );
    Ok(())
}

/// The default Java producer where a PUT takes 100 ms.
async fn java_far(stage: &Stage, plan: &Plan, report: &mut Report, server: &Server) -> Result<()> {
    if !plan.includes("Java producer, acks=all") {
        return Ok(());
    }
    let records = if plan.quick { 100_000 } else { 250_000 };
    let topic = measure::make_writable(server, "java", 16).await?;
    let run = async |records, settings: &'static [&'static str]| -> Result<(f64, f64)> {
        let (jars, address, topic) = (
            stage.jars().to_owned(),
            server.address.clone(),
            topic.clone(),
        );
        let before = server.sample().await?;
        let producer = tokio::task::spawn_blocking(move || {
            java::producer(&jars, &address, &topic, records, settings)
        });
        let rate = producer.await??;
        let after = server.sample().await?;
        let mean = |name: &str| {
            let sum = after
                .growth(&before, &format!("{name}_sum"), "")
                .unwrap_or(0.0);
            sum / after
                .growth(&before, &format!("{name}_count"), "")
                .unwrap_or(1.0)
        };
        Ok((
            rate,
            mean("streamhouse_window_upload_seconds") + mean("streamhouse_commit_seconds"),
        ))
    };
    run(50_000, &[]).await?;
    let (rate, round) = run(records, &[]).await?;
    report.push(
        &server.name,
        "Java producer, acks=all, PUT 100 ms",
        only_rate(rate),
    );
    // Five requests in flight, a batch of 16 KiB for each of 16 partitions, a round trip and 10 ms.
    let ceiling = 5.0 * 16.0 * 16.0 / 1024.0 / (round + 0.010);
    report.bar(
        "one default Java producer where a PUT takes 100 ms",
        format!("{rate:.1} MiB/s"),
        format!(
            "80 % of its ceiling {ceiling:.1} MiB/s at {:.0} ms a round",
            round * 1e3
        ),
        rate >= 0.8 * ceiling,
    );
    let (rate, _) = run(2 * records, &["batch.size=131072"]).await?;
    report.push(
        &server.name,
        "Java producer, batch.size=131072",
        only_rate(rate),
    );
    report.bar(
        "the same with batch.size=131072",
        format!("{rate:.1} MiB/s"),
        "over 20 MiB/s",
        rate > 20.0,
    );
    Ok(())
}
