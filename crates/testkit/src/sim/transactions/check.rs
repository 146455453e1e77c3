//! Whether what transactional clients were told fits with what stands there when everything is over.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Ending, Seen, Transaction, Transactions, TxnId};
use crate::{
    sim::{
        client::Placed,
        consumer::Reading,
        reads::{Fetch, Reads},
    },
    torture::history::{BatchId, History, Log, RecordId},
};

/// A broken promise about transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnAnomaly {
    /// read_committed shows a record whose client never asked for that.
    AbortedRead {
        txn: TxnId,
        partition: i32,
        offset: i64,
    },
    /// A read_committed consumer was given a record that read_committed does not show in the end.
    DirtyRead {
        consumer: usize,
        partition: i32,
        offset: i64,
    },
    /// A part of the transaction is committed, another is not.
    TornTransaction { txn: TxnId },
    /// Its client was told that it is committed, and it is not.
    LostTransaction { txn: TxnId },
    /// A reader's last stable offset was past a record whose marker was still to come.
    PastStable {
        consumer: usize,
        partition: i32,
        offset: i64,
        stable: i64,
    },
    /// A read_committed consumer was sent a batch at or past the last stable offset that came with it.
    BeyondStable {
        consumer: usize,
        partition: i32,
        next: i64,
        stable: i64,
    },
    /// The faults are over, and the transaction still holds readers up.
    Hanging {
        partition: i32,
        stable: i64,
        end: i64,
    },
    /// Committed transactions copied the same input.
    CopiedTwice { group: usize, input: i64 },
    /// No committed transaction copied this input, though later ones did.
    NotCopied { group: usize, input: i64 },
    /// The group's committed offset is not where its committed transactions end.
    WrongOffset {
        group: usize,
        committed: i64,
        copied: i64,
    },
    /// A committed offset moved back.
    WentBack { group: usize, least: i64, told: i64 },
}

impl fmt::Display for TxnAnomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What stands there when everything is over.
pub struct End<'a> {
    pub reading: &'a Reading,
    /// Committed offsets, by group; a group that has none is at 0.
    pub offsets: &'a BTreeMap<usize, i64>,
}

/// Every broken promise.
pub fn check(
    history: &History,
    transactions: &Transactions,
    reads: &Reads,
    end: &End,
) -> Vec<TxnAnomaly> {
    let mut out = Vec::new();
    let shown = Shown::of(&end.reading.committed);
    for (id, transaction) in &transactions.all {
        ended_as_asked(*id, transaction, history, &shown, &mut out);
    }
    for fetch in &reads.fetches {
        is_settled(fetch, &end.reading.committed, &mut out);
        stops_before_what_is_open(fetch, end.reading, &mut out);
    }
    for (partition, stable, end) in end.reading.held_up() {
        out.push(TxnAnomaly::Hanging {
            partition,
            stable,
            end,
        });
    }
    for group in end.offsets.keys() {
        copied_once(*group, transactions, &shown, end.offsets[group], &mut out);
    }
    out.extend(transactions.seen.iter().filter_map(went_back));
    out
}

/// Where read_committed shows each record.
struct Shown(BTreeMap<RecordId, (i32, i64)>);

impl Shown {
    fn of(committed: &Log) -> Shown {
        let mut at = BTreeMap::new();
        for (partition, part) in committed {
            let known = part.records.iter().filter_map(|r| Some((r.id?, r.offset)));
            at.extend(known.map(|(id, offset)| (id, (*partition, offset))));
        }
        Shown(at)
    }

    fn batch(&self, history: &History, batch: BatchId) -> Vec<Option<(i32, i64)>> {
        let count = history.batches.get(&batch).map_or(0, |b| b.digests.len());
        let ids = (0..count as u32).map(|index| RecordId { batch, index });
        ids.map(|id| self.0.get(&id).copied()).collect()
    }

    fn shows(&self, transaction: &Transaction) -> bool {
        let first = transaction.batches.iter();
        first
            .map(|batch| RecordId {
                batch: *batch,
                index: 0,
            })
            .any(|id| self.0.contains_key(&id))
    }
}

