//! `cargo xtask`: the project's chores, one module each. `cargo xtask help` lists them.
#![allow(
    clippy::disallowed_methods,
    reason = "a developer's tool lives in the real world: it reads the environment and the clock"
)]

mod audit;
mod bench;
mod process;
mod services;
mod suites;
mod test;
mod tidy;
mod tools;
mod torture;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask test [--only NAME]... [--on TARGET]... [--bootstrap HOST:PORT]
    Installs what the tests need, starts the services, runs every test.
    NAME    `rooms` (cargo test), `docs` (what the pages say), a suite that kills servers and clients of its own
            ({kills}) or a client suite: {suites}
    TARGET  what the suites speak to: {targets}
            (default: folder and pair; oracle is Apache Kafka itself)
    --bootstrap runs the suites against a server that is already there.
cargo xtask tidy     Checks the rules of the house that a compiler does not.
cargo xtask audit    Checks licences, sources and double versions of the dependencies.
cargo xtask services [COMMAND...]
    Starts Postgres, two S3 servers and Apache Kafka, runs COMMAND with their addresses in its environment
    (default: prints them and waits for Ctrl-C), and stops them.
cargo xtask torture [NAME]
    The crash tests at full length: 50 kills, all flights, a hundred thousand mutated frames.
cargo xtask torture --kills N
    The suites that kill servers and clients, with N kills each, on a folder and on MinIO and Postgres with two agents.
cargo xtask torture --minutes N
    One fault after another for N minutes on a folder, and for N minutes on MinIO and Postgres with two agents, each
    followed by up to ten minutes of churn in consumer groups. As root: the folder lies on a small disk that is filled.
cargo xtask kgo      Runs franz-go's tests beside a server that is killed every 20 s.
cargo xtask bars     Measures throughput, latency and idleness on a bucket that takes 100 ms for a PUT.
cargo xtask bench [--quick] [--only SERVER]... [--workload NAME] [--at HOST:PORT [--pid PID]]
    Runs the workloads of bench/ against the server, beside the limits of the machine and Apache Kafka; when all of it
    is run it writes docs/benchmarks.md. --quick takes about six minutes, all of it about eighteen.
cargo xtask oracle PORT    Runs Apache Kafka on 127.0.0.1:PORT until Ctrl-C.";

fn help() -> String {
    HELP.replace("{suites}", &suites::names().join(", "))
        .replace("{kills}", &suites::own::UNDER_KILLS.join(", "))
        .replace("{targets}", &services::Target::NAMES.join(", "))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Err(error) = run(&args) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn run(args: &[String]) -> Result<()> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("test") => test::run(&test::Options::parse(rest)?),
        Some("tidy") => tidy::run(),
        Some("audit") => audit::run(),
        Some("services") => services::run_with(rest),
        Some("torture") => torture::torture(rest),
        Some("kgo") => torture::kgo(),
        Some("bars") => torture::bars(),
        Some("bench") => bench::run_all(rest),
        Some("oracle") => services::oracle::run_in_foreground(rest),
        Some("help" | "--help" | "-h") | None => {
            println!("{}", help());
            Ok(())
        }
        Some(other) => bail!("`{other}` is not a chore\n\n{}", help()),
    }
}
