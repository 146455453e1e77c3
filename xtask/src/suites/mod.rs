//! The client suites: real clients in their own languages, each a program under `suites/` that takes bootstrap
//! addresses, says what it tried, and ends with a line `N passed, N failed`.
pub mod franz_go;
pub mod own;
mod programs;

use std::{ops::AddAssign, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::process::run_bounded;

pub use programs::compile;

/// A client suite.
pub struct Suite {
    /// What `--only` calls it.
    pub name: &'static str,
    /// Runs it against these bootstrap addresses.
    pub run: fn(bootstrap: &str) -> Result<Counts>,
}

/// All of them, in the order they run.
pub const SUITES: [Suite; 10] = [
    Suite {
        name: "python",
        run: |at| counted(&programs::python(at)?),
    },
    Suite {
        name: "kafka-python",
        run: |at| counted(&programs::kafka_python(at)?),
    },
    Suite {
        name: "aiokafka",
        run: |at| counted(&programs::aiokafka(at)?),
    },
    Suite {
        name: "kcat",
        run: |at| counted(&programs::kcat(at)),
    },
    Suite {
        name: "node",
        run: |at| counted(&programs::node(at)?),
    },
    Suite {
        name: "go",
        run: |at| counted(&programs::go(at)?),
    },
    Suite {
        name: "java",
        run: |at| counted(&programs::java(at)?),
    },
    Suite {
        name: "console",
        run: |at| counted(&programs::console(at)?),
    },
    Suite {
        name: "flights",
        run: |at| counted(&programs::flights(at)?),
    },
    Suite {
        name: "kgo",
        run: franz_go::run,
    },
];

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Their names.
pub fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).collect()
}

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Counts {
    /// Reads the closing line of a suite.
    fn parse(line: &str) -> Option<Counts> {
        let (passed, failed) = line.trim().split_once(" passed, ")?;
        let failed = failed.strip_suffix(" failed")?;
        Some(Counts {
            passed: passed.parse().ok()?,
            failed: failed.parse().ok()?,
        })
    }
}

/// Runs a suite program, repeats what it prints, and returns the counts of its last line. A program that fails without
/// a failed check of its own counts as one.
fn counted(program: &Command) -> Result<Counts> {
    counted_within(LIMIT, program)
}

fn counted_within(limit: Duration, program: &Command) -> Result<Counts> {
    let mut last = None;
    let status = run_bounded(program, limit, |line| {
        println!("  {line}");
        last = Counts::parse(line).or(last);
    })?;
    let mut counts = last.context("the suite ended without its line of counts")?;
    if !status.success() && counts.failed == 0 {
        println!("  the suite ended with {status}");
        counts.failed = 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cmd;

    #[test]
    fn the_last_line_of_counts_is_the_result() {
        let suite = cmd(
            "sh",
            [
                "-c",
                "echo 1 passed, 0 failed; echo 12 passed, 3 failed; exit 1",
            ],
        );
        assert_eq!(
            counted(&suite).unwrap(),
            Counts {
                passed: 12,
                failed: 3
            }
        );
    }

    #[test]
    fn a_suite_that_fails_after_counting_no_failure_counts_as_one() {
        let suite = cmd("sh", ["-c", "echo 12 passed, 0 failed; exit 1"]);
        assert_eq!(
            counted(&suite).unwrap(),
            Counts {
                passed: 12,
                failed: 1
            }
        );
    }

    #[test]
    fn a_suite_that_says_nothing_is_an_error() {
        assert!(counted(&cmd("true", [""; 0])).is_err());
    }
}
