//! What a starting agent makes of its WAL (DESIGN 5, model: `Bump`, `Look`, `Replayed`, `Restarted`).
//!
//! The order is the rule: the new epoch first (it fences late commits), then ids without a fate are aborted (so that nothing
//! can decide them later), then the fates are read, then [`verdict`] says what becomes of each batch:
//!
//! | fate of its id | its answer there | what is done |
//! |---|---|---|
//! | committed | stored, or duplicate | finished |
//! | committed | refused | finished: its topic was deleted |
//! | committed | again | goes out again |
//! | aborted (perhaps just now) | - | goes out again, under a new id that names the aborted one |
//!
//! Whether the object is in the bucket changes nothing: under the old key nothing is ever put again, and an aborted object is
//! never read. Whether the lease is still ours decides only *where* a batch goes that goes out again: to its own offset, or to
//! the tail.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sh_base::{Incarnation, ObjectId, TopicPartition, batch::Batch};
use sh_meta::{Decision, Key, Lane, MetaError, MetaStore, Plan, View, Write};

use crate::{
    agent::AgentRow,
    codec::Malformed,
    commit::Promise,
    ingest::{HeldLease, Restored, RestoredEntry, read_producers},
    mutant,
    row::{Answer, Fate, Head, Lease},
    wal::{Recovered, WalBatch, WalRecord},
};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a newer life of this agent has begun: stop one of the two processes")]
    Fenced,
    #[error("the batch of WAL record {0} does not parse: {1}")]
    Batch(u64, String),
    #[error("the metadata store knows object {0}, but not the batch of WAL record {1} in it")]
    Unanswered(ObjectId, u64),
    #[error(
        "the WAL holds {batches} acknowledged batches of idempotent producers that are older than producer.id.expiration.ms: what \
         was known of these producers may be forgotten, and a batch that its producer has sent again since would be stored twice. \
         Start with --replay-old to store them all the same"
    )]
    Old { batches: usize },
}

/// What becomes of a batch of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Finished,
    /// It goes out again; `replaces` says that the whole old object is void.
    Again {
        replaces: bool,
    },
}

/// One row of the table above.
pub fn verdict(fate: &Fate, partition: TopicPartition, ordinal: u32) -> Option<Verdict> {
    let Fate::Committed(runs) = fate else {
        return Some(Verdict::Again { replaces: true });
    };
    let run = runs.iter().find(|run| run.partition == partition)?;
    Some(match run.answers.get(ordinal as usize)? {
        Answer::Stored { .. } | Answer::Duplicate { .. } | Answer::Refused(_) => Verdict::Finished,
        Answer::Again if mutant::is("again_dropped") => Verdict::Finished,
        Answer::Again => Verdict::Again { replaces: false },
    })
}

/// A batch of the WAL, and under which id it went out last.
struct Waiting {
    number: u64,
    object: ObjectId,
    ordinal: u32,
    batch: WalBatch,
}

/// What came of a replay.
#[derive(Default)]
pub struct Replay {
    pub restored: Restored,
    /// Records that the WAL needs no more.
    pub finished: Vec<u64>,
}

/// Up to what age batches of idempotent producers are replayed without asking.
#[derive(Clone, Copy, Debug)]
pub struct ReplayAge {
    /// Wall clock now, milliseconds.
    pub now_ms: i64,
    /// `producer.id.expiration.ms`, or `None` with `--replay-old`.
    pub max_ms: Option<i64>,
}

impl ReplayAge {
    /// **A WAL older than the producer expiry is replayed on request only**: which of its batches the producers have sent
    /// again, through another agent, is forgotten by then. Batches of other producers are never asked about.
    fn is_too_old(self, batch: &Batch, appended_ms: i64) -> bool {
        let age_ms = self.now_ms.saturating_sub(appended_ms);
        batch.header().producer.is_some() && self.max_ms.is_some_and(|max_ms| age_ms > max_ms)
    }
}

