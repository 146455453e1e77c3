//! `cargo xtask torture` and `cargo xtask bars`: what `cargo xtask test` does in short, at full length; and what is measured.
use std::process::Command;

use anyhow::Result;

use crate::{
    process::{cmd, run},
    services::Fleet,
    tools,
    workspace::{root, target_dir},
};

/// 50 kills while each of the six writers writes all flights, and a hundred thousand mutated frames.
const FULL_LENGTH: [(&str, &str); 3] = [
    ("STREAMHOUSE_TEST_KILLS", "50"),
    ("STREAMHOUSE_TEST_RECORDS", "2020656"),
    ("STREAMHOUSE_TEST_FRAMES", "100000"),
];

/// The crash tests at full length: about half an hour. `args` go to the test binary (a part of a test's name, say).
pub fn torture(args: &[String]) -> Result<()> {
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
    let build = || {
        run(cargo(&["build", "--release", "--locked"]).args([
            "-p",
            "sh-server",
            "-p",
            "sh-testkit",
        ]))
    };
    tools::install_all(build)?;
    let release = target_dir()?.join("release");
    let fleet = Fleet::start(release.join("streamhouse"))?;
    run(Command::new(release.join("bars")).envs(fleet.environment()))
}

fn cargo(args: &[&str]) -> Command {
    let mut command = cmd("cargo", args);
    command.current_dir(root());
    command
}
