//! The row of a transactional id.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::{PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use uuid::Uuid;

use crate::codec::Malformed;

/// No epoch (Kafka's `NO_PRODUCER_EPOCH`).
pub const NO_EPOCH: ProducerEpoch = -1;

/// The value of `Key::Transaction`, JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransactionRow {
    pub producer_id: i64,
    pub epoch: ProducerEpoch,
    /// The epoch that the last InitProducerId came with: asked again, it is answered as before (KIP-360). -1: none.
    pub last_epoch: ProducerEpoch,
    /// The producer id before this one, whose epochs were used up; -1: none.
    pub previous_producer_id: i64,
    pub state: TransactionState,
    /// The client of the open or last transaction speaks transactions of version 2 (KIP-890).
    pub version2: bool,
    /// `transaction.timeout.ms`
    pub timeout_ms: i32,
    /// Wall clock when the open or last transaction of the session began, milliseconds; -1: there was none.
    pub started_ms: i64,
    /// Wall clock of the last change; what `transactional.id.expiration.ms` counts from.
    pub updated_ms: i64,
    /// Of the open transaction: topic ids and their partitions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<Uuid, BTreeSet<PartitionIndex>>,
    /// Groups that the open transaction has offsets for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

/// Kafka's states, without those between open and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    Empty,
    Ongoing,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    pub const ALL: [TransactionState; 4] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
        }
    }

    pub(super) fn completed(commit: bool) -> TransactionState {
        match commit {
            true => TransactionState::CompleteCommit,
            false => TransactionState::CompleteAbort,
        }
    }
}

impl TransactionRow {
    pub fn encode(&self) -> Bytes {
        // Text keys and plain values, which JSON can always hold.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub fn decode(bytes: &[u8]) -> Result<TransactionRow, Malformed> {
        serde_json::from_slice(bytes).map_err(|_| Malformed("row of a transactional id"))
    }

    /// The row as a value has it; no value is a transactional id that is not known.
    pub fn of(value: Option<&Bytes>) -> Result<Option<TransactionRow>, Malformed> {
        value.map(|bytes| TransactionRow::decode(bytes)).transpose()
    }

    pub fn producer(&self) -> ProducerId {
        ProducerId(self.producer_id)
    }

    pub fn is_ongoing(&self) -> bool {
        self.state == TransactionState::Ongoing
    }

    pub fn has(&self, tp: TopicPartition) -> bool {
        let partitions = self.partitions.get(&tp.topic.0);
        partitions.is_some_and(|p| p.contains(&tp.partition))
    }

    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.partitions.iter().flat_map(|(topic, partitions)| {
            let of_topic = |p: &PartitionIndex| TopicPartition::new(TopicId(*topic), *p);
            partitions.iter().map(of_topic)
        })
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.values().map(BTreeSet::len).sum()
    }
}
