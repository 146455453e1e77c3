//! `torture`: minutes of faults, one after another, and the verdict; minutes of churn in consumer groups; or any program beside
//! a server that is killed again and again. `cargo xtask torture --minutes N` runs the first two, `cargo xtask kgo` the last.
#![allow(
    clippy::disallowed_methods,
    reason = "a run against real servers reads the clock and the environment"
)]
use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use sh_testkit::torture::{
    chance::Chance,
    churn,
    endurance::{Place, Report, run},
    kills,
};

const USAGE: &str = "usage: torture [churn] folder|pair MINUTES [SEED] | torture kills SECONDS PROGRAM [ARGUMENT]...";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "kills") {
        return beside_kills(&arguments[1..]).await;
    }
    let churns = arguments.first().is_some_and(|first| first == "churn");
    if churns {
        arguments.remove(0);
    }
    let place = match arguments.first().map(String::as_str) {
        Some("folder") => Place::Folder,
        Some("pair") => Place::Pair,
        _ => bail!(USAGE),
    };
    let minutes: u64 = arguments.get(1).context(USAGE)?.parse().context(USAGE)?;
    let seed = arguments.get(2).map_or(Ok(1), |text| text.parse());
    let seed = seed.context(USAGE)?;
    ensure!(arguments.len() <= 3, USAGE);
    let mut folder = tempfile::tempdir()?;
    println!("{place:?}: {minutes} minutes, seed {seed}");
    let lasting = Duration::from_secs(minutes * 60);
    if churns {
        return churn_for(place, folder.path(), lasting, Chance::new(seed)).await;
    }
    let report = run(place, folder.path(), lasting, Chance::new(seed)).await;
    let clean = report.and_then(|report| {
        print(&report);
        report.must_be_clean()
    });
    if clean.is_err() {
        folder.disable_cleanup(true);
        println!("what the agents left is in {}", folder.path().display());
    }
    clean
}

async fn beside_kills(arguments: &[String]) -> Result<()> {
    let (seconds, program) = arguments.split_first().context(USAGE)?;
    let pause = Duration::from_secs(seconds.parse().context(USAGE)?);
    let folder = tempfile::tempdir()?;
    let done = kills::run(folder.path(), pause, program).await?;
    println!(
        "{} kills, back after at most {:?}",
        done.kills, done.slowest_start
    );
    ensure!(
        done.status.success(),
        "{} ended with {}",
        program[0],
        done.status
    );
    Ok(())
}

/// Forty groups, and a kill each minute.
async fn churn_for(place: Place, folder: &Path, lasting: Duration, chance: Chance) -> Result<()> {
    let size = churn::Size {
        groups: 40,
        lasting,
        between_kills: Duration::from_secs(60),
    };
    let report = churn::run(place, folder, size, chance).await?;
    println!("{}", report.summary());
    report.must_be_clean()
}

fn print(report: &Report) {
    let Report {
        verdict,
        copies,
        watched,
        faults,
        slowest,
        slowest_group,
        ..
    } = report;
    let faults: Vec<String> = faults.iter().map(|(f, n)| format!("{n} {f:?}")).collect();
    println!("faults: {}", faults.join(", "));
    println!(
        "{} records acknowledged in {} batches, {} read back, {} seen meanwhile, {} anomalies",
        verdict.acknowledged,
        verdict.batches,
        verdict.read,
        verdict.seen,
        verdict.anomalies.len()
    );
    println!(
        "{} records copied in {} transactions, {} aborted, {} of unknown end; {} anomalies; every group got on at most {slowest_group:?} after a fault and caught up in {:?}",
        copies.copied,
        copies.committed,
        copies.aborted,
        copies.unknown,
        copies.anomalies.len(),
        copies.caught_up
    );
    println!(
        "committed offsets were looked at {} times, {} moved back; copiers began anew after {:?}",
        watched.looks,
        watched.moved_back.len(),
        copies.ends
    );
    println!(
        "somebody got on at most {slowest:?} after a fault; {} MiB resident at most; at the end {} bytes of WAL and {} temporary objects",
        report.resident_bytes_max >> 20,
        report.wal_bytes_each,
        report.temporary_objects
    );
}
