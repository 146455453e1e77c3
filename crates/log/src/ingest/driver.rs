//! The task that owns the machine and gives it hands: the bucket, the commit lane, the WAL.
use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use sh_base::{Env, ErrorCode, Failure, Incarnation, Offset, TopicPartition};
use sh_blob::{BlobError, Bucket, keys::ObjectKey};
use sh_meta::{Decision, FeedEntry, Key, Lane, MetaError, MetaStore, Plan};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    config::IngestConfig,
    lease::{await_free, release_lease, take_lease},
    machine::{Committed, Effect, Event, Machine, Restored, Sealed},
};
use crate::{
    agent::{AgentRow, change_own_row},
    codec::Malformed,
    commit::{CommitPlan, CommitReply, commit},
    mutant,
    object::{BuiltObject, ObjectBuilder},
    row::Head,
    wal::{Journal, Order},
};

/// What the driver works with.
#[derive(Clone)]
pub struct Hands {
    pub env: Env,
    pub bucket: Arc<dyn Bucket>,
    pub store: Arc<dyn MetaStore>,
    /// Window commits, and nothing else.
    pub commits: Arc<Lane>,
    /// Leases.
    pub control: Arc<Lane>,
    pub wal: Arc<dyn Journal>,
    pub me: Incarnation,
    /// Hears of each object before its upload: the read cache keeps its bytes.
    pub on_built: Arc<dyn Fn(&BuiltObject) + Send + Sync>,
    /// Called once when the agent must stop, with the reason.
    pub on_fatal: Arc<dyn Fn(&Failure) + Send + Sync>,
}

/// The driver's mailbox.
pub type Mailbox = mpsc::UnboundedSender<Event>;

pub struct Driver {
    machine: Machine,
    hands: Hands,
    mailbox: Mailbox,
    inbox: mpsc::UnboundedReceiver<Event>,
    drained: tokio::sync::watch::Sender<Drained>,
}

/// `None` while anything is under way or a lease is held; then how it ended.
pub type Drained = Option<Result<(), Failure>>;

/// Starts the driver on its mailbox. The watch tells when nothing is under way and no lease is held.
pub fn spawn(
    cfg: IngestConfig,
    hands: Hands,
    restored: Restored,
    mailbox: Mailbox,
    inbox: mpsc::UnboundedReceiver<Event>,
) -> tokio::sync::watch::Receiver<Drained> {
    let (drained, watch) = tokio::sync::watch::channel(None);
    let (now, now_ms) = (hands.env.mono(), hands.env.wall_ms());
    let machine = Machine::new(cfg, hands.me, restored, now, now_ms);
    let driver = Driver {
        machine,
        hands,
        mailbox,
        inbox,
        drained,
    };
    tokio::spawn(driver.run());
    watch
}

/// Events taken from the mailbox before effects are looked at.
const EVENTS_PER_TURN: usize = 512;

impl Driver {
    async fn run(mut self) {
        loop {
            let mut events = Vec::new();
            self.act();
            let now = self.hands.env.mono();
            let wait = self
                .machine
                .next_timeout(now)
                .map(|at| at.saturating_sub(now));
            if !self.receive(&mut events, wait).await {
                return;
            }
            let (now, now_ms) = (self.hands.env.mono(), self.hands.env.wall_ms());
            for event in events {
                self.machine.handle(now, now_ms, event);
            }
            self.machine.tick(now);
            let drained = self.machine.drained();
            self.drained.send_if_modified(|d| {
                d.is_some() != drained.is_some() && {
                    *d = drained;
                    true
                }
            });
        }
    }

    /// Takes what is in the mailbox, waiting for it at most `wait`; false when nobody can send any more.
    async fn receive(&mut self, events: &mut Vec<Event>, wait: Option<Duration>) -> bool {
        let received = self.inbox.recv_many(events, EVENTS_PER_TURN);
        match wait {
            Some(wait) => timeout(wait, received).await != Ok(0),
            None => received.await != 0,
        }
    }

    fn act(&mut self) {
        let (mut orders, mut records) = (Vec::new(), 0);
        for effect in self.machine.take_effects() {
            match effect {
                Effect::Upload(sealed) => self.upload(sealed),
                Effect::Commit(plan) => self.commit(plan),
                Effect::Wal(number, record) => {
                    records += 1;
                    orders.push(Order::Append(number, record));
                }
                Effect::WalFinish(number) => orders.push(Order::Finish(number)),
                Effect::TakeLease(tp) => self.take_lease(tp),
                Effect::ReleaseLease(tp, epoch) => self.release_lease(tp, epoch),
                Effect::AwaitFree(tp) => self.await_free(tp),
                Effect::NeedNothingBefore(needs) => self.need_nothing_before(needs),
            }
        }
        if !orders.is_empty() {
            metrics::counter!("streamhouse_wal_records_total").increment(records);
            self.hands.wal.submit(orders);
        }
    }

