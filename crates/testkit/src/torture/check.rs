//! Whether a history and what was read afterwards keep the contract of DESIGN section 2.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use sh_client::Acks;

use super::history::{BatchId, Found, History, Log, PartitionLog, RecordId, Sent};

/// What is promised where a leader may lose its lease before it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leases {
    /// One agent: an offset told for acks=1 is the offset.
    Kept,
    /// Several agents: an acks=1 record may come back at the tail.
    MayBeLost,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// It was acknowledged and is not there.
    Lost { id: RecordId, acks: &'static str },
    /// It is there more than once.
    Duplicated { id: RecordId, offsets: Vec<i64> },
    /// It stands behind a record that its source sent later.
    Reordered {
        partition: i32,
        earlier: RecordId,
        later: RecordId,
    },
    /// Nobody sent it, or it was refused.
    Phantom {
        partition: i32,
        offset: i64,
        id: Option<RecordId>,
    },
    /// It is not what was sent, or not in the partition it was sent to.
    Altered {
        partition: i32,
        offset: i64,
        id: RecordId,
    },
    /// Some of its batch's records are there, others not.
    Torn { batch: BatchId },
    /// An acknowledgement told another offset than where it is.
    Misplaced {
        id: RecordId,
        told: i64,
        found: Vec<i64>,
    },
    /// Two batches were told the same offset.
    Reused {
        partition: i32,
        offset: i64,
        first: BatchId,
        second: BatchId,
    },
    /// A reader saw something else there before, or something that is gone.
    Changed {
        partition: i32,
        before: Found,
        after: Option<Found>,
    },
    /// Offsets without a record.
    Gap { partition: i32, from: i64, to: i64 },
    /// Records did not come in the order of their offsets.
    Backwards { partition: i32, offset: i64 },
}

