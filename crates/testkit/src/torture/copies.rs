//! Whether copies that were made in transactions are what was copied: every record once, in order, nothing that was aborted.
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use anyhow::Result;
use sh_client::{ConsumerRecord, Isolation};

use super::{
    history::{Found, Log, RecordId},
    reading::{found, read_with},
    writer::record_digest,
};

/// The header that names a copy's transaction.
pub const TRANSACTION: &[u8] = b"transaction";

/// A transaction by who made it, and as which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionName {
    pub copier: u32,
    pub number: u32,
}

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.copier, self.number)
    }
}

impl TransactionName {
    fn read(text: &[u8]) -> Option<TransactionName> {
        let (copier, number) = std::str::from_utf8(text).ok()?.split_once('.')?;
        Some(TransactionName {
            copier: copier.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// How a transaction ended, as far as its copier was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Unknown,
    Aborted,
    /// With so many records.
    Committed(usize),
}

/// A record of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// With the digest of what was copied: its transaction is left out.
    pub found: Found,
    /// The digest of all that was read.
    pub digest: u64,
    pub transaction: Option<TransactionName>,
}

/// A topic, by partition.
#[derive(Clone, Debug, Default)]
pub struct Copies(pub BTreeMap<i32, Vec<Copy>>);

impl Copies {
    /// Of what is no copy.
    pub fn of_log(log: &Log) -> Copies {
        let copy = |found: &Found| Copy {
            found: *found,
            digest: found.digest,
            transaction: None,
        };
        let part = |(partition, part): (&i32, &super::history::PartitionLog)| {
            (*partition, part.records.iter().map(copy).collect())
        };
        Copies(log.iter().map(part).collect())
    }

    pub fn records(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Every partition, as far as it is committed.
pub async fn read_copies(bootstrap: &str, topic: &str, partitions: i32) -> Result<Copies> {
    let mut copies = Copies((0..partitions).map(|p| (p, Vec::new())).collect());
    let take = |record: &ConsumerRecord| {
        if let Some(part) = copies.0.get_mut(&record.partition) {
            part.push(as_copy(record));
        }
    };
    let committed = Isolation::ReadCommitted;
    read_with(bootstrap, topic, partitions, committed, take).await?;
    Ok(copies)
}

fn as_copy(record: &ConsumerRecord) -> Copy {
    let is_name = |(name, _): &&(bytes::Bytes, Option<bytes::Bytes>)| &name[..] == TRANSACTION;
    let named = record.headers.iter().find(is_name);
    let transaction = named.and_then(|(_, v)| TransactionName::read(v.as_deref()?));
    let original: Vec<(&[u8], Option<&[u8]>)> = record
        .headers
        .iter()
        .filter(|header| !is_name(header))
        .map(|(name, value)| (&name[..], value.as_deref()))
        .collect();
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    let whole = found(record);
    Copy {
        found: Found {
            digest: record_digest(key, value, &original, record.timestamp),
            ..whole
        },
        digest: whole.digest,
        transaction,
    }
}

/// A broken promise about transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyAnomaly {
    /// The group has committed an offset behind it, and there is no copy.
    NotCopied { partition: i32, id: RecordId },
    CopiedTwice {
        partition: i32,
        id: RecordId,
        by: Vec<Option<TransactionName>>,
    },
    /// It stands behind one that was copied later.
    OutOfOrder {
        partition: i32,
        earlier: RecordId,
        later: RecordId,
    },
    /// It is not what was copied.
    Altered { partition: i32, offset: i64 },
    /// Somebody read what was aborted.
    AbortedRead {
        partition: i32,
        offset: i64,
        transaction: TransactionName,
    },
    /// Only a part of a committed transaction is there.
    Torn {
        transaction: TransactionName,
        written: usize,
        found: usize,
    },
    /// A reader of committed records saw something else there before, or something that is gone.
    Changed { partition: i32, before: Found },
}

/// Every broken promise. `seen` is what a reader of committed records saw meanwhile.
pub fn check_copies(
    input: &Copies,
    output: &Copies,
    outcomes: &BTreeMap<TransactionName, Outcome>,
    seen: &[(i32, Found)],
) -> Vec<CopyAnomaly> {
    let mut anomalies = Vec::new();
    for (partition, copied) in &input.0 {
        let copies = output.0.get(partition).map_or(&[][..], Vec::as_slice);
        once_each(*partition, copied, copies, &mut anomalies);
    }
    as_ended(output, outcomes, &mut anomalies);
    for (partition, before) in seen.iter().copied() {
        let copies = output.0.get(&partition).map_or(&[][..], Vec::as_slice);
        let at = copies.binary_search_by_key(&before.offset, |c| c.found.offset);
        let same = |c: &Copy| (c.digest, c.found.id) == (before.digest, before.id);
        if !at.is_ok_and(|at| same(&copies[at])) {
            anomalies.push(CopyAnomaly::Changed { partition, before });
        }
    }
    anomalies
}

fn once_each(partition: i32, copied: &[Copy], copies: &[Copy], out: &mut Vec<CopyAnomaly>) {
    let mut places: HashMap<RecordId, Vec<usize>> = HashMap::new();
    for (place, copy) in copies.iter().enumerate() {
        match copy.found.id {
            Some(id) => places.entry(id).or_default().push(place),
            None => out.push(CopyAnomaly::Altered {
                partition,
                offset: copy.found.offset,
            }),
        }
    }
    let mut last: Option<(usize, RecordId)> = None;
    for original in copied {
        let Some(id) = original.found.id else {
            continue;
        };
        let found = places.remove(&id).unwrap_or_default();
        let Some(place) = found.first().copied() else {
            out.push(CopyAnomaly::NotCopied { partition, id });
            continue;
        };
        if found.len() > 1 {
            let by = found.iter().map(|p| copies[*p].transaction).collect();
            out.push(CopyAnomaly::CopiedTwice { partition, id, by });
        }
        if copies[place].found.digest != original.found.digest {
            let offset = copies[place].found.offset;
            out.push(CopyAnomaly::Altered { partition, offset });
        }
        if let Some((_, later)) = last.filter(|(before, _)| place < *before) {
            out.push(CopyAnomaly::OutOfOrder {
                partition,
                earlier: id,
                later,
            });
        }
        last = Some((place, id));
    }
    for (_, strangers) in places {
        let offset = copies[strangers[0]].found.offset;
        out.push(CopyAnomaly::Altered { partition, offset });
    }
}

fn as_ended(
    output: &Copies,
    outcomes: &BTreeMap<TransactionName, Outcome>,
    out: &mut Vec<CopyAnomaly>,
) {
    let mut read: BTreeMap<TransactionName, usize> = BTreeMap::new();
    for (partition, copies) in &output.0 {
        for copy in copies {
            let Some(transaction) = copy.transaction else {
                continue;
            };
            *read.entry(transaction).or_default() += 1;
            if outcomes.get(&transaction) == Some(&Outcome::Aborted) {
                let (partition, offset) = (*partition, copy.found.offset);
                out.push(CopyAnomaly::AbortedRead {
                    partition,
                    offset,
                    transaction,
                });
            }
        }
    }
    for (transaction, outcome) in outcomes {
        let found = read.get(transaction).copied().unwrap_or(0);
        if let Outcome::Committed(written) = outcome
            && *written != found
        {
            let (transaction, written) = (*transaction, *written);
            out.push(CopyAnomaly::Torn {
                transaction,
                written,
                found,
            });
        }
    }
}

#[cfg(test)]
#[path = "copies_tests.rs"]
mod tests;
