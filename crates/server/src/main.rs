//! The binary: `streamhouse serve` (also without a word), `inspect`, `wal`.
#![allow(clippy::disallowed_methods)]

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use sh_server::{
    adopt, inspect, os,
    settings::{BadSetting, Given, Settings, check_environment, read_file},
    start, telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// StreamHouse: an event-streaming server whose log lives in object storage.
#[derive(Parser)]
#[command(name = "streamhouse", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(clap::Args)]
struct Serve {
    /// A TOML file of settings; flags and STREAMHOUSE_... variables go before it
    #[arg(long, env = "STREAMHOUSE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve(Serve),
    /// Show what is on disk, offline
    #[command(subcommand)]
    Inspect(Inspect),
    /// Work on a write-ahead log
    #[command(subcommand)]
    Wal(WalCommand),
}

#[derive(Subcommand)]
enum Inspect {
    /// Every row of a metadata store
    Meta {
        /// sqlite://PATH or postgres://...
        #[arg(default_value = "sqlite://streamhouse-data/meta.db")]
        url: String,
        /// Only keys that begin with this word, as in Head or Topic
        #[arg(long)]
        only: Option<String>,
    },
    /// One object: a file, or a key with --bucket
    Object {
        name: String,
        #[arg(long)]
        bucket: Option<String>,
    },
    /// The records of a WAL folder
    Wal {
        #[arg(default_value = "streamhouse-data/wal")]
        dir: PathBuf,
    },
}

#[derive(Subcommand)]
enum WalCommand {
    /// Commit what the WAL of an agent holds that will not come back (--data names its folder)
    Adopt(Serve),
}

impl Serve {
    fn settings(self) -> Result<Settings, BadSetting> {
        let known: Vec<String> = Cli::command()
            .get_arguments()
            .filter_map(|a| Some(a.get_env()?.to_str()?.to_owned()))
            .collect();
        check_environment(std::env::vars().map(|(name, _)| name), &known)?;
        let file = self
            .config
            .as_deref()
            .map(read_file)
            .transpose()?
            .unwrap_or_default();
        self.given.or(file).complete()
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("streamhouse: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streamhouse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let env = os::env();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => {
            let settings = serve.settings()?;
            let logs = telemetry::logs(&settings.log)?;
            start::serve(settings, env, logs).await
        }
        Command::Wal(WalCommand::Adopt(serve)) => {
            let settings = serve.settings()?;
            let logs = telemetry::logs(&settings.log)?;
            adopt::adopt(&settings, &env, logs).await
        }
        Command::Inspect(Inspect::Meta { url, only }) => {
            inspect::meta(&url, &env, only.as_deref()).await
        }
        Command::Inspect(Inspect::Object { name, bucket }) => {
            inspect::object(&name, bucket.as_deref(), &env).await
        }
        Command::Inspect(Inspect::Wal { dir }) => inspect::wal(&dir),
    }
}
