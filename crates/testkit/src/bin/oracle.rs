//! `oracle list`: the scenarios. `oracle ask NAME --at HOST:PORT`: what one server answers. `oracle compare KAFKA OURS [NAME]`:
//! the differences between two.
use std::process::ExitCode;

use anyhow::{Result, bail};
use sh_testkit::oracle::{self, Run, Step, diff, scenarios};

const USAGE: &str =
    "usage: oracle list | oracle ask NAME --at HOST:PORT | oracle compare KAFKA OURS [NAME]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["list"] => scenarios::all().for_each(|s| println!("{:30} {}", s.name, s.story)),
        ["ask", name, "--at", address] => ask(name, address).await?,
        ["compare", kafka, ours] => return compare(kafka, ours, "").await,
        ["compare", kafka, ours, only] => return compare(kafka, ours, only).await,
        _ => bail!(USAGE),
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(name: &str, address: &str) -> Result<()> {
    let run = Run::start();
    let mut told = 0;
    for scenario in scenarios::all().filter(|s| s.name.contains(name)) {
        println!("\n# {}: {}", scenario.name, scenario.story);
        print(&oracle::ask(scenario, address, &run).await);
        told += 1;
    }
    if told == 0 {
        bail!("no scenario's name contains {name:?}; `oracle list` shows them all");
    }
    Ok(())
}

/// Equal answers at several versions are printed once.
fn print(steps: &[Step]) {
    let mut told: Vec<(&str, String, Vec<i16>)> = Vec::new();
    for step in steps {
        let answer = step.answer.to_string();
        match told
            .iter_mut()
            .find(|(what, a, _)| *what == step.what && *a == answer)
        {
            Some((_, _, versions)) => versions.push(step.version),
            None => told.push((&step.what, answer, vec![step.version])),
        }
    }
    for (what, answer, versions) in told {
        println!("- {what} (v{})\n  {answer}", diff::ranges(&versions));
    }
}

async fn compare(kafka: &str, ours: &str, only: &str) -> Result<ExitCode> {
    let report = oracle::compare(kafka, ours, only).await?;
    println!("{}", diff::Told(&report.unwanted));
    for wanted in &report.unused {
        println!("this wanted difference did not occur, remove it: {wanted:?}");
    }
    println!(
        "{} answers compared; {} differences unwanted, {} wanted",
        report.steps,
        report.unwanted.len(),
        report.wanted
    );
    let agrees = report.unwanted.is_empty() && report.unused.is_empty();
    Ok(if agrees {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
