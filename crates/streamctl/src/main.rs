//! `streamctl`: topics, records, groups, transactions and the cluster from the command line. It speaks the public protocols only, so it works
//! with every Kafka server; undelete alone needs StreamHouse's HTTP address.
#![allow(
    clippy::disallowed_methods,
    reason = "a command-line tool lives in the real world: it reads the clock and the environment"
)]

mod cli;
mod cluster;
mod consume;
mod duration;
mod failure;
mod group;
mod http;
mod offsets;
mod output;
mod produce;
mod session;
mod timestamp;
mod topic;
mod txn;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use cli::{Cli, Command};
use failure::Failure;
use session::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.common.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let session = Session::new(cli.common);
    let outcome = runtime.block_on(dispatch(cli.command, &session));
    // Standard input may still be waited for by a thread that nobody needs any more.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, session: &Session) -> Result<(), Failure> {
    match command {
        Command::Topic(command) => topic::run(command, session).await,
        Command::Produce(args) => produce::run(args, session).await,
        Command::Consume(args) => consume::run(args, session).await,
        Command::Offsets(args) => offsets::run(args, session).await,
        Command::Group(command) => group::run(command, session).await,
        Command::Txn(command) => txn::run(command, session).await,
        Command::Cluster => cluster::run(session).await,
        Command::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "streamctl", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