impl Anomaly {
    /// Whether it may only look so for a while: an acks=1 record is not read before it is committed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Anomaly::Lost { acks: "leader", .. })
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Every broken promise. `seen` is what readers saw while the writers wrote, by partition.
pub fn check(history: &History, log: &Log, seen: &[(i32, Found)], leases: Leases) -> Vec<Anomaly> {
    let places = Places::of(log);
    let mut anomalies = Vec::new();
    for (partition, part) in log {
        offsets_rise(*partition, part, history, &mut anomalies);
        were_sent(*partition, part, history, &mut anomalies);
        keep_order(*partition, part, history, &mut anomalies);
    }
    for (id, sent) in &history.batches {
        is_stored_as_told(*id, sent, &places, leases, &mut anomalies);
    }
    offsets_are_told_once(history, leases, &mut anomalies);
    still_there(seen, &places, &mut anomalies);
    anomalies
}

/// Where records are.
struct Places {
    of_record: HashMap<RecordId, Vec<i64>>,
    at: HashMap<(i32, i64), Found>,
}

impl Places {
    fn of(log: &Log) -> Places {
        let (mut of_record, mut at) = (HashMap::<_, Vec<_>>::new(), HashMap::new());
        for (partition, part) in log {
            for found in &part.records {
                at.insert((*partition, found.offset), *found);
                if let Some(id) = found.id {
                    of_record.entry(id).or_default().push(found.offset);
                }
            }
        }
        Places { of_record, at }
    }
    fn offsets(&self, id: RecordId) -> &[i64] {
        self.of_record.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// **A gap is explained by what stands behind it**: an acks=1 record keeps its offset through a crash of its agent, though
/// what was before it and not acknowledged is gone. Markers have offsets, too. Nothing else leaves gaps.
fn offsets_rise(partition: i32, part: &PartitionLog, history: &History, out: &mut Vec<Anomaly>) {
    let mut next = 0;
    let end = std::iter::once((part.end, None));
    let records = part.records.iter().map(|r| (r.offset, r.id));
    for (offset, id) in records.chain(end) {
        while next < offset && part.markers.contains(&next) {
            next += 1;
        }
        if offset < next {
            out.push(Anomaly::Backwards { partition, offset });
        }
        if offset > next && !id.is_some_and(|id| is_leader_acked(history, id)) {
            let (from, to) = (next, offset);
            out.push(Anomaly::Gap {
                partition,
                from,
                to,
            });
        }
        next = offset + 1;
    }
}

fn is_leader_acked(history: &History, id: RecordId) -> bool {
    let sent = history.batches.get(&id.batch);
    sent.is_some_and(|s| s.acks == Acks::Leader)
}

fn were_sent(partition: i32, part: &PartitionLog, history: &History, out: &mut Vec<Anomaly>) {
    for Found { offset, id, digest } in part.records.iter().copied() {
        let sent = id.and_then(|id| history.batches.get(&id.batch));
        let (Some(id), Some(sent)) = (id, sent.filter(|s| !s.refused)) else {
            out.push(Anomaly::Phantom {
                partition,
                offset,
                id,
            });
            continue;
        };
        let same = sent.digests.get(id.index as usize) == Some(&digest);
        if !same || sent.partition != partition {
            out.push(Anomaly::Altered {
                partition,
                offset,
                id,
            });
        }
    }
}

/// The first copy of each record counts; that there are others is told elsewhere.
fn keep_order(partition: i32, part: &PartitionLog, history: &History, out: &mut Vec<Anomaly>) {
    let mut known: HashSet<RecordId> = HashSet::new();
    let mut sources: HashMap<u32, Vec<RecordId>> = HashMap::new();
    for id in part.records.iter().filter_map(|r| r.id) {
        if known.insert(id) {
            sources.entry(id.batch.source).or_default().push(id);
        }
    }
    let late = sources.values().filter_map(|ids| first_late(ids, history));
    out.extend(late.map(|(earlier, later)| Anomaly::Reordered {
        partition,
        earlier,
        later,
    }));
}

/// The first record of a source that stands behind one that it had to stand before, and that one.
fn first_late(ids: &[RecordId], history: &History) -> Option<(RecordId, RecordId)> {
    let mut ahead: Vec<RecordId> = Vec::new();
    for id in ids {
        let mut newer = ahead.iter().rev().take_while(|other| *other > id);
        if let Some(newer) = newer.find(|newer| history.must_keep_order(id, newer)) {
            return Some((*id, *newer));
        }
        let at = ahead.partition_point(|other| other < id);
        ahead.insert(at, *id);
    }
    None
}

fn is_stored_as_told(
    batch: BatchId,
    sent: &Sent,
    places: &Places,
    leases: Leases,
    out: &mut Vec<Anomaly>,
) {
    let ids = || (0..sent.digests.len() as u32).map(|index| RecordId { batch, index });
    let there = ids().filter(|id| !places.offsets(*id).is_empty()).count();
    if there > 0 && there < sent.digests.len() {
        out.push(Anomaly::Torn { batch });
    }
    for id in ids() {
        let offsets = places.offsets(id);
        if offsets.is_empty() && sent.is_acknowledged() {
            let acks = acks_name(sent.acks);
            out.push(Anomaly::Lost { id, acks });
        }
        if offsets.len() > 1 {
            let offsets = offsets.to_vec();
            out.push(Anomaly::Duplicated { id, offsets });
        }
        if may_move(sent, leases) || offsets.is_empty() {
            continue;
        }
        for base in sent.told.iter().filter(|base| **base >= 0) {
            let told = base + i64::from(id.index);
            if !offsets.contains(&told) {
                let found = offsets.to_vec();
                out.push(Anomaly::Misplaced { id, told, found });
            }
        }
    }
}

fn may_move(sent: &Sent, leases: Leases) -> bool {
    leases == Leases::MayBeLost && sent.acks == Acks::Leader
}

fn acks_name(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "none",
        Acks::Leader => "leader",
        Acks::All => "all",
    }
}

fn offsets_are_told_once(history: &History, leases: Leases, out: &mut Vec<Anomaly>) {
    let mut claims: BTreeMap<(i32, i64), BatchId> = BTreeMap::new();
    for (id, sent) in &history.batches {
        let told: HashSet<i64> = sent.told.iter().copied().filter(|o| *o >= 0).collect();
        if may_move(sent, leases) {
            continue;
        }
        for offset in told
            .iter()
            .flat_map(|base| *base..base + sent.digests.len() as i64)
        {
            let partition = sent.partition;
            let first = *claims.entry((partition, offset)).or_insert(*id);
            if first != *id {
                let second = *id;
                out.push(Anomaly::Reused {
                    partition,
                    offset,
                    first,
                    second,
                });
            }
        }
    }
}

fn still_there(seen: &[(i32, Found)], places: &Places, out: &mut Vec<Anomaly>) {
    for (partition, before) in seen.iter().copied() {
        let after = places.at.get(&(partition, before.offset)).copied();
        if after != Some(before) {
            out.push(Anomaly::Changed {
                partition,
                before,
                after,
            });
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
