//! The words of the command line.
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    consume::ConsumeArgs, group::GroupCommand, offsets::OffsetsArgs, output::Format,
    produce::ProduceArgs, topic::TopicCommand, txn::TxnCommand,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the server refused it, or the input is wrong
  2  the command line is wrong
  3  not found: there is no such topic, partition, group, transaction or deleted topic
  4  the server cannot be reached, or did not answer in time
  5  it exists already";

/// Topics, records, groups, transactions and the state of a StreamHouse (or any Kafka) cluster.
#[derive(Parser)]
#[command(name = "streamctl", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    /// Addresses of one or more brokers, separated by commas
    #[arg(
        long,
        global = true,
        env = "STREAMCTL_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    pub bootstrap: String,
    /// How results and errors are printed
    #[arg(long, global = true, env = "STREAMCTL_OUTPUT", value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// How long to wait for an answer, and to retry what may succeed later
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

#[derive(Subcommand)]
pub enum Command {
    /// Create, list, describe, alter, delete and undelete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Write records from standard input or files
    Produce(ProduceArgs),
    /// Read records, one a line
    Consume(ConsumeArgs),
    /// Show the earliest and latest offset of each partition, and the first one at or after a time
    Offsets(OffsetsArgs),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// List, describe and abort transactions, find those that hang
    #[command(subcommand)]
    Txn(TxnCommand),
    /// Show the cluster's id, its brokers and what they store
    Cluster,
    /// Print the completion script of a shell
    Completion { shell: Shell },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
