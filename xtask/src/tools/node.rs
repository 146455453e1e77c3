//! The Node client, in a folder of its own.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::once;
use crate::{
    process::{cmd, output},
    workspace::{root, tools_dir},
};

/// Installs what `suites/node/package-lock.json` pins.
pub fn install() -> Result<()> {
    let suite = root().join("suites/node");
    let lock = suite.join("package-lock.json");
    let wanted = fs::read_to_string(&lock).with_context(|| format!("no {}", lock.display()))?;
    once("node", &wanted, || {
        let dir = dir()?;
        fs::create_dir_all(&dir)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(suite.join(file), dir.join(file))?;
        }
        output(cmd("npm", ["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&dir))
            .map(drop)
    })
}

fn dir() -> Result<PathBuf> {
    Ok(tools_dir()?.join("node"))
}

/// The folder of the installed modules, for `NODE_PATH`.
pub fn modules() -> Result<PathBuf> {
    Ok(dir()?.join("node_modules"))
}
