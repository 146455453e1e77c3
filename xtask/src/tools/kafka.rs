//! The jars of Apache Kafka: the oracle, its command-line tools and the Java client, of one release.
use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    process::{cmd, output},
    workspace::{oracle_home, root},
};

const VERSION: &str = "4.3.1";

/// Fetches the jars that `suites/oracle/pom.xml` names, once.
pub fn install() -> Result<()> {
    let home = oracle_home(VERSION)?;
    let complete = home.join("complete");
    if complete.exists() {
        return Ok(());
    }
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut maven = cmd("mvn", ["-q", "-B", "dependency:copy-dependencies"]);
    maven
        .arg(format!("-Dkafka.version={VERSION}"))
        .arg(format!("-DoutputDirectory={}", home.join("libs").display()))
        .arg("-f")
        .arg(root().join("suites/oracle/pom.xml"));
    output(&mut maven)?;
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))
}

/// The folder of the jars.
pub fn libs() -> Result<PathBuf> {
    Ok(oracle_home(VERSION)?.join("libs"))
}

/// The class path of all of them, with the programs of `suites/java` before them.
pub fn class_path() -> Result<String> {
    Ok(format!("{}:{}/*", classes()?.display(), libs()?.display()))
}

/// A command that runs a class of the jars or of `suites/java`, with warnings as its only log lines.
pub fn java(class: &str) -> Result<Command> {
    let mut java = cmd(
        "java",
        [
            "-Xmx1g",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ],
    );
    java.arg(class_path()?).arg(class);
    Ok(java)
}

/// The folder that the programs of `suites/java` are compiled into.
pub fn classes() -> Result<PathBuf> {
    Ok(crate::workspace::tools_dir()?.join("java-classes"))
}
