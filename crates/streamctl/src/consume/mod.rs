//! `streamctl consume`: records, one a line.
mod from;
mod group;
mod read;
mod render;

use clap::Args;
use sh_client::Isolation;

use crate::{failure::Failure, output::Format, session::Session, timestamp};
use from::From;
use group::GroupArgs;
use render::Render;

#[derive(Args)]
pub struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Where to begin in each partition: beginning, end, an offset, or -N for the last N records
    #[arg(
        long,
        default_value = "beginning",
        value_name = "WHERE",
        allow_hyphen_values = true
    )]
    from: From,
    /// Begin with the first record of each partition at or after this time
    #[arg(long, value_name = "TIMESTAMP", value_parser = timestamp::parse, conflicts_with = "from")]
    from_time: Option<i64>,
    /// Only this partition (repeatable)
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Wait for new records at the end, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// raw: the value; json: everything; or a pattern of %t topic, %p partition, %o offset, %k key, %v value,
    /// %T timestamp in ms, %D date, %h headers, %% and \n \t \\ [default: raw, or json with --output json]
    #[arg(long, value_name = "raw|json|PATTERN")]
    format: Option<Render>,
    /// See records of open and aborted transactions too
    #[arg(long)]
    uncommitted: bool,
    #[command(flatten)]
    membership: GroupArgs,
}

impl ConsumeArgs {
    fn from(&self) -> From {
        self.from_time.map_or(self.from, From::Time)
    }

    fn isolation(&self) -> Isolation {
        if self.uncommitted {
            Isolation::ReadUncommitted
        } else {
            Isolation::ReadCommitted
        }
    }

    fn render(&self, output: Format) -> Render {
        let by_output = match output {
            Format::Text => Render::Raw,
            Format::Json => Render::Json,
        };
        self.format.clone().unwrap_or(by_output)
    }
}

pub async fn run(args: ConsumeArgs, session: &Session) -> Result<(), Failure> {
    match args.membership.group.clone() {
        Some(name) => group::read(name, args, session).await,
        None => read::read(args, session).await,
    }
}
