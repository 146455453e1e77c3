//! `cargo xtask bench`: builds for release, starts the stores, runs the workloads of `bench/`.
use std::{fs, process::Command};

use anyhow::Result;

use crate::{
    process::{cmd, run},
    services::{postgres::Postgres, s3},
    tools::{debian, golang, kafka},
    workspace::{root, target_dir},
};

/// `args` go to the program; the page is written only by a run that holds all of it.
pub fn run_all(args: &[String]) -> Result<()> {
    let mut build = cmd(
        "cargo",
        [
            "build",
            "--release",
            "--locked",
            "-p",
            "sh-server",
            "-p",
            "sh-bench",
        ],
    );
    run(build.current_dir(root()))?;
    debian::install_missing()?;
    golang::install()?;
    kafka::install()?;
    let postgres = Postgres::start()?;
    let release = target_dir()?.join("release");
    // A build's disk is a disk; the system's folder for temporary files may be memory.
    let disk = target_dir()?.join("bench");
    fs::create_dir_all(&disk)?;
    let mut bench = Command::new(release.join("bench"));
    bench.arg("--disk").arg(&disk);
    if !args
        .iter()
        .any(|arg| ["--only", "--workload", "--at"].contains(&arg.as_str()))
    {
        bench.arg("--out").arg(root().join("docs"));
    }
    bench.args(args).envs([
        (
            "STREAMHOUSE_BIN",
            release.join("streamhouse").display().to_string(),
        ),
        ("STREAMHOUSE_TEST_POSTGRES", postgres.url()),
        ("STREAMHOUSE_TEST_POSTGRES_CTL", postgres.control()),
        (
            "STREAMHOUSE_TEST_MINIO",
            golang::program("minio")?.display().to_string(),
        ),
        ("STREAMHOUSE_TEST_S3_KEY", s3::ACCESS_KEY.to_owned()),
        ("STREAMHOUSE_TEST_S3_SECRET", s3::SECRET_KEY.to_owned()),
        (
            "STREAMHOUSE_TEST_KAFKA_JARS",
            kafka::libs()?.display().to_string(),
        ),
    ]);
    run(&mut bench)
}
