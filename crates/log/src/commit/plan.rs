//! What is to be committed, and what became of it: plain data.
use std::collections::HashSet;

use bytes::Bytes;
use sh_base::{
    Incarnation, ObjectId, Offset, TopicPartition, batch::BatchProducer, limits::UPDATE_EXTENTS_MAX,
};
use sh_meta::Key;

use crate::{
    codec::{Malformed, Reader, put_list},
    row::Fate,
};

/// Windows of one agent that are stored in the bucket, oldest first, to be committed in one update.
#[derive(Clone, Debug)]
pub struct CommitPlan {
    pub by: Incarnation,
    pub windows: Vec<WindowPlan>,
    /// Partitions of which an earlier batch of this agent was refused for a lease: later ones are refused too.
    pub held: HashSet<TopicPartition>,
    pub now_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_expiry_ms: i64,
}

#[derive(Clone, Debug)]
pub struct WindowPlan {
    pub id: ObjectId,
    pub runs: Vec<RunPlan>,
}

#[derive(Clone, Debug)]
pub struct RunPlan {
    pub partition: TopicPartition,
    pub batches: Vec<BatchPlan>,
}

#[derive(Clone, Debug)]
pub struct BatchPlan {
    pub start: u64,
    pub len: u32,
    /// How many offsets it takes.
    pub offsets: Offset,
    pub records: i32,
    pub producer: Option<BatchProducer>,
    pub min_timestamp: i64,
    pub max_timestamp: i64,
    pub promised: Option<Promise>,
    /// It was acknowledged in an earlier life and comes from the WAL.
    pub replayed: bool,
    /// Of a transactional batch.
    pub transaction: Option<BatchTransaction>,
}

/// The transaction that a batch is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchTransaction {
    /// Its row.
    pub key: Key,
    /// The batch adds its partition (KIP-890).
    pub adds: bool,
}

/// An offset handed out before the commit, under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    pub lease_epoch: u64,
    pub base_offset: Offset,
}

/// What became of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitReply {
    /// A newer incarnation of this agent exists: this one must stop.
    Fenced,
    /// The fates of the leading windows, up to and with the first aborted one.
    Fates(Vec<Fate>),
    /// A row could not be read: nothing was written, and the agent must stop.
    Damaged(String),
}

impl CommitPlan {
    /// Locked in the order of the families: the ids' fates, the transactions, the heads, the producers.
    pub fn locks(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.windows.iter().map(|w| Key::Object(w.id)).collect();
        for run in self.windows.iter().flat_map(|w| &w.runs) {
            keys.push(Key::Head(run.partition));
            let ids = run.batches.iter().filter_map(|b| b.producer.map(|p| p.id));
            keys.extend(ids.map(|id| Key::Producer(run.partition, id)));
            let transactions = run.batches.iter().filter_map(|b| b.transaction.as_ref());
            keys.extend(transactions.map(|t| t.key.clone()));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// The agent row fences the commit; it is shared, so that it stands in no other commit's way.
    pub fn shares(&self) -> Vec<Key> {
        vec![Key::Agent(self.by.agent)]
    }
}

impl WindowPlan {
    /// How many rows this window may write.
    pub fn rows(&self) -> usize {
        self.runs.iter().map(|r| r.batches.len() + 2).sum::<usize>() + 1
    }
}

/// How many partitions and producers one window may write for, so that its commit fits into one update whatever happens to
/// its batches: a head and two extents for each, or a producer.
pub const WINDOW_WRITERS_MAX: usize = UPDATE_EXTENTS_MAX / 4;

/// How many of these windows fit into one update, at least one.
pub fn windows_of_one_update<'a>(windows: impl Iterator<Item = &'a WindowPlan>) -> usize {
    let mut rows = 0;
    let fits = |w: &&WindowPlan| {
        rows += w.rows();
        rows <= UPDATE_EXTENTS_MAX
    };
    windows.take_while(fits).count().max(1)
}

impl CommitReply {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            CommitReply::Fenced => out.push(0),
            CommitReply::Damaged(what) => {
                out.push(2);
                out.extend(what.as_bytes());
            }
            CommitReply::Fates(fates) => {
                out.push(1);
                put_list(&mut out, fates, |out, fate| {
                    let bytes = fate.encode();
                    out.extend((bytes.len() as u32).to_be_bytes());
                    out.extend(bytes);
                });
            }
        }
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<CommitReply, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("reply of a commit"))
    }

    fn read(r: &mut Reader<'_>) -> Option<CommitReply> {
        let reply = match r.u8()? {
            0 => CommitReply::Fenced,
            1 => CommitReply::Fates(r.list(6, |r| {
                let len = r.u32()? as usize;
                Fate::decode(r.bytes(len)?).ok()
            })?),
            2 => CommitReply::Damaged(String::from_utf8(r.bytes(r.0.len())?.to_vec()).ok()?),
            _ => return None,
        };
        r.end(reply)
    }
}
