//! `cargo xtask torture` and `cargo xtask bars`: what `cargo xtask test` does in short, at full length; and what is measured.
use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{cmd, run},
    services::Fleet,
    suites::{Counts, franz_go, own},
    tools,
    workspace::{root, target_dir},
};

/// 50 kills while each of the six writers writes all flights, and a hundred thousand mutated frames.
const FULL_LENGTH: [(&str, &str); 3] = [
    ("STREAMHOUSE_TEST_KILLS", "50"),
    ("STREAMHOUSE_TEST_RECORDS", "2020656"),
    ("STREAMHOUSE_TEST_FRAMES", "100000"),
];

/// Churn in consumer groups lasts no longer than this.
const CHURN_MINUTES: u64 = 10;

/// The crash tests at full length, about half an hour (`args` go to the test binary: a part of a test's name, say); with
/// `--minutes N`, one fault after another for so long on each kind of store, and churn in consumer groups; with `--kills N`,
/// pipelines of real clients.
pub fn torture(args: &[String]) -> Result<()> {
    match args {
        [flag, minutes] if flag == "--minutes" => {
            endure(minutes.parse().context("--minutes wants a number")?)
        }
        [flag, kills] if flag == "--kills" => kill_pipelines(kills),
        _ => crash_tests(args),
    }
}

/// The release build, one agent on a folder and SQLite and then a pair on MinIO and Postgres.
fn kill_pipelines(kills: &str) -> Result<()> {
    let fleet = Fleet::start(build_release()?.join("streamhouse"))?;
    let mut total = Counts::default();
    for place in ["folder", "pair"] {
        for name in own::UNDER_KILLS {
            println!("\n== {place}: {name}");
            total += own::run(name, &["--on", place, "--kills", kills], &fleet)?;
        }
    }
    println!("{total}");
    ensure!(total.failed == 0, "{} failed", total.failed);
    Ok(())
}

/// The release build on a folder and SQLite, and as a pair on MinIO and Postgres.
fn endure(minutes: u64) -> Result<()> {
    let release = build_release()?;
    let fleet = Fleet::start(release.join("streamhouse"))?;
    let churn = minutes.min(CHURN_MINUTES).to_string();
    for place in ["folder", "pair"] {
        for what in [
            &[place, &minutes.to_string()][..],
            &["churn", place, &churn],
        ] {
            let mut run_one = Command::new(release.join("torture"));
            run(run_one.args(what).envs(fleet.environment()))?;
        }
    }
    Ok(())
}

/// franz-go's tests beside a server that is killed every 20 s.
pub fn kgo() -> Result<()> {
    let release = build_release()?;
    let server = release.join("streamhouse").display().to_string();
    let environment = [("STREAMHOUSE_BIN", server)];
    let counts = franz_go::run_under_kills(&release.join("torture"), &environment)?;
    ensure!(counts.failed == 0, "{counts}");
    Ok(())
}

fn crash_tests(args: &[String]) -> Result<()> {
    let build = || run(&mut cargo(&["build", "--locked", "-p", "sh-server"]));
    tools::install_all(build)?;
    let fleet = Fleet::start(target_dir()?.join("debug/streamhouse"))?;
    let mut tests = cargo(&[
        "test",
        "--locked",
        "-p",
        "sh-testkit",
        "--test",
        "it",
        "torture::",
    ]);
    tests.args(["--", "--nocapture"]).args(args);
    run(tests.envs(fleet.environment()).envs(FULL_LENGTH))
}

/// Throughput, latency and idleness on a bucket that takes 100 ms for a PUT: a report, and an error where a bar is missed.
pub fn bars() -> Result<()> {
    let release = build_release()?;
    let fleet = Fleet::start(release.join("streamhouse"))?;
    run(Command::new(release.join("bars")).envs(fleet.environment()))
}

/// Builds server and testkit, beside the tools that runs need, and says where they are.
fn build_release() -> Result<PathBuf> {
    let packages = ["-p", "sh-server", "-p", "sh-testkit"];
    let build = || run(cargo(&["build", "--release", "--locked"]).args(packages));
    tools::install_all(build)?;
    Ok(target_dir()?.join("release"))
}

fn cargo(args: &[&str]) -> Command {
    let mut command = cmd("cargo", args);
    command.current_dir(root());
    command
}
