//! How each suite's program is built and started.
use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    process::{cmd, output},
    tools::{flights, kafka, node, python},
    workspace::{root, tools_dir},
};

fn suite(path: &str) -> PathBuf {
    root().join("suites").join(path)
}

/// Compiles the suites that need it.
pub fn compile() -> Result<()> {
    compile_java().context("suites/java does not compile")?;
    compile_go().context("suites/go does not compile")
}

fn compile_java() -> Result<()> {
    let mut javac = cmd(
        "javac",
        [
            "-Xlint:all,-serial,-path,-classfile",
            "-Werror",
            "--release",
            "17",
        ],
    );
    javac
        .arg("-d")
        .arg(kafka::classes()?)
        .arg("-cp")
        .arg(kafka::jars()?);
    for entry in fs::read_dir(suite("java"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "java")
        {
            javac.arg(path);
        }
    }
    output(&mut javac).map(drop)
}

fn go_program() -> Result<PathBuf> {
    Ok(tools_dir()?.join("go-suite"))
}

/// The copier of `suites/copiers` that is written in Go.
pub fn go_copier() -> Result<PathBuf> {
    Ok(tools_dir()?.join("go-copier"))
}

fn compile_go() -> Result<()> {
    for (program, package) in [(go_program()?, "."), (go_copier()?, "./copier")] {
        let mut build = cmd("go", ["build", "-o"]);
        build.arg(program).arg(package).current_dir(suite("go"));
        output(&mut build)?;
    }
    Ok(())
}

pub fn python(bootstrap: &str) -> Result<Command> {
    python_program("python/suite.py", bootstrap)
}

pub fn kafka_python(bootstrap: &str) -> Result<Command> {
    python_program("python/kafka_python.py", bootstrap)
}

pub fn aiokafka(bootstrap: &str) -> Result<Command> {
    python_program("python/aio.py", bootstrap)
}

fn python_program(path: &str, bootstrap: &str) -> Result<Command> {
    let mut command = Command::new(python::interpreter()?);
    command.arg("-u").arg(suite(path)).arg(bootstrap);
    Ok(command)
}

pub fn kcat(bootstrap: &str) -> Command {
    let mut command = Command::new(suite("kcat/run"));
    command.arg(bootstrap);
    command
}

pub fn node(bootstrap: &str) -> Result<Command> {
    let mut command = cmd("node", [suite("node/suite.js")]);
    command.arg(bootstrap).env("NODE_PATH", node::modules()?);
    Ok(command)
}

pub fn go(bootstrap: &str) -> Result<Command> {
    let mut command = Command::new(go_program()?);
    command.arg(bootstrap);
    Ok(command)
}

pub fn java(bootstrap: &str) -> Result<Command> {
    let mut command = kafka::java("ClientSuite")?;
    command.arg(bootstrap);
    Ok(command)
}

pub fn console(bootstrap: &str) -> Result<Command> {
    let mut command = Command::new(suite("console/run"));
    command
        .arg(bootstrap)
        .env("CLASSPATH", kafka::class_path()?);
    Ok(command)
}

/// The flights of 2013, written by a default producer and read back.
pub fn flights(bootstrap: &str) -> Result<Command> {
    let mut command = kafka::java("FlightsSuite")?;
    command.arg(bootstrap).arg(flights::csv()?);
    Ok(command)
}