/// Looks at the WAL of this agent's former lives. `lane` is a lane of the new incarnation, whose epoch is already in the store.
pub async fn replay(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    me: Incarnation,
    recovered: Recovered,
    age: ReplayAge,
    patience: Duration,
) -> Result<Replay, ReplayError> {
    let waiting = follow_moves(recovered.records);
    let ids: BTreeSet<ObjectId> = waiting.iter().map(|w| w.object).collect();
    let fates = decide(lane, me, &ids, patience).await?;
    let mut replay = Replay::default();
    replay.restored.wal_last = recovered.last;
    replay.restored.wal_oldest = recovered.oldest;
    let mut old = 0;
    for w in waiting {
        let fate = fates.get(&w.object).unwrap_or(&Fate::Aborted);
        match verdict(fate, w.batch.partition, w.ordinal) {
            Some(Verdict::Finished) => replay.finished.push(w.number),
            Some(Verdict::Again { replaces }) => {
                let appended_ms = w.batch.appended_ms;
                let entry = restored(w, replaces)?;
                old += usize::from(age.is_too_old(&entry.batch, appended_ms));
                replay.restored.entries.push(entry);
            }
            None => return Err(ReplayError::Unanswered(w.object, w.number)),
        }
    }
    if old > 0 {
        return Err(ReplayError::Old { batches: old });
    }
    replay.restored.leases = leases(store, me, &replay.restored.entries).await?;
    Ok(replay)
}

/// Where each batch went last (model: `aw_no_chain`).
fn follow_moves(records: Vec<(u64, WalRecord)>) -> Vec<Waiting> {
    let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
    for (number, record) in records {
        match record {
            WalRecord::Batch(batch) => {
                let (object, ordinal) = (batch.object, batch.ordinal);
                waiting.insert(
                    number,
                    Waiting {
                        number,
                        object,
                        ordinal,
                        batch,
                    },
                );
            }
            WalRecord::Moved { to, batches } => {
                for (moved, ordinal) in batches {
                    if let Some(w) = waiting.get_mut(&moved) {
                        (w.object, w.ordinal) = (to, ordinal);
                    }
                }
            }
        }
    }
    waiting.into_values().collect()
}

/// How many fates are decided in one update.
const PAGE: usize = 500;

/// The fate of each id: what the store says, or `Aborted` from now on (model: `Abort`; an id of a fenced life can only lose).
async fn decide(
    lane: &Lane,
    me: Incarnation,
    ids: &BTreeSet<ObjectId>,
    patience: Duration,
) -> Result<HashMap<ObjectId, Fate>, ReplayError> {
    let mut fates = HashMap::new();
    let ids: Vec<ObjectId> = ids.iter().copied().collect();
    for page in ids.chunks(PAGE) {
        let locks: Vec<Key> = page.iter().map(|id| Key::Object(*id)).collect();
        let plan = Plan {
            locks: locks.clone(),
            shares: vec![Key::Agent(me.agent)],
            ..Plan::default()
        };
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let see = seen.clone();
        let entry = lane
            .update(plan, patience, move |view| {
                *see.lock() = locks.iter().map(|key| view.value(key).cloned()).collect();
                abort_undecided(view, me, &locks)
            })
            .await?;
        if entry.reply.as_ref() == FENCED {
            return Err(ReplayError::Fenced);
        }
        let values: Vec<Option<Bytes>> = std::mem::take(&mut *seen.lock());
        for (id, value) in page.iter().zip(values) {
            fates.insert(*id, value.map_or(Ok(Fate::Aborted), |v| Fate::decode(&v))?);
        }
    }
    Ok(fates)
}

const FENCED: &[u8] = b"fenced";

fn abort_undecided(view: &View, me: Incarnation, ids: &[Key]) -> Decision {
    if !AgentRow::is_current(view.value(&Key::Agent(me.agent)), &me) {
        return Decision {
            writes: vec![],
            reply: Bytes::from_static(FENCED),
        };
    }
    // A second guard beside the epoch: these mutants break a rule only where it is missing.
    if ["look_first", "no_epoch", "reuse_key"]
        .into_iter()
        .any(mutant::is)
    {
        return Decision::default();
    }
    let undecided = ids.iter().filter(|key| view.value(key).is_none());
    let abort = |key: &Key| Write {
        key: key.clone(),
        value: Some(Fate::Aborted.encode()),
        version: None,
    };
    Decision {
        writes: undecided.map(abort).collect(),
        reply: Bytes::new(),
    }
}

fn restored(w: Waiting, replaces: bool) -> Result<RestoredEntry, ReplayError> {
    let batch =
        Batch::parse(w.batch.bytes).map_err(|e| ReplayError::Batch(w.number, e.to_string()))?;
    Ok(RestoredEntry {
        partition: w.batch.partition,
        org: w.batch.org,
        batch,
        promise: Promise {
            lease_epoch: w.batch.lease_epoch,
            base_offset: w.batch.base_offset,
        },
        wal: w.number,
        replaces: replaces.then_some(w.object),
    })
}

