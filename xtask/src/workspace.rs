//! Where things are: the repository, the folder of installed tools, the real input.
use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cmd, output};

/// The root of the repository. SUBTLE: cargo tells it to what it runs. Clones that share a build cache share this program, and
/// the one that compiled it need not be the one that runs it.
pub fn root() -> PathBuf {
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    told.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .parent()
        .expect("xtask lies in the root")
        .to_path_buf()
}

fn cache() -> Result<PathBuf> {
    let home = env::var_os("HOME").context("HOME is not set: the tools are kept below it")?;
    Ok(PathBuf::from(home).join(".cache"))
}

/// The folder that keeps what `cargo xtask test` installs for itself, outside the clone.
pub fn tools_dir() -> Result<PathBuf> {
    let dir = cache()?.join("streamhouse-tools");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The folder that keeps the jars of Apache Kafka `version`; shared with other tools that fetch the same jars.
pub fn oracle_home(version: &str) -> Result<PathBuf> {
    let base = match env::var_os("KAFKA_ORACLE_HOME") {
        Some(home) => PathBuf::from(home),
        None => cache()?.join("kafka-oracle"),
    };
    Ok(base.join(format!("kafka-{version}")))
}

/// What `cargo metadata` says, of the members only or of every dependency too.
pub fn metadata(with_dependencies: bool) -> Result<Value> {
    let mut command = cmd("cargo", ["metadata", "--format-version=1", "--locked"]);
    if !with_dependencies {
        command.arg("--no-deps");
    }
    let text = output(command.current_dir(root()))?;
    serde_json::from_str(&text).context("cargo metadata did not print JSON")
}

/// The packages of a `cargo metadata` answer.
pub fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().map_or(&[], Vec::as_slice)
}

/// The folder cargo builds into.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = metadata(false)?;
    let dir = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(dir))
}
