//! `cargo xtask test`: everything that must pass, in one command.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process::{self, cmd, run_bounded},
    services::{Fleet, Running, Target, oracle::Oracle},
    suites::{self, Counts, SUITES, Suite, own},
    tools,
    workspace::{root, target_dir},
};

/// The tests of the rooms themselves, beside the client suites.
const ROOMS: &str = "rooms";

/// What somebody asked for; empty lists mean all.
#[derive(Debug, Default)]
pub struct Options {
    only: Vec<String>,
    on: Vec<Target>,
    bootstrap: Option<String>,
}

impl Options {
    /// Reads the arguments after `test`.
    pub fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args
                .next()
                .with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--only" => options.only.push(known_name(value)?),
                "--on" => options.on.push(Target::parse(value)?),
                "--bootstrap" => options.bootstrap = Some(value.clone()),
                _ => {
                    bail!("`{flag}` is no option of `test`; there are --only, --on and --bootstrap")
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn wants_rooms(&self) -> bool {
        self.wants(ROOMS) && self.on.is_empty() && self.bootstrap.is_none()
    }

    /// The suites with servers of their own that are wanted.
    fn own(&self) -> impl Iterator<Item = &'static str> {
        let ours = self.on.is_empty() && self.bootstrap.is_none();
        own::names().filter(move |name| ours && self.wants(name))
    }

    fn suites(&self) -> impl Iterator<Item = &'static Suite> {
        SUITES.iter().filter(|suite| self.wants(suite.name))
    }

    fn targets(&self) -> &[Target] {
        if self.on.is_empty() {
            &Target::OURS
        } else {
            &self.on
        }
    }

    /// Whether nothing of ours takes part, so that nothing of ours need be built.
    fn needs_no_server_of_ours(&self) -> bool {
        self.bootstrap.is_some() || self.on == [Target::Oracle]
    }
}

fn known_name(name: &str) -> Result<String> {
    let mut known: Vec<_> = own::names().chain(suites::names()).collect();
    known.insert(0, ROOMS);
    ensure!(
        known.contains(&name),
        "`{name}` is no test; there are {}",
        known.join(", ")
    );
    Ok(name.to_owned())
}

/// What ran and how it ended.
#[derive(Default)]
struct Report {
    rows: Vec<(String, Counts, Duration)>,
}

impl Report {
    /// Runs one step; a step that cannot run at all counts as one failure.
    fn step(&mut self, name: String, step: impl FnOnce() -> Result<Counts>) -> Counts {
        println!("\n== {name}");
        let start = Instant::now();
        let counts = step().unwrap_or_else(|error| {
            println!("  FAIL {error:#}");
            Counts {
                passed: 0,
                failed: 1,
            }
        });
        self.rows.push((name, counts, start.elapsed()));
        counts
    }

    fn finish(self) -> Result<()> {
        let mut total = Counts::default();
        println!();
        for (name, counts, time) in self.rows {
            println!("{name:<24} {counts} ({:.0} s)", time.as_secs_f64());
            total += counts;
        }
        println!("{total}");
        ensure!(total.failed == 0, "{} failed", total.failed);
        Ok(())
    }
}

/// Installs, builds, starts, tests, reports.
pub fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    if options.needs_no_server_of_ours() {
        tools::install_all(|| Ok(()))?;
        with_foreign_server(options, &mut report)?;
    } else {
        tools::install_all(|| build(options))?;
        let fleet = Fleet::start(target_dir()?.join("debug/streamhouse"))?;
        if options.wants_rooms() {
            report.step(ROOMS.to_owned(), || rooms(&fleet));
        }
        for name in options.own() {
            report.step(name.to_owned(), || own::run(name, &[], &fleet));
        }
        for &target in options.targets() {
            with_target(&fleet, target, options, &mut report)?;
        }
    }
    report.finish()
}

fn with_foreign_server(options: &Options, report: &mut Report) -> Result<()> {
    if let Some(bootstrap) = &options.bootstrap {
        run_suites(bootstrap, "bootstrap", options, report);
        return Ok(());
    }
    let oracle = Oracle::start()?;
    run_suites(&oracle.address(), Target::Oracle.name(), options, report);
    Ok(())
}

fn with_target(
    fleet: &Fleet,
    target: Target,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    if options.suites().next().is_none() {
        return Ok(());
    }
    let mut running = fleet.target(target)?;
    let failed = run_suites(&running.bootstrap, target.name(), options, report);
    if failed {
        println!("{}", running.logs());
    }
    report.step(format!("{}: agents", target.name()), || {
        still_alive(&mut running)
    });
    Ok(())
}

/// Runs the suites that are wanted; says whether one of them failed.
fn run_suites(bootstrap: &str, target: &str, options: &Options, report: &mut Report) -> bool {
    let mut failed = false;
    for suite in options.suites() {
        let counts = report.step(format!("{target}: {}", suite.name), || {
            (suite.run)(bootstrap)
        });
        failed |= counts.failed > 0;
    }
    failed
}

/// An agent that a suite brought down is a failure, whatever the suite thinks.
fn still_alive(running: &mut Running) -> Result<Counts> {
    let died = running.died();
    ensure!(
        died.is_empty(),
        "ended by themselves: {}\n{}",
        died.join(", "),
        running.logs()
    );
    Ok(Counts {
        passed: 1,
        failed: 0,
    })
}

fn build(options: &Options) -> Result<()> {
    // The whole workspace, so that its parts get the features that the tests build them with.
    let server = ["--workspace", "--bin", "streamhouse"];
    process::run(cargo(&["build", "--locked"]).args(server))?;
    if options.wants_rooms() {
        process::run(&mut cargo(&["test", "--workspace", "--locked", "--no-run"]))?;
    }
    Ok(())
}

fn cargo(args: &[&str]) -> std::process::Command {
    let mut command = cmd("cargo", args);
    command.current_dir(root());
    command
}

/// `cargo test` of the whole workspace, with the fleet's addresses in its environment.
fn rooms(fleet: &Fleet) -> Result<Counts> {
    let mut tests = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.envs(fleet.environment());
    let mut counts = Counts::default();
    let status = run_bounded(&tests, Duration::from_secs(40 * 60), |line| {
        println!("{line}");
        counts += cargo_counts(line).unwrap_or_default();
    })?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// Reads a line such as `test result: ok. 12 passed; 0 failed; ...`.
fn cargo_counts(line: &str) -> Option<Counts> {
    let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = numbers.split("; ");
    let mut next = |suffix| numbers.next()?.strip_suffix(suffix)?.parse().ok();
    Some(Counts {
        passed: next(" passed")?,
        failed: next(" failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_said_means_everything() {
        let options = options(&[]).unwrap();
        assert!(options.wants_rooms());
        assert_eq!(options.suites().count(), SUITES.len());
        assert_eq!(options.targets(), Target::OURS);
    }

    #[test]
    fn a_suite_can_be_run_alone_against_the_oracle() {
        let options = options(&["--only", "kcat", "--on", "oracle"]).unwrap();
        assert!(!options.wants_rooms());
        assert!(options.needs_no_server_of_ours());
        assert_eq!(
            options.suites().map(|suite| suite.name).collect::<Vec<_>>(),
            ["kcat"]
        );
    }

    #[test]
    fn an_unknown_test_is_refused_with_the_known_ones() {
        let error = options(&["--only", "kat"]).unwrap_err().to_string();
        assert!(error.contains("kcat"), "{error}");
    }

    #[test]
    fn cargo_s_counts_are_read_from_its_result_lines() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            cargo_counts(line),
            Some(Counts {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(cargo_counts("running 15 tests"), None);
    }
}
