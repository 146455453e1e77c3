//! One ingest window: the batches one agent collects, of any org, before one upload.
use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sh_base::{Failure, ObjectId, Org, ProducerId, TopicPartition, batch::Batch};
use sh_meta::Key;
use tokio::sync::oneshot;

use super::machine::{Sealed, SealedRun};
use crate::{
    api::{Ack, AppendResult, Charge, Transactional},
    commit::{BatchPlan, BatchTransaction, Promise, RunPlan, WINDOW_WRITERS_MAX, WindowPlan},
    row::RunAnswers,
};

pub(super) type Reply = oneshot::Sender<AppendResult>;

/// One batch on its way.
pub(super) struct Entry {
    pub partition: TopicPartition,
    pub org: Org,
    pub ack: Ack,
    pub batch: Batch,
    pub transaction: Option<Transactional>,
    pub lease_allowed: bool,
    /// `None` once it was answered.
    pub reply: Option<Reply>,
    pub promise: Option<Promise>,
    /// Its record in the WAL, if it was acknowledged from there.
    pub wal: Option<u64>,
    /// It was acknowledged in an earlier life.
    pub replayed: bool,
    /// The aborted object it was in, in an earlier life.
    pub replaces: Option<ObjectId>,
    pub _charge: Option<Arc<Charge>>,
}

impl Entry {
    pub fn answer(&mut self, result: AppendResult) {
        if let Some(reply) = self.reply.take() {
            // A caller that went away changes nothing.
            let _ = reply.send(result);
        }
    }
}

/// An answer given under a lease. It holds if the lease does until the window's commit: then all before it is stored.
pub(super) struct Dependent {
    pub reply: Reply,
    pub partition: TopicPartition,
    pub lease_epoch: u64,
    pub answer: AppendResult,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Open,
    /// Closed; its upload starts when the WAL has synced what concerns it.
    Closed,
    Uploading,
    Stored,
}

pub(super) struct Window {
    pub id: ObjectId,
    /// Ids under which all of these batches went out before and that were aborted.
    pub replaces: Vec<ObjectId>,
    pub stage: Stage,
    /// In arrival order while open; by org, topic and partition (each in arrival order) once closed.
    pub entries: Vec<Entry>,
    pub bytes: usize,
    pub opened: Duration,
    pub last_arrival: Duration,
    /// It reached the size limit: closing it was not a choice.
    pub full: bool,
    /// The WAL record that must be synced before the upload.
    pub wal_upto: u64,
    /// Answers of earlier commits that its footer carries.
    pub answers: Vec<(ObjectId, Vec<RunAnswers>)>,
    /// Where each batch starts in the object, once it is stored.
    pub starts: Vec<u64>,
    /// Answers that depend on this window's commit: duplicates of batches not committed yet.
    pub after: Vec<Dependent>,
    counts: HashMap<TopicPartition, u32>,
    /// Partitions and their producers: each is a row or two of the commit.
    writers: HashSet<(TopicPartition, Option<ProducerId>)>,
}

impl Window {
    pub fn new(id: ObjectId, now: Duration) -> Window {
        Window {
            id,
            replaces: Vec::new(),
            stage: Stage::Open,
            entries: Vec::new(),
            bytes: 0,
            opened: now,
            last_arrival: now,
            full: false,
            wal_upto: 0,
            answers: Vec::new(),
            starts: Vec::new(),
            after: Vec::new(),
            counts: HashMap::new(),
            writers: HashSet::new(),
        }
    }

    /// Adds an entry and tells which of its partition's batches in this window it is.
    pub fn push(&mut self, now: Duration, entry: Entry) -> u32 {
        self.bytes += entry.batch.bytes().len();
        self.last_arrival = now;
        let count = self.counts.entry(entry.partition).or_default();
        *count += 1;
        let ordinal = *count - 1;
        let producer = entry.batch.header().producer;
        self.writers
            .insert((entry.partition, producer.map(|p| p.id)));
        self.entries.push(entry);
        ordinal
    }

    /// Does it take no more, in bytes or in rows of its commit?
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max || self.writers.len() >= WINDOW_WRITERS_MAX
    }

    pub fn close(&mut self) {
        self.stage = Stage::Closed;
        // A partition is of one org: most neighbours are told apart, or not, without looking at that.
        self.entries
            .sort_by(|a, b| match a.partition == b.partition {
                true => Ordering::Equal,
                false => (&a.org, a.partition).cmp(&(&b.org, b.partition)),
            });
    }

    /// What goes into the object.
    pub fn seal(&self) -> Sealed {
        let runs = self.runs().map(|run| SealedRun {
            org: run[0].org.clone(),
            partition: run[0].partition,
            batches: run.iter().map(|e| e.batch.clone()).collect(),
        });
        Sealed {
            id: self.id,
            replaces: self.replaces.clone(),
            answers: self.answers.clone(),
            runs: runs.collect(),
        }
    }

    /// What goes into the commit.
    pub fn plan(&self) -> WindowPlan {
        let mut starts = self.starts.iter().copied();
        let mut plan = |e: &Entry| {
            let header = e.batch.header();
            BatchPlan {
                start: starts.next().unwrap_or_default(),
                len: header.size,
                offsets: e.batch.offsets(),
                records: header.count,
                producer: header.producer,
                min_timestamp: header.base_timestamp.min(header.max_timestamp),
                max_timestamp: header.max_timestamp,
                promised: e.promise,
                replayed: e.replayed,
                transaction: e.transaction.as_ref().map(|t| BatchTransaction {
                    key: Key::Transaction(e.org.clone(), t.id.as_ref().to_owned()),
                    adds: t.adds,
                }),
            }
        };
        let runs = self.runs().map(|run| RunPlan {
            partition: run[0].partition,
            batches: run.iter().map(&mut plan).collect(),
        });
        WindowPlan {
            id: self.id,
            runs: runs.collect(),
        }
    }

    fn runs(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(|a, b| a.partition == b.partition)
    }

    pub fn fail(&mut self, why: &Failure) {
        self.entries
            .iter_mut()
            .for_each(|e| e.answer(Err(why.clone())));
        for after in self.after.drain(..) {
            let _ = after.reply.send(Err(why.clone()));
        }
    }
}

/// A token bucket over a clock that is handed in.
pub(super) struct Budget {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl Budget {
    pub fn new(per_second: f64, burst: f64, now: Duration) -> Budget {
        Budget {
            per_second,
            burst,
            tokens: burst,
            at: now,
        }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = now;
    }

    pub fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// When there will be a token.
    pub fn next(&mut self, now: Duration) -> Duration {
        self.refill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        now + Duration::from_secs_f64(missing / self.per_second)
    }
}
