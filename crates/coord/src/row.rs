//! What is stored of a group: one row for the group and one for each member, so that a change costs what it changes.
//!
//! Values are JSON, so that an operator can read them; bytes that only the members understand are hexadecimal text.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sh_base::{PartitionIndex, TopicId};
use uuid::Uuid;

use crate::command::Protocol;

/// A stored value that is not what this version writes.
#[derive(Debug, thiserror::Error)]
#[error("a stored group row cannot be read ({0}); it was written by a newer version or is damaged")]
pub struct UnreadableRow(#[from] serde_json::Error);

/// The group itself. Written at each completed rebalance (classic) or bump of an epoch (KIP-848).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupRow {
    Classic(ClassicRow),
    Consumer(ConsumerRow),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicRow {
    /// Of the last rebalance that was completed.
    pub generation: i32,
    /// The newest generation that members were told of, whether its rebalance was completed or not.
    #[serde(default)]
    pub begun: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// Wall clock of the last change of state; offsets of an empty group expire from here.
    pub since_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerRow {
    pub epoch: i32,
    pub assignment_epoch: i32,
    /// Stands for the subscribed topics as they were when the epoch was bumped.
    pub topics: u64,
}

/// A member and what it was assigned. The key holds its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRow {
    Classic(ClassicMemberRow),
    Consumer(ConsumerMemberRow),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicMemberRow {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocols: Vec<ProtocolRow>,
    #[serde(with = "hex")]
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRow {
    pub name: String,
    #[serde(with = "hex")]
    pub metadata: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerMemberRow {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub topic_names: BTreeSet<String>,
    pub topic_regex: Option<String>,
    pub assignor: Option<String>,
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: AssignedPartitions,
    pub revoking: AssignedPartitions,
    pub target: Target,
    /// A member that speaks the classic protocol in a KIP-848 group.
    pub classic: Option<ClassicFacade>,
    /// When it left, on the wall clock: of a static member that may come back, and of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<i64>,
}

/// What the coordinator waits for before the member has what it should have (KIP-848).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// Nothing, in the epoch that the member is in.
    #[default]
    Stable,
    /// The member must give partitions up.
    UnrevokedPartitions,
    /// Other members must give partitions up.
    UnreleasedPartitions,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicFacade {
    pub session_timeout_ms: i32,
    pub protocols: Vec<ProtocolRow>,
}

/// Partitions, each with the epoch in which it was assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<Uuid, BTreeMap<i32, i32>>",
    into = "BTreeMap<Uuid, BTreeMap<i32, i32>>"
)]
pub struct AssignedPartitions(pub BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>);

/// Partitions that a member should have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<Uuid, BTreeSet<i32>>",
    into = "BTreeMap<Uuid, BTreeSet<i32>>"
)]
pub struct Target(pub BTreeMap<TopicId, BTreeSet<PartitionIndex>>);

macro_rules! keyed_by_uuid {
    ($name:ident, $value:ty) => {
        impl From<BTreeMap<Uuid, $value>> for $name {
            fn from(map: BTreeMap<Uuid, $value>) -> Self {
                $name(map.into_iter().map(|(id, v)| (TopicId(id), v)).collect())
            }
        }
        impl From<$name> for BTreeMap<Uuid, $value> {
            fn from(map: $name) -> Self {
                map.0.into_iter().map(|(id, v)| (id.0, v)).collect()
            }
        }
    };
}
keyed_by_uuid!(AssignedPartitions, BTreeMap<i32, i32>);
keyed_by_uuid!(Target, BTreeSet<i32>);

impl AssignedPartitions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn epoch_of(&self, topic: &TopicId, partition: PartitionIndex) -> Option<i32> {
        self.0.get(topic)?.get(&partition).copied()
    }
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex, i32)> {
        self.0
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|(p, e)| (*topic, *p, *e)))
    }
    pub(crate) fn insert(&mut self, topic: TopicId, partition: PartitionIndex, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }
    pub(crate) fn same_partitions(&self, other: &AssignedPartitions) -> bool {
        self.iter()
            .map(|(t, p, _)| (t, p))
            .eq(other.iter().map(|(t, p, _)| (t, p)))
    }
}

impl Target {
    pub fn contains(&self, topic: &TopicId, partition: PartitionIndex) -> bool {
        self.0
            .get(topic)
            .is_some_and(|partitions| partitions.contains(&partition))
    }
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        self.0
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p)))
    }
    pub(crate) fn insert(&mut self, topic: TopicId, partition: PartitionIndex) {
        self.0.entry(topic).or_default().insert(partition);
    }
}

impl GroupRow {
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
    pub fn decode(value: &[u8]) -> Result<Self, UnreadableRow> {
        decode(value)
    }
}

impl MemberRow {
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
    pub fn decode(value: &[u8]) -> Result<Self, UnreadableRow> {
        decode(value)
    }
}

/// These types have only text keys and plain values, which JSON can always hold.
pub(crate) fn encode(row: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(row).unwrap_or_default())
}

pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, UnreadableRow> {
    Ok(serde_json::from_slice(value)?)
}

pub(crate) fn protocols_to_rows(protocols: &[Protocol]) -> Vec<ProtocolRow> {
    let row = |p: &Protocol| ProtocolRow {
        name: p.name.clone(),
        metadata: p.metadata.clone(),
    };
    protocols.iter().map(row).collect()
}

pub(crate) fn protocols_from_rows(rows: Vec<ProtocolRow>) -> Vec<Protocol> {
    rows.into_iter()
        .map(|row| Protocol {
            name: row.name,
            metadata: row.metadata,
        })
        .collect()
}

/// Bytes as hexadecimal text.
mod hex {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        let digits = b"0123456789abcdef";
        let digit = |n: u8| char::from(digits[usize::from(n & 15)]);
        let text: String = bytes
            .iter()
            .flat_map(|b| [digit(b >> 4), digit(*b)])
            .collect();
        to.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |b: u8| char::from(b).to_digit(16).map(|n| n as u8);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes
            .map(Bytes::from)
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}
