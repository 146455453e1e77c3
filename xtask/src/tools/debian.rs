//! Programs that come as Debian packages.
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::{cmd, exists, output, run};

/// Each program the tests start, with the package that has it.
const PROGRAMS: [(&str, &str); 10] = [
    ("go", "golang"),
    ("java", "default-jdk-headless"),
    ("javac", "default-jdk-headless"),
    ("kcat", "kcat"),
    ("mvn", "maven"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("python3", "python3-venv"),
    ("unzip", "unzip"),
];

/// Installs the packages whose programs are missing; asks nothing when all are there.
pub fn install_missing() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !exists(program))
        .map(|&(_, package)| package)
        .collect();
    if postgres_bin().is_err() {
        missing.push("postgresql");
    }
    missing.dedup();
    install(&missing)
}

/// Installs Debian packages by name.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    run(&mut apt(&["update", "-qq"]))?;
    run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("install these yourself: {}", packages.join(" ")))
}

fn apt(args: &[&str]) -> std::process::Command {
    let mut command = cmd("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The folder of `pg_ctl` and `initdb`: the newest one, as Debian keeps several versions side by side.
pub fn postgres_bin() -> Result<PathBuf> {
    let find = "ls -d /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null | sort -V | tail -n 1 | grep . || command -v pg_ctl";
    let path = output(&mut cmd("sh", ["-c", find])).context("Postgres is not installed")?;
    let bin = PathBuf::from(path.trim());
    Ok(bin
        .parent()
        .context("pg_ctl lies in no folder")?
        .to_path_buf())
}
