//! The suites with servers of their own, which they may kill: each is a `suites/NAME/run.py` that takes the folder of the
//! binaries.
use std::{process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{Counts, counted_within, programs};
use crate::{
    services::Fleet,
    tools::{flights, kafka, python},
    workspace::root,
};

/// The documentation, done as it says.
pub const DOCS: &str = "docs";

/// Those that kill servers and clients while records go through.
pub const UNDER_KILLS: [&str; 3] = ["streams", "copiers", "connect"];

const LIMIT: Duration = Duration::from_secs(40 * 60);

/// All of them, in the order they run.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(DOCS).chain(UNDER_KILLS)
}

/// Runs one of them, with `flags` before the folder.
pub fn run(name: &str, flags: &[&str], fleet: &Fleet) -> Result<Counts> {
    let binaries = fleet
        .streamhouse
        .parent()
        .context("the server lies in no folder")?;
    let mut command = Command::new(python::interpreter()?);
    command
        .arg("-u")
        .arg(root().join("suites").join(name).join("run.py"))
        .args(flags)
        .arg(binaries)
        .env("CLASSPATH", kafka::class_path()?)
        .env("FLIGHTS", flights::csv()?)
        .env("GO_COPIER", programs::go_copier()?)
        .envs(fleet.environment());
    counted_within(LIMIT, &command)
}
