//! `cargo xtask tidy`: the rules of the house that no compiler checks. Each rule returns what it found, as sentences.
mod rooms;
mod source;

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    process::{cmd, output},
    workspace::{metadata, packages, root},
};

/// Checks everything and prints what breaks a rule.
pub fn run() -> Result<()> {
    let metadata = metadata(false)?;
    let mut findings = rooms::check(&members(&metadata));
    for path in tracked_files()? {
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            findings.extend(source::check(&path, &text));
        }
    }
    findings.extend(check_architecture(&metadata));
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} rules broken", findings.len());
    println!("tidy: all rules of the house are kept");
    Ok(())
}

/// A package of the workspace and what it depends on.
struct Member {
    name: String,
    /// Outside of tests: normal and build dependencies.
    dependencies: BTreeSet<String>,
}

fn members(metadata: &Value) -> Vec<Member> {
    packages(metadata).iter().map(member).collect()
}

fn member(package: &Value) -> Member {
    let dependencies = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    Member {
        name: text(&package["name"]),
        dependencies: dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The files that git tracks or would track.
fn tracked_files() -> Result<Vec<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let text = output(cmd("git", list).current_dir(root()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// ARCHITECTURE.md names the folder of every package.
fn check_architecture(metadata: &Value) -> Vec<String> {
    let Ok(page) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        return vec!["ARCHITECTURE.md is missing".to_owned()];
    };
    let folders = packages(metadata).iter().filter_map(folder);
    folders
        .filter(|folder| !page.contains(folder.as_str()))
        .map(|folder| format!("ARCHITECTURE.md does not mention {folder}"))
        .collect()
}

/// The folder of a package, such as `crates/log`.
fn folder(package: &Value) -> Option<String> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = manifest.parent()?.strip_prefix(root()).ok()?;
    Some(folder.to_string_lossy().into_owned())
}
