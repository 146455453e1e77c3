//! Our server on SQLite and a folder: the WAL, memory, and what grows.
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{
    scale::{cost, write_each},
    *,
};

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
        LOCAL,
        &format!("{} at 500/s", named(1, KIB, 1)),
    )
    .await?;
    moderate(&server, plan, report, 1).await?;
    writes(&server, plan, report, 1).await?;
    wal_limit(stage, plan, report, LOCAL, &named(1, KIB, 16)).await?;
    drop(server);
    let server = start().await?;
    writes(&server, plan, report, -1).await?;
    tail_reads(&server, plan, report).await?;
    java_clients(stage, plan, report, &server).await?;
    drop(server);
    let server = start().await?;
    groups::groups(&server, plan, report).await?;
    drop(server);
    let server = start().await?;
    grow(&server, plan, report).await
}

/// Idle connections and many partitions: memory.
async fn crowd(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    if !plan.includes("crowd") {
        return Ok(());
    }
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
    if !plan.includes("grow") {
        return Ok(());
    }
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
            write_each(server, "extents", wide as i32, requests).await?;
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
