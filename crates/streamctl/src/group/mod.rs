//! `streamctl group`.
mod delete;
mod describe;
mod list;
mod places;
mod plan;
mod reset;
mod target;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{failure::Failure, session::Session};
use places::TopicArg;
pub use places::{by_topic, shown};
use target::TargetArgs;

#[derive(Subcommand)]
pub enum GroupCommand {
    /// List consumer groups
    List(ListArgs),
    /// Show the offsets, lag and members of groups
    Describe(DescribeArgs),
    /// Move a group without members to other offsets; a dry run, unless --execute is said
    Reset(ResetArgs),
    /// Delete groups without members, with the offsets they committed
    Delete {
        /// Their names
        #[arg(required = true)]
        group: Vec<String>,
    },
    /// Delete the offsets that a group committed for topics it does not read any more
    DeleteOffsets {
        /// Its name
        group: String,
        /// The topic, or some of its partitions as in orders:0,1 (repeatable)
        #[arg(long, required = true, value_name = "TOPIC[:N,N]")]
        topic: Vec<TopicArg>,
    },
}

#[derive(Args)]
pub struct ListArgs {
    /// Only groups in this state: Stable, Empty, PreparingRebalance, ... (repeatable)
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only groups of this type: consumer, classic, share, streams (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
}

#[derive(Args)]
pub struct DescribeArgs {
    /// Their names
    #[arg(required_unless_present = "all")]
    group: Vec<String>,
    /// All groups of the consumer and classic types
    #[arg(long, conflicts_with = "group")]
    all: bool,
    /// Show the members and their assignments instead of offsets
    #[arg(long)]
    members: bool,
}

#[derive(Args)]
pub struct ResetArgs {
    /// Its name
    group: String,
    /// A topic, or some of its partitions as in orders:0,1 (repeatable)
    #[arg(long, value_name = "TOPIC[:N,N]", conflicts_with = "all_topics")]
    topic: Vec<TopicArg>,
    /// All partitions for which the group has an offset
    #[arg(long)]
    all_topics: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Write the new offsets to a file that --from-file reads (CSV: topic, partition, offset)
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    execute: bool,
}

pub async fn run(command: GroupCommand, session: &Session) -> Result<(), Failure> {
    match command {
        GroupCommand::List(args) => list::list(args, session).await,
        GroupCommand::Describe(args) => describe::describe(args, session).await,
        GroupCommand::Reset(args) => reset::reset(args, session).await,
        GroupCommand::Delete { group } => delete::groups(&group, session).await,
        GroupCommand::DeleteOffsets { group, topic } => {
            delete::offsets(&group, &topic, session).await
        }
    }
}
