//! The documentation, done as it says (`suites/docs/run.py`), with servers of its own on the fleet's stores.
use std::process::Command;

use anyhow::{Context, Result};

use super::{Counts, counted};
use crate::{
    services::Fleet,
    tools::{flights, kafka, python},
    workspace::root,
};

/// What `--only` calls it.
pub const NAME: &str = "docs";

/// Runs the commands of all pages.
pub fn run(fleet: &Fleet) -> Result<Counts> {
    let binaries = fleet
        .streamhouse
        .parent()
        .context("the server lies in no folder")?;
    let mut command = Command::new(python::interpreter()?);
    command
        .arg("-u")
        .arg(root().join("suites/docs/run.py"))
        .arg(binaries)
        .env("CLASSPATH", kafka::class_path()?)
        .env("FLIGHTS", flights::csv()?)
        .envs(fleet.environment());
    counted(&command)
}
