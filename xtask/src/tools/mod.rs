//! What the tests need and a machine may lack, installed by name with each language's ordinary client.
pub mod debian;
pub mod flights;
pub mod golang;
pub mod kafka;
pub mod node;
pub mod python;

use std::{fs, thread, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{suites, workspace::tools_dir};

/// Installs everything that is missing, in parallel with `meanwhile`, and returns when all of it is there.
pub fn install_all(meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    debian::install_missing()?;
    thread::scope(|scope| {
        let steps = [
            ("S3 servers", golang::install as fn() -> Result<()>),
            ("clients from source", client_programs),
            ("Python client", python::install),
            ("Node client", node::install),
        ]
        .map(|(name, step)| scope.spawn(move || timed(name, step)));
        let mut failures: Vec<_> = meanwhile().err().into_iter().collect();
        for step in steps {
            let result = step
                .join()
                .map_err(|_| anyhow!("an installing thread panicked"));
            failures.extend(result.and_then(|r| r).err());
        }
        ensure!(failures.is_empty(), "{}", list(&failures));
        Ok(())
    })
}

/// What is compiled here: franz-go's tests, and our suites for Java and Go.
fn client_programs() -> Result<()> {
    kafka::install()?;
    suites::compile()?;
    suites::franz_go::compile()
}

fn list(failures: &[anyhow::Error]) -> String {
    failures
        .iter()
        .map(|e| format!("{e:#}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn timed(name: &str, step: fn() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    step().with_context(|| format!("cannot install: {name}"))?;
    println!("installed: {name} ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs `install` unless it ran before for the same `version`; remembers that it did.
fn once(name: &str, version: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = tools_dir()?.join(format!("{name}.version"));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == version) {
        return Ok(());
    }
    install()?;
    fs::write(&stamp, version).with_context(|| format!("cannot write {}", stamp.display()))
}