/// The leases that are still ours and under which all that comes back was promised. A partition whose batches come from
/// different leases gives no promise: they go to the tail, in order.
async fn leases(
    store: &Arc<dyn MetaStore>,
    me: Incarnation,
    entries: &[RestoredEntry],
) -> Result<BTreeMap<TopicPartition, HeldLease>, ReplayError> {
    let mut epochs: BTreeMap<TopicPartition, BTreeSet<u64>> = BTreeMap::new();
    for entry in entries {
        epochs
            .entry(entry.partition)
            .or_default()
            .insert(entry.promise.lease_epoch);
    }
    let mut leases = BTreeMap::new();
    for (tp, epochs) in epochs {
        let row = store
            .get(&[Key::Head(tp)])
            .await?
            .into_iter()
            .next()
            .unwrap_or_default();
        let head = Head::of(row.value.as_ref())?;
        let ours = head
            .lease
            .filter(|l| epochs.len() == 1 && epochs.contains(&l.epoch) && l.holder == me.agent);
        if let Some(Lease { epoch, .. }) = ours
            && let Some(producers) = read_producers(store, tp).await?
        {
            let (next_offset, log_start) = (head.next_offset, head.log_start);
            let last_used = Duration::ZERO;
            leases.insert(
                tp,
                HeldLease {
                    epoch,
                    next_offset,
                    log_start,
                    producers,
                    last_used,
                },
            );
        }
    }
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use sh_base::{
        AgentId, Org, ProducerId, TopicId,
        batch::{BatchBuilder, BatchProducer, Codec},
    };
    use sh_meta::{LaneId, MemoryStore};

    use super::*;
    use crate::{agent, test_env::test_env, wal::WalBatch};

    const PATIENCE: Duration = Duration::from_secs(1);
    const DAY_MS: i64 = 86_400_000;

    fn recovered(me: Incarnation, producer: Option<BatchProducer>, appended_ms: i64) -> Recovered {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(0, None, Some(b"value"), &[]);
        let builder = match producer {
            Some(producer) => builder.producer(producer),
            None => builder,
        };
        let object = ObjectId { by: me, seq: 1 };
        let batch = WalBatch {
            object,
            ordinal: 0,
            partition: TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), 0),
            org: Org::default(),
            lease_epoch: 1,
            base_offset: 0,
            appended_ms,
            bytes: builder.build().unwrap().bytes().clone(),
        };
        Recovered {
            records: vec![(1, WalRecord::Batch(batch))],
            last: 1,
            oldest: Some(object),
        }
    }

    /// How many batches go out again, or why none does.
    async fn look(producer: bool, age_ms: i64, max_ms: Option<i64>) -> Result<usize, String> {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new("test"));
        let env = test_env();
        let boot = agent::boot_lane(store.clone(), &env);
        let address = agent::Address {
            host: "127.0.0.1".into(),
            port: 9092,
            zone: None,
            http: None,
        };
        let begun = agent::begin_life(&boot, &env, AgentId(0), &address, PATIENCE).await;
        let (me, _) = begun.unwrap();
        let lane = Lane::new(store.clone(), env, LaneId { by: me, lane: 0 }, 0);
        let producer = producer.then_some(BatchProducer {
            id: ProducerId(1),
            epoch: 0,
            base_sequence: 0,
        });
        let now_ms = 100 * DAY_MS;
        let wal = recovered(me, producer, now_ms - age_ms);
        let age = ReplayAge { now_ms, max_ms };
        let replay = replay(&store, &lane, me, wal, age, PATIENCE).await;
        replay
            .map(|replay| replay.restored.entries.len())
            .map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn old_batches_of_idempotent_producers_are_replayed_on_request_only() {
        assert_eq!(look(true, DAY_MS, Some(DAY_MS)).await, Ok(1));
        let refused = look(true, DAY_MS + 1, Some(DAY_MS)).await.unwrap_err();
        assert!(refused.contains("--replay-old"), "{refused}");
        assert_eq!(look(true, DAY_MS + 1, None).await, Ok(1));
        assert_eq!(look(false, DAY_MS + 1, Some(DAY_MS)).await, Ok(1));
    }
}
