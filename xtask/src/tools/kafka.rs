//! The jars of Apache Kafka: the oracle, its command-line tools, the Java client, Streams and Connect, of one release.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    process::{cmd, output},
    tools::once,
    workspace::{oracle_home, root, tools_dir},
};

const VERSION: &str = "4.3.1";

/// Fetches the jars that `suites/oracle/pom.xml` and `suites/java/pom.xml` name, once.
pub fn install() -> Result<()> {
    install_oracle()?;
    install_more()
}

fn install_oracle() -> Result<()> {
    let home = oracle_home(VERSION)?;
    let complete = home.join("complete");
    if complete.exists() {
        return Ok(());
    }
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    output(&mut copy_jars("suites/oracle/pom.xml", &home.join("libs")))?;
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))
}

/// Apart from the oracle's: that folder is filled once, and may be older than this list.
fn install_more() -> Result<()> {
    let path = root().join("suites/java/pom.xml");
    let wanted = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    once("kafka-more", &format!("{VERSION}\n{wanted}"), || {
        let mut maven = copy_jars("suites/java/pom.xml", &more()?);
        // The rest lies with the oracle.
        maven.arg("-DincludeGroupIds=org.apache.kafka,org.rocksdb");
        output(&mut maven).map(drop)
    })
}

fn copy_jars(pom: &str, to: &Path) -> Command {
    let mut maven = cmd("mvn", ["-q", "-B", "dependency:copy-dependencies"]);
    maven
        .arg(format!("-Dkafka.version={VERSION}"))
        .arg(format!("-DoutputDirectory={}", to.display()))
        .arg("-f")
        .arg(root().join(pom));
    maven
}

/// The folder of the oracle's jars.
pub fn libs() -> Result<PathBuf> {
    Ok(oracle_home(VERSION)?.join("libs"))
}

fn more() -> Result<PathBuf> {
    Ok(tools_dir()?.join("kafka-more"))
}

/// The class path of all jars.
pub fn jars() -> Result<String> {
    Ok(format!("{}/*:{}/*", libs()?.display(), more()?.display()))
}

/// The class path of all of them, with the programs of `suites/java` before them.
pub fn class_path() -> Result<String> {
    Ok(format!("{}:{}", classes()?.display(), jars()?))
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
    Ok(tools_dir()?.join("java-classes"))
}
