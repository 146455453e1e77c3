//! Reading as a member of a consumer group.
use std::{
    io::{self, BufWriter, Write},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use sh_client::{
    Admin, Client, ConsumerOptions, GroupConsumer, GroupOptions, GroupProtocol, OffsetSpec,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{ConsumeArgs, from::From, read::stalled, render::Render};
use crate::{
    failure::Failure,
    session::{Session, existing},
};

#[derive(Args)]
pub struct GroupArgs {
    /// Read as a member of this consumer group: it gives this run some of the partitions, from where the group is, and
    /// remembers what was printed
    #[arg(long, value_name = "NAME", conflicts_with = "partition")]
    pub group: Option<String>,
    /// The group's protocol. auto: the new one (KIP-848) if the server has it, unless the group has classic members
    #[arg(long, value_enum, default_value_t = ProtocolArg::Auto, requires = "group")]
    group_protocol: ProtocolArg,
    /// Be a static member under this name: who comes back soon gets the same partitions, without a rebalance
    #[arg(long, value_name = "NAME", requires = "group")]
    instance_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    Auto,
    Consumer,
    Classic,
}

/// Records between two commits, and between two chances for a heartbeat.
const RECORDS_AT_ONCE: u64 = 500;

/// Without --follow, how long a member that is given no partition waits for one.
const IDLE: Duration = Duration::from_secs(10);

const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

pub async fn read(name: String, args: ConsumeArgs, session: &Session) -> Result<(), Failure> {
    let reset = reset(args.from())?;
    let client = session.connect().await?;
    existing(&client, &args.topic).await?;
    let options = GroupOptions {
        protocol: protocol(&client, &name, args.membership.group_protocol).await?,
        group: name,
        topics: vec![args.topic.clone()],
        member_id: member_id()?,
        instance_id: args.membership.instance_id.clone(),
        reset,
        session_timeout: SESSION_TIMEOUT,
        rebalance_timeout: Duration::from_secs(60),
    };
    let reading = ConsumerOptions {
        isolation: args.isolation(),
        ..ConsumerOptions::default()
    };
    let mut reader = Reader {
        consumer: GroupConsumer::new(client, options, reading),
        left: args.max.unwrap_or(u64::MAX),
        follow: args.follow,
        render: args.render(session.output()),
        out: BufWriter::new(io::stdout()),
        progress: Instant::now(),
        patience: session.timeout(),
    };
    let ended = tokio::select! {
        ended = reader.run() => ended,
        stopped = stop() => stopped,
    };
    match ended {
        Ok(()) => Ok(reader.consumer.leave().await?),
        Err(failure) => {
            // What could not be printed is not committed; a failure to leave is second to why we leave.
            let _ = reader.consumer.abandon().await;
            Err(failure)
        }
    }
}

/// Where to begin in partitions that the group has no offset for.
fn reset(from: From) -> Result<OffsetSpec, Failure> {
    match from {
        From::Beginning => Ok(OffsetSpec::Earliest),
        From::End => Ok(OffsetSpec::Latest),
        From::Time(ms) => Ok(OffsetSpec::AtOrAfter(ms)),
        From::Offset(_) | From::Last(_) => Err(Failure::usage(
            "with --group, --from says where to begin without an offset of the group: beginning or end; `streamctl group reset` moves a group",
        )),
    }
}

async fn protocol(
    client: &Client,
    group: &str,
    wanted: ProtocolArg,
) -> Result<GroupProtocol, Failure> {
    match wanted {
        ProtocolArg::Consumer => Ok(GroupProtocol::Consumer),
        ProtocolArg::Classic => Ok(GroupProtocol::Classic),
        ProtocolArg::Auto => Ok(GroupProtocol::of_group(&Admin::new(client.clone()), group).await?),
    }
}

/// A random UUID (RFC 9562, version 4).
fn member_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Failure::failed(format!("no random numbers: {e}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string())
}

/// Ctrl-C or SIGTERM.
async fn stop() -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    }
}

struct Reader<W: Write> {
    consumer: GroupConsumer,
    /// Records still wanted.
    left: u64,
    follow: bool,
    render: Render,
    out: W,
    /// When something last came.
    progress: Instant,
    patience: Duration,
}

impl<W: Write> Reader<W> {
    async fn run(&mut self) -> Result<(), Failure> {
        while !self.is_done()? {
            let max = self.left.min(RECORDS_AT_ONCE) as usize;
            let records = self.consumer.poll(max).await?;
            if records.is_empty() {
                continue;
            }
            self.left -= records.len() as u64;
            for record in &records {
                self.render.write(record, &mut self.out)?;
            }
            self.out.flush()?;
            self.consumer.commit().await?;
            self.progress = Instant::now();
        }
        Ok(())
    }

    fn is_done(&mut self) -> Result<bool, Failure> {
        if self.left == 0 {
            return Ok(true);
        }
        if self.follow || !self.consumer.has_assignment() {
            return Ok(false);
        }
        let waited = self.progress.elapsed();
        if self.consumer.assignment().is_empty() {
            return Ok(waited > IDLE);
        }
        if self.consumer.is_at_end() {
            return Ok(true);
        }
        if waited > self.patience {
            return Err(stalled("of the group"));
        }
        Ok(false)
    }
}
