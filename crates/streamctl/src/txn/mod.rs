//! `streamctl txn`.
mod abort;
mod hanging;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{duration, failure::Failure, session::Session};

#[derive(Subcommand)]
pub enum TxnCommand {
    /// List transactional ids and the state of their transactions
    List(ListArgs),
    /// Show transactions: producer, state, age, partitions
    Describe {
        /// Their transactional ids
        #[arg(required = true)]
        id: Vec<String>,
    },
    /// Show the producers that a topic's partitions remember, and their open transactions
    Producers {
        /// The topic
        topic: String,
        /// Only this partition (repeatable)
        #[arg(long, value_name = "N")]
        partition: Vec<i32>,
    },
    /// Abort an open transaction: of a transactional id, or one that hangs in a partition
    Abort(AbortArgs),
    /// Find open transactions that no coordinator will ever end; they hold back readers of committed records
    FindHanging(HangingArgs),
}

#[derive(Args)]
pub struct ListArgs {
    /// Only in this state: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead (repeatable)
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only of this producer (repeatable)
    #[arg(long, value_name = "N")]
    producer_id: Vec<i64>,
    /// Only those open for longer than this (15m, PT15M)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    older_than: Option<Duration>,
    /// Only transactional ids that match this RE2 expression as a whole
    #[arg(long, value_name = "REGEX")]
    id_pattern: Option<String>,
}

#[derive(Args)]
pub struct AbortArgs {
    /// The transactional id. Its producer is fenced: it fails at its next step, and must be started again
    #[arg(required_unless_present = "topic")]
    id: Option<String>,
    /// The topic where a transaction hangs, as find-hanging shows it
    #[arg(long, conflicts_with = "id", requires_all = ["partition", "start_offset"])]
    topic: Option<String>,
    /// The partition where it hangs
    #[arg(long, value_name = "N", requires = "topic")]
    partition: Option<i32>,
    /// The offset where it begins
    #[arg(long, value_name = "N", requires = "topic")]
    start_offset: Option<i64>,
}

#[derive(Args)]
pub struct HangingArgs {
    /// Only in this topic [default: all]
    #[arg(long)]
    topic: Option<String>,
    /// Only this partition of the topic (repeatable)
    #[arg(long, value_name = "N", requires = "topic")]
    partition: Vec<i32>,
    /// Only those that have written nothing for this long: transaction.max.timeout.ms or more, so that a coordinator
    /// would have ended it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "15m")]
    older_than: Duration,
}

pub async fn run(command: TxnCommand, session: &Session) -> Result<(), Failure> {
    match command {
        TxnCommand::List(args) => show::list(args, session).await,
        TxnCommand::Describe { id } => show::describe(&id, session).await,
        TxnCommand::Producers { topic, partition } => {
            show::producers(&topic, &partition, session).await
        }
        TxnCommand::Abort(args) => abort::abort(args, session).await,
        TxnCommand::FindHanging(args) => hanging::find(args, session).await,
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
