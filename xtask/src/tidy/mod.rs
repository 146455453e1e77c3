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
    findings.extend(source::check(&files()?));
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

/// The text files that git tracks or would track.
fn files() -> Result<source::Files> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let paths = output(cmd("git", list).current_dir(root()))?;
    let read = |path: &str| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?));
    Ok(paths.lines().filter_map(read).collect())
}

/// The picture of the house in ARCHITECTURE.md names the folder of every package.
fn check_architecture(metadata: &Value) -> Vec<String> {
    let Ok(page) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        return vec!["ARCHITECTURE.md is missing".to_owned()];
    };
    let pictured = pictured(&page);
    let folders = packages(metadata).iter().filter_map(folder);
    folders
        .filter(|folder| !pictured.contains(folder.as_str()))
        .map(|folder| format!("the picture in ARCHITECTURE.md does not show {folder}"))
        .collect()
}

/// The words of a page's code blocks.
fn pictured(page: &str) -> BTreeSet<&str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.flat_map(str::split_whitespace).collect()
}

/// The name of a package's folder, such as `log`.
fn folder(package: &Value) -> Option<String> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = manifest.parent()?.file_name()?;
    Some(folder.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_what_stands_in_code_blocks() {
        let page = "The wire is long.\n```\nlog   the engine\nbase\n```\nNo coord.\n";
        assert_eq!(pictured(page), ["base", "engine", "log", "the"].into());
    }
}
