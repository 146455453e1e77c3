//! `streamctl topic`.
mod change;
mod show;
mod undelete;

use clap::{Args, Subcommand};

use crate::{failure::Failure, http::HttpArgs, session::Session};

#[derive(Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List all topics
    List(ListArgs),
    /// Show a topic's partitions, offsets and settings
    Describe(DescribeArgs),
    /// Change a topic's settings or raise its number of partitions
    Alter(AlterArgs),
    /// Delete a topic; `undelete` brings it back while the server keeps it
    Delete {
        /// Its name
        topic: String,
    },
    /// Bring a deleted topic back, with its records
    Undelete(UndeleteArgs),
}

#[derive(Args)]
pub struct CreateArgs {
    /// Its name
    pub topic: String,
    /// The number of partitions [default: the server's num.partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// The number of replicas. StreamHouse takes any: the bucket replicates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A topic setting, as in retention.ms=86400000 (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub config: Vec<(String, String)>,
    /// Succeed if the topic exists already
    #[arg(long)]
    pub if_not_exists: bool,
    /// Check only
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct ListArgs {
    /// Show internal topics too, as __consumer_offsets
    #[arg(long)]
    pub internal: bool,
    /// Show the topics that can be undeleted instead
    #[arg(long)]
    pub deleted: bool,
    #[command(flatten)]
    pub http: HttpArgs,
}

#[derive(Args)]
pub struct DescribeArgs {
    /// Its name
    pub topic: String,
    /// Show all settings, not only those that were set on the topic
    #[arg(long)]
    pub all: bool,
}

#[derive(Args)]
#[group(required = true, multiple = true, id = "change")]
pub struct Changes {
    /// Set a topic setting (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Return a topic setting to its default (repeatable)
    #[arg(long, value_name = "NAME")]
    pub unset: Vec<String>,
    /// Raise the number of partitions; keys may then go to other partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
}

#[derive(Args)]
pub struct AlterArgs {
    /// Its name
    pub topic: String,
    #[command(flatten)]
    pub changes: Changes,
    /// Check only
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct UndeleteArgs {
    /// Its name
    pub topic: String,
    #[command(flatten)]
    pub http: HttpArgs,
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, as in retention.ms=86400000".to_owned()),
    }
}

pub async fn run(command: TopicCommand, session: &Session) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(args) => change::create(args, session).await,
        TopicCommand::List(args) if args.deleted => undelete::list(args, session).await,
        TopicCommand::List(args) => show::list(args.internal, session).await,
        TopicCommand::Describe(args) => show::describe(args, session).await,
        TopicCommand::Alter(args) => change::alter(args, session).await,
        TopicCommand::Delete { topic } => change::delete(&topic, session).await,
        TopicCommand::Undelete(args) => undelete::undelete(args, session).await,
    }
}
