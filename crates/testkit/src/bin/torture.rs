//! `torture`: minutes of faults, one after another, and the verdict. `cargo xtask torture --minutes N` runs it.
#![allow(
    clippy::disallowed_methods,
    reason = "a run against real servers reads the clock and the environment"
)]
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sh_testkit::torture::{
    chance::Chance,
    endurance::{Place, Report, run},
};

const USAGE: &str = "usage: torture folder|pair MINUTES [SEED]";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let place = match arguments.first().map(String::as_str) {
        Some("folder") => Place::Folder,
        Some("pair") => Place::Pair,
        _ => bail!(USAGE),
    };
    let minutes: u64 = arguments.get(1).context(USAGE)?.parse().context(USAGE)?;
    let seed = arguments.get(2).map_or(Ok(1), |text| text.parse());
    let seed = seed.context(USAGE)?;
    ensure!(arguments.len() <= 3, USAGE);
    let folder = tempfile::tempdir()?;
    println!("{place:?}: {minutes} minutes, seed {seed}");
    let lasting = Duration::from_secs(minutes * 60);
    let report = run(place, folder.path(), lasting, Chance::new(seed)).await?;
    print(&report);
    report.must_be_clean()
}

fn print(report: &Report) {
    let Report {
        verdict,
        faults,
        slowest,
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
        "somebody got on at most {slowest:?} after a fault; {} MiB resident at most; at the end {} bytes of WAL and {} temporary objects",
        report.resident_bytes_max >> 20,
        report.wal_bytes_each,
        report.temporary_objects
    );
}
