//! `bench`: named workloads against a Kafka server, beside the limits of the machine and beside Apache Kafka, in one run.
//!
//! `cargo xtask bench` builds the server, starts the stores and runs all of it.
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and the environment"
)]
mod consume;
mod gauge;
mod groups;
mod java;
mod limits;
mod measure;
mod plot;
mod produce;
mod report;
mod server;
mod stage;
mod suite;
mod wire;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use report::Report;
use server::Server;
use stage::Stage;
use suite::Plan;

const HELP: &str = "\
usage: bench [--quick] [--only SERVER]... [--workload NAME] [--disk DIR] [--out DIR] [--at HOST:PORT [--pid PID]]

    --quick         all of it in about six minutes, with shorter and fewer runs
    --only SERVER   only servers whose name contains this: folder, S3, distant, scale, Kafka, fsync
    --workload NAME only workloads whose name contains this, as in the report; also idle, crowd, grow, overload, group
    --disk DIR      a folder on the disk that is measured (default: the folder for temporary files)
    --out DIR       where benchmarks.md, its plots and results.json are written (default: nowhere)
    --at HOST:PORT  measures the Kafka server that listens there, and no other; --pid names its process";

/// What the command line asks for.
struct Asked {
    plan: Plan,
    disk: PathBuf,
    out: Option<PathBuf>,
    at: Option<String>,
    pid: Option<u32>,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Asked>> {
    let mut asked = Asked {
        plan: Plan {
            quick: false,
            only: Vec::new(),
            workload: String::new(),
        },
        disk: std::env::temp_dir(),
        out: None,
        at: None,
        pid: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .with_context(|| format!("{arg} needs a value\n\n{HELP}"))
        };
        match arg.as_str() {
            "--quick" => asked.plan.quick = true,
            "--only" => asked.plan.only.push(value()?),
            "--workload" => asked.plan.workload = value()?,
            "--disk" => asked.disk = value()?.into(),
            "--out" => asked.out = Some(value()?.into()),
            "--at" => asked.at = Some(value()?),
            "--pid" => asked.pid = Some(value()?.parse().context("--pid takes a process id")?),
            "help" | "--help" | "-h" => return Ok(None),
            other => bail!("`{other}` is not an option\n\n{HELP}"),
        }
    }
    Ok(Some(asked))
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Some(asked) = parse(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let quick = if asked.plan.quick { " --quick" } else { "" };
    let mut report = Report {
        command: format!("cargo xtask bench{quick}"),
        machine: machine(),
        load_average: fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
            .into(),
        ..Report::default()
    };
    match &asked.at {
        Some(address) => {
            let server = Server::elsewhere(address, asked.pid);
            suite::run_at(&server, &asked.plan, &mut report).await?;
        }
        None => {
            let stage = Stage::set(&asked.disk).await?;
            suite::run(&stage, &asked.plan, &mut report).await?;
        }
    }
    println!("\n{}", report.table());
    if let Some(out) = &asked.out {
        report.write(out)?;
        println!("\nwritten: {}", out.join("benchmarks.md").display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Processor, cores, memory and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_once(':')
            .map_or("unknown", |(_, value)| value.trim())
            .to_owned()
    };
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let kib: f64 = field(&memory, "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    format!(
        "{cores} cores of {}, {:.0} GiB of memory, Linux {}",
        field(&cpu, "model name"),
        kib / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim()
    )
}
