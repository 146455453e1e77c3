//! What producers did and were told, and what was read afterwards.
use std::collections::{BTreeMap, BTreeSet};

use sh_client::Acks;

/// A batch by who sent it. A source is what keeps order: an idempotent producer, or one connection of a plain one (which
/// sends what it has to send again as a new batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    pub source: u32,
    /// The how many-th batch of its source, over all partitions.
    pub position: u32,
}

/// A record by its batch; it stands in front of the record's value, as `source.position.index|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub batch: BatchId,
    pub index: u32,
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BatchId { source, position } = self.batch;
        write!(f, "{source}.{position}.{}", self.index)
    }
}

impl RecordId {
    /// The id in front of a value; `None` for a value that no writer of ours made.
    pub fn of_value(value: &[u8]) -> Option<RecordId> {
        let end = value.iter().position(|b| *b == b'|')?;
        let text = std::str::from_utf8(&value[..end]).ok()?;
        let mut numbers = text.split('.').map(|n| n.parse().ok());
        let id = RecordId {
            batch: BatchId {
                source: numbers.next()??,
                position: numbers.next()??,
            },
            index: numbers.next()??,
        };
        numbers.next().is_none().then_some(id)
    }
}

/// A batch that was sent at least once.
#[derive(Clone, Debug)]
pub struct Sent {
    pub partition: i32,
    pub acks: Acks,
    /// Of each record's key, value, headers and time.
    pub digests: Vec<u64>,
    /// The base offsets that acknowledgements told; -1 for one that told none.
    pub told: Vec<i64>,
    /// Whether every answer said that it was not stored.
    pub refused: bool,
    /// The connection of each time that it was sent; empty where nobody counts them.
    pub connections: Vec<u32>,
}

impl Sent {
    pub fn new(partition: i32, acks: Acks, digests: Vec<u64>) -> Sent {
        Sent {
            partition,
            acks,
            digests,
            told: Vec::new(),
            refused: false,
            connections: Vec::new(),
        }
    }
    /// **The order that is promised is that of a connection** (DESIGN 2), whatever acks its batches have. Beyond that, a batch
    /// that is sent again keeps its place by its sequence number if its writer waits for all acks, as idempotent clients must
    /// (Kafka refuses `enable.idempotence` with less).
    pub fn must_stay_before(&self, later: &Sent) -> bool {
        let all = self.acks == Acks::All && later.acks == Acks::All;
        let once = self.connections.len() <= 1 && self.connections == later.connections;
        all || once
    }
    pub fn is_acknowledged(&self) -> bool {
        !self.told.is_empty()
    }
}

/// Everything that was sent.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub batches: BTreeMap<BatchId, Sent>,
}

impl History {
    /// Records that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let told = self.batches.values().filter(|b| b.is_acknowledged());
        told.map(|b| b.digests.len()).sum()
    }

    /// Whether the place of an earlier record of a source is before that of a later one.
    pub fn must_keep_order(&self, earlier: &RecordId, later: &RecordId) -> bool {
        let of = |id: &RecordId| self.batches.get(&id.batch);
        earlier.batch == later.batch
            || of(earlier)
                .zip(of(later))
                .is_none_or(|(earlier, later)| earlier.must_stay_before(later))
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: i64,
    /// `None` for a record that no writer of ours made.
    pub id: Option<RecordId>,
    pub digest: u64,
}

/// A partition read from its beginning to its end.
#[derive(Clone, Debug, Default)]
pub struct PartitionLog {
    /// In the order they came.
    pub records: Vec<Found>,
    /// Offsets of transaction markers.
    pub markers: BTreeSet<i64>,
    /// The log end offset that the server tells.
    pub end: i64,
}

/// All partitions of a topic.
pub type Log = BTreeMap<i32, PartitionLog>;

/// What a digest is taken of. FNV-1a: small, and the same everywhere.
#[derive(Clone, Copy)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds a field; its length (or that it is null) counts too.
    pub fn field(self, bytes: Option<&[u8]>) -> Digest {
        let length = bytes.map_or(-1, |b| b.len() as i64);
        self.bytes(&length.to_be_bytes())
            .bytes(bytes.unwrap_or_default())
    }
    fn bytes(self, bytes: &[u8]) -> Digest {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Digest(bytes.iter().fold(self.0, step))
    }
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_its_id_in_front_of_its_value() {
        let id = RecordId {
            batch: BatchId {
                source: 7,
                position: 12,
            },
            index: 3,
        };
        let value = format!("{id}|2013,1,1");
        assert_eq!(RecordId::of_value(value.as_bytes()), Some(id));
        for foreign in ["", "7.12|", "7.12.3", "7.12.3.4|x", "a.b.c|x", "|"] {
            assert_eq!(RecordId::of_value(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn null_empty_and_shifted_fields_have_different_digests() {
        let digest =
            |a: Option<&[u8]>, b: Option<&[u8]>| Digest::default().field(a).field(b).value();
        let all = [
            digest(None, None),
            digest(Some(b""), None),
            digest(Some(b"ab"), Some(b"c")),
            digest(Some(b"a"), Some(b"bc")),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[..n].contains(one));
        }
    }
}