/// **Nothing is committed whose client did not ask for that, all of it or nothing, and as it was told.** A commit that was
/// asked for and never confirmed may have happened or not.
fn ended_as_asked(
    txn: TxnId,
    transaction: &Transaction,
    history: &History,
    shown: &Shown,
    out: &mut Vec<TxnAnomaly>,
) {
    let batches = transaction.batches.iter();
    let places: Vec<_> = batches
        .flat_map(|batch| shown.batch(history, *batch))
        .collect();
    let first = places.iter().flatten().next().copied();
    if transaction.asked != Some(Ending::Commit) {
        out.extend(first.map(|(partition, offset)| TxnAnomaly::AbortedRead {
            txn,
            partition,
            offset,
        }));
        return;
    }
    if first.is_some() && places.contains(&None) {
        out.push(TxnAnomaly::TornTransaction { txn });
    }
    if first.is_none() && transaction.told {
        out.push(TxnAnomaly::LostTransaction { txn });
    }
}

/// What a read_committed consumer was given stays so.
fn is_settled(fetch: &Fetch, committed: &Log, out: &mut Vec<TxnAnomaly>) {
    if !fetch.committed {
        return;
    }
    let Some(part) = committed.get(&fetch.partition) else {
        return;
    };
    let (consumer, partition) = (fetch.consumer, fetch.partition);
    for given in &fetch.records {
        let there = part
            .records
            .binary_search_by_key(&given.offset, |r| r.offset);
        if there.is_err() {
            let offset = given.offset;
            out.push(TxnAnomaly::DirtyRead {
                consumer,
                partition,
                offset,
            });
        }
    }
}

/// **The last stable offset is not past a record whose fate is open.** When it was told together with a high watermark, all
/// markers before that high watermark were there, and none after it.
fn stops_before_what_is_open(fetch: &Fetch, reading: &Reading, out: &mut Vec<TxnAnomaly>) {
    let Fetch {
        consumer,
        partition,
        next,
        stable,
        high_watermark,
        ..
    } = *fetch;
    if fetch.committed && next > stable && next > fetch.from {
        out.push(TxnAnomaly::BeyondStable {
            consumer,
            partition,
            next,
            stable,
        });
    }
    let placed = reading.transactional.get(&partition);
    for (offset, marker) in marked(placed.map_or(&[], Vec::as_slice)) {
        if offset < stable && marker.is_none_or(|marker| marker >= high_watermark) {
            out.push(TxnAnomaly::PastStable {
                consumer,
                partition,
                offset,
                stable,
            });
        }
    }
}

/// Transactional batches of a partition, and where the marker of each is.
fn marked(placed: &[Placed]) -> impl Iterator<Item = (i64, Option<i64>)> + '_ {
    let batches = placed.iter().enumerate();
    batches
        .filter(|(_, batch)| batch.marker.is_none())
        .map(|(at, batch)| {
            let mut later = placed[at + 1..].iter();
            let marker = later.find(|p| p.marker.is_some() && p.producer == batch.producer);
            (batch.offset, marker.map(|marker| marker.offset))
        })
}

/// **What was consumed is committed with what was produced of it**: each input once, without a hole, up to the committed offset.
fn copied_once(
    group: usize,
    transactions: &Transactions,
    shown: &Shown,
    committed: i64,
    out: &mut Vec<TxnAnomaly>,
) {
    let all = transactions.all.values();
    let copied = all.filter(|t| shown.shows(t)).filter_map(|t| t.copied);
    let mut inputs = BTreeSet::new();
    for input in copied
        .filter(|copied| copied.group == group)
        .flat_map(|copied| copied.from..copied.to)
    {
        if !inputs.insert(input) {
            out.push(TxnAnomaly::CopiedTwice { group, input });
        }
    }
    let end = inputs.last().map_or(0, |last| last + 1);
    let hole = (0..end).find(|input| !inputs.contains(input));
    out.extend(hole.map(|input| TxnAnomaly::NotCopied { group, input }));
    if end != committed {
        out.push(TxnAnomaly::WrongOffset {
            group,
            committed,
            copied: end,
        });
    }
}

fn went_back(seen: &Seen) -> Option<TxnAnomaly> {
    let Seen { group, least, told } = *seen;
    (told < least).then_some(TxnAnomaly::WentBack { group, least, told })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