    /// Builds the object and puts it until it is there: under a key of its own, so that trying again is harmless.
    fn upload(&self, sealed: Sealed) {
        let object = build(sealed);
        (self.hands.on_built)(&object);
        let (hands, mailbox) = (self.hands.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let begun = hands.env.mono();
            put_until_stored(&hands, &object).await;
            let took = hands.env.mono() - begun;
            metrics::histogram!("streamhouse_window_upload_seconds").record(took.as_secs_f64());
            let starts = object
                .runs
                .iter()
                .flat_map(|run| run.starts.iter().copied())
                .collect();
            let _ = mailbox.send(Event::Uploaded {
                id: object.id,
                starts,
                took,
            });
        });
    }

    fn commit(&self, plan: CommitPlan) {
        let (hands, mailbox) = (self.hands.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let event = match commit_until_known(&hands, plan).await {
                Ok(committed) => Event::Committed(committed),
                Err(why) => {
                    tracing::error!(%why, "this agent must stop");
                    (hands.on_fatal)(&why);
                    Event::Fatal(why)
                }
            };
            let _ = mailbox.send(event);
        });
    }

    fn take_lease(&self, tp: TopicPartition) {
        let (hands, mailbox) = (self.hands.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let taken = take_lease(&hands.store, &hands.control, hands.me, tp).await;
            let _ = mailbox.send(Event::LeaseTaken(tp, taken));
        });
    }

    fn release_lease(&self, tp: TopicPartition, epoch: u64) {
        let (hands, mailbox) = (self.hands.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            release_lease(&hands.control, hands.me, tp, epoch).await;
            let _ = mailbox.send(Event::LeaseReleased(tp));
        });
    }

    fn await_free(&self, tp: TopicPartition) {
        let (hands, mailbox) = (self.hands.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            await_free(&hands.store, &hands.control, &hands.env, hands.me, tp).await;
            let _ = mailbox.send(Event::Free(tp));
        });
    }

    fn need_nothing_before(&self, needs: (u32, u64)) {
        tokio::spawn(say_what_is_needed(self.hands.clone(), needs));
    }
}

/// Says it in the agent's row, once: what was not heard is said again when it has grown.
async fn say_what_is_needed(hands: Hands, needs: (u32, u64)) {
    let raise = move |row: &mut AgentRow| row.needs_from = row.needs_from.max(needs);
    if let Err(why) = change_own_row(&hands.control, hands.me, PATIENCE, raise).await {
        tracing::warn!(%why, "the rows of old objects are kept longer");
    }
}

fn build(sealed: Sealed) -> BuiltObject {
    let mut builder = ObjectBuilder::new(sealed.id, sealed.replaces, sealed.answers);
    for run in sealed.runs {
        builder.run(run.org, run.partition, &run.batches);
    }
    builder.finish()
}

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

async fn put_until_stored(hands: &Hands, object: &BuiltObject) {
    let key = ObjectKey::L0(object.id).to_string();
    let mut pause = RETRY_MIN;
    while let Err(error) = hands.bucket.put(&key, object.parts.clone()).await {
        if mutant::is("put_believed") && matches!(error, BlobError::Maybe(_)) {
            return;
        }
        tracing::warn!(%key, %error, ?pause, "an upload failed and is tried again");
        metrics::counter!("streamhouse_window_upload_failures_total").increment(1);
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// How long one call to the store may take before it is asked again; the lane asks the same question.
const PATIENCE: Duration = Duration::from_secs(30);

async fn commit_until_known(hands: &Hands, plan: CommitPlan) -> Result<Committed, Failure> {
    let plan = Arc::new(plan);
    let begun = hands.env.mono();
    let mut pause = RETRY_MIN;
    let entry = loop {
        match try_commit(hands, &plan).await {
            Ok(entry) => break entry,
            Err(MetaError::Foreign(why)) => {
                return Err(Failure::new(ErrorCode::StorageUnavailable, why));
            }
            Err(error) => tracing::warn!(%error, "a commit failed and is tried again"),
        }
        metrics::counter!("streamhouse_commit_failures_total").increment(1);
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    };
    metrics::histogram!("streamhouse_commit_seconds")
        .record((hands.env.mono() - begun).as_secs_f64());
    metrics::counter!("streamhouse_commit_rows_total").increment(entry.changes.len() as u64);
    read_reply(&entry)
}

async fn try_commit(hands: &Hands, plan: &Arc<CommitPlan>) -> Result<FeedEntry, MetaError> {
    let what = Plan {
        locks: plan.locks(),
        shares: plan.shares(),
        ..Plan::default()
    };
    let plan = plan.clone();
    let decide = move |view: &sh_meta::View| {
        commit(&plan, view).unwrap_or_else(|Malformed(what)| {
            let reply = CommitReply::Damaged(what.to_owned()).encode();
            Decision {
                writes: vec![],
                reply,
            }
        })
    };
    hands.commits.update(what, PATIENCE, decide).await
}

pub(super) fn read_reply(entry: &FeedEntry) -> Result<Committed, Failure> {
    let stop = |text: String| Failure::new(ErrorCode::StorageUnavailable, text);
    match CommitReply::decode(&entry.reply).map_err(|e| stop(e.to_string()))? {
        CommitReply::Fates(fates) => Ok(Committed {
            fates,
            log_starts: log_starts(entry),
        }),
        CommitReply::Fenced => Err(stop("a newer life of this agent has begun".into())),
        CommitReply::Damaged(what) => Err(stop(Malformed::text(&what))),
    }
}

fn log_starts(entry: &FeedEntry) -> HashMap<TopicPartition, Offset> {
    let head = |value: &Option<Bytes>| Head::of(value.as_ref()).ok();
    let starts = entry.changes.iter().filter_map(|change| match change.key {
        Key::Head(tp) => Some((tp, head(&change.value)?.log_start)),
        _ => None,
    });
    starts.collect()
}
