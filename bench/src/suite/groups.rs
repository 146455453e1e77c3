//! What groups cost, and how long a heartbeat takes when there are many of them.
use std::time::Duration;

use anyhow::Result;

use crate::{
    groups::{self, GroupLoad, Grouped, Speaks},
    measure::Quantiles,
    report::Report,
    server::Server,
};

use super::Plan;

/// The most that the slowest percent of heartbeats may take.
const HEARTBEAT_P99_MS: f64 = 50.0;

/// The workloads of groups: many members, and many groups, in both protocols.
pub(super) async fn groups(server: &Server, plan: &Plan, report: &mut Report) -> Result<()> {
    let (members, groups) = if plan.quick {
        (300, 1_000)
    } else {
        (1_000, 5_000)
    };
    for (speaks, protocol) in [(Speaks::Classic, "classic"), (Speaks::New, "KIP-848")] {
        let one = GroupLoad {
            speaks,
            groups: 1,
            members,
            heartbeat: Duration::from_secs(3),
            commit: None,
        };
        run(
            server,
            plan,
            report,
            one,
            format!("{members} members in one group, {protocol}"),
        )
        .await?;
        let many = GroupLoad {
            groups,
            members: 1,
            commit: Some(Duration::from_secs(5)),
            ..one
        };
        let name = format!("{groups} groups that commit every 5 s, {protocol}");
        run(server, plan, report, many, name).await?;
    }
    Ok(())
}

async fn run(
    server: &Server,
    plan: &Plan,
    report: &mut Report,
    load: GroupLoad,
    name: String,
) -> Result<()> {
    if !plan.includes(&name) {
        return Ok(());
    }
    let time = Duration::from_secs(if plan.quick { 10 } else { 20 });
    let seen = groups::run(server, load, time).await?;
    let p99 = seen.heartbeat_ms.map_or(f64::MAX, |ms| ms.p99);
    report.bar(
        format!("{}: heartbeats of {name}", server.name),
        told(&seen),
        "p99 under 50 ms, nobody joins again",
        p99 < HEARTBEAT_P99_MS && seen.rejoined == 0,
    );
    if let (Some(cores), true) = (seen.cores, load.commit.is_some()) {
        let commits = seen.commit_ms.map_or_else(String::new, milliseconds);
        report.bar(
            format!("{}: {name}", server.name),
            format!("{cores:.2} cores for {:.0} commits and {:.0} heartbeats a second, commits {commits}",
                seen.commits_per_second, seen.heartbeats_per_second),
            "under 1 core",
            cores < 1.0,
        );
    }
    Ok(())
}

fn told(seen: &Grouped) -> String {
    let heartbeats = seen.heartbeat_ms.map_or_else(String::new, milliseconds);
    format!(
        "{heartbeats} at {:.0} a second, {:.2} cores; all had their share after {:.1} s; {} joined again",
        seen.heartbeats_per_second,
        seen.cores.unwrap_or(0.0),
        seen.joined.as_secs_f64(),
        seen.rejoined,
    )
}

fn milliseconds(q: Quantiles) -> String {
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.1} ms",
        q.p50, q.p99, q.p999
    )
}
