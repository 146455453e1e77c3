//! The engine as others hold it: append, reserve, drain.
use std::{path::PathBuf, sync::Arc, time::Duration};

use sh_base::{Env, ErrorCode, Failure, Incarnation, TopicPartition};
use sh_blob::Bucket;
use sh_meta::{Lane, MetaStore};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{
    api::{Append, Charge, Ticket},
    ingest::{self, Drained, Event, Hands, IngestConfig, Mailbox},
    mutant,
    object::BuiltObject,
    replay::{self, ReplayAge, ReplayError},
    row::Head,
    wal::{Journal, Order, Outcome, Recovered, Report, Wal, WalConfig, WalError},
};

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub ingest: IngestConfig,
    /// Where the WAL of acks=1 lies. A folder of its own, on a disk whose fsync can be trusted.
    pub wal_dir: PathBuf,
    /// Size of a WAL file; one is being written and one made ahead. Default 64 MiB.
    pub wal_file_bytes: u64,
    /// Replays a WAL that is older than the producer expiry without asking (`--replay-old`).
    pub replay_old: bool,
    /// What requests may hold in memory until they are committed; past it connections are not read. Default 256 MiB.
    pub memory_bytes_max: usize,
}

impl LogConfig {
    pub fn new(wal_dir: PathBuf) -> LogConfig {
        LogConfig {
            ingest: IngestConfig::default(),
            wal_dir,
            wal_file_bytes: 64 * 1024 * 1024,
            replay_old: false,
            memory_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// What an engine works with.
pub struct LogParts {
    pub env: Env,
    pub bucket: Arc<dyn Bucket>,
    pub store: Arc<dyn MetaStore>,
    /// [`crate::agent::COMMIT_LANE`] of this incarnation.
    pub commits: Arc<Lane>,
    /// [`crate::agent::CONTROL_LANE`] of this incarnation.
    pub control: Arc<Lane>,
    pub me: Incarnation,
    /// Hears of each object before its upload: the read cache keeps its bytes.
    pub on_built: Arc<dyn Fn(&BuiltObject) + Send + Sync>,
    /// Called when the agent must stop: its disk failed, it was fenced, or the store is not the one it knows.
    pub on_fatal: Arc<dyn Fn(&Failure) + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Handle of the engine; cheap to clone.
#[derive(Clone)]
pub struct Log {
    mailbox: Mailbox,
    memory: Arc<Semaphore>,
    memory_kib: u32,
    drained: watch::Receiver<Drained>,
}

/// Memory is counted in units of this many bytes: a semaphore has 32 bits for one request.
const MEMORY_UNIT: usize = 1024;
/// What the replay may take before the start is given up.
const REPLAY_PATIENCE: Duration = Duration::from_secs(60);

impl Log {
    /// Replays the WAL and starts. The epoch of `me` must be in the store already: it fences what came before.
    pub async fn open(cfg: LogConfig, parts: LogParts) -> Result<Log, LogOpenError> {
        let files = |cfg, report| {
            let (wal, recovered) = Wal::open(cfg, report)?;
            Ok((Arc::new(wal) as Arc<dyn Journal>, recovered))
        };
        Log::open_on(cfg, parts, files).await
    }

    /// Like [`Log::open`], with a WAL of the caller's making.
    pub async fn open_on(
        cfg: LogConfig,
        parts: LogParts,
        open_wal: impl FnOnce(WalConfig, Report) -> Result<(Arc<dyn Journal>, Recovered), WalError>,
    ) -> Result<Log, LogOpenError> {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let report = wal_report(mailbox.clone(), parts.on_fatal.clone());
        let wal = WalConfig {
            dir: cfg.wal_dir.clone(),
            file_bytes: cfg.wal_file_bytes,
            nonce: parts.env.next_u64() as u32,
        };
        let (wal, recovered) = open_wal(wal, report)?;
        let age = ReplayAge {
            now_ms: parts.env.wall_ms(),
            max_ms: (!cfg.replay_old).then_some(cfg.ingest.producer_expiry_ms),
        };
        let replay = replay::replay(
            &parts.store,
            &parts.control,
            parts.me,
            recovered,
            age,
            REPLAY_PATIENCE,
        )
        .await?;
        let again = replay.restored.entries.len();
        if again + replay.finished.len() > 0 {
            tracing::info!(stored = replay.finished.len(), again, "replayed the WAL");
        }
        let finished = replay.finished.iter();
        wal.submit(finished.map(|number| Order::Finish(*number)).collect());
        let hands = Hands {
            env: parts.env,
            bucket: parts.bucket,
            store: parts.store,
            commits: parts.commits,
            control: parts.control,
            wal,
            me: parts.me,
            on_built: parts.on_built,
            on_fatal: parts.on_fatal,
        };
        let drained = ingest::spawn(cfg.ingest, hands, replay.restored, mailbox.clone(), inbox);
        let memory_kib = memory_bound(cfg.memory_bytes_max);
        let memory = Arc::new(Semaphore::new(memory_kib as usize));
        Ok(Log {
            mailbox,
            memory,
            memory_kib,
            drained,
        })
    }

    /// Waits until `bytes` more may be held in memory (back-pressure): taken before a request is read from its socket. A
    /// request larger than all there is gets all there is.
    pub async fn reserve(&self, bytes: usize) -> Arc<Charge> {
        let wanted = units(bytes).clamp(1, self.memory_kib);
        match self.memory.clone().acquire_many_owned(wanted).await {
            Ok(permit) => Charge::new(permit),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Bytes that requests hold in memory.
    pub fn memory_in_use(&self) -> usize {
        (self.memory_kib as usize).saturating_sub(self.memory.available_permits()) * MEMORY_UNIT
    }

    /// Queues one batch. The order of calls for a partition is the order in the log. Never waits.
    pub fn append(&self, append: Append) -> Ticket {
        let (reply, ticket) = oneshot::channel();
        // If the driver is gone the reply is dropped, which the ticket tells.
        let _ = self.mailbox.send(Event::Append(append, reply));
        Ticket(ticket)
    }

    /// Tells the engine of a head that was heard of: a lease it holds may be wanted.
    pub fn head_changed(&self, tp: TopicPartition, head: Head) {
        let _ = self.mailbox.send(Event::Head(tp, head));
    }

    /// Flushes what was appended, gives up all leases, and returns when both are done. The error says why this agent can do
    /// neither any more: the WAL keeps what was acknowledged.
    pub async fn drain(&self) -> Result<(), Failure> {
        let _ = self.mailbox.send(Event::Drain);
        let mut drained = self.drained.clone();
        let outcome = drained.wait_for(Option::is_some).await;
        outcome.map_or_else(
            |_| Err(driver_is_gone()),
            |outcome| outcome.clone().unwrap_or(Ok(())),
        )
    }
}

fn driver_is_gone() -> Failure {
    let text = "the engine of the log has ended before it was drained";
    Failure::new(ErrorCode::StorageUnavailable, text)
}

/// **What requests hold in memory is bounded**, in units; past it [`Log::reserve`] waits.
fn memory_bound(bytes_max: usize) -> u32 {
    match mutant::is("memory_unbounded") {
        true => units(1 << 32),
        false => units(bytes_max),
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX)
}

fn wal_report(mailbox: Mailbox, on_fatal: Arc<dyn Fn(&Failure) + Send + Sync>) -> Report {
    Box::new(move |outcome| {
        let event = match outcome {
            Outcome::Synced(upto) => Event::WalSynced(upto),
            Outcome::Skipped(numbers) => Event::WalSkipped(numbers),
            Outcome::Holds(oldest) => Event::WalHolds(oldest),
            Outcome::Failed(why) => {
                let why = Failure::new(ErrorCode::StorageUnavailable, why);
                on_fatal(&why);
                Event::Fatal(why)
            }
        };
        let _ = mailbox.send(event);
    })
}
