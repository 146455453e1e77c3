//! What a coordinator knows of the topics: an immutable view that the caller replaces when topics change.
use std::collections::{BTreeMap, BTreeSet};

use sh_base::{PartitionIndex, TopicId};

/// One topic as a coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    pub id: TopicId,
    /// Partitions are `0..partitions`.
    pub partitions: PartitionIndex,
}

/// All topics of the group's org, by name. Names that the org may not see must not be in it: regular expressions are
/// matched against all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: BTreeMap<TopicId, String>,
}

impl Topics {
    pub fn new(topics: impl IntoIterator<Item = (String, Topic)>) -> Self {
        let by_name: BTreeMap<_, _> = topics.into_iter().collect();
        let names = by_name
            .iter()
            .map(|(name, topic)| (topic.id, name.clone()))
            .collect();
        Topics { by_name, names }
    }
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }
    pub fn name(&self, id: &TopicId) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
    pub(crate) fn by_id(&self, id: &TopicId) -> Option<&Topic> {
        self.by_name.get(self.names.get(id)?)
    }

    /// A number that differs, for all purposes, when one of `names` came, went or grew. Stored with the group, so that a
    /// take-over sees whether anything changed meanwhile; it must therefore never depend on the build (FNV-1a, 64 bits).
    pub(crate) fn fingerprint(&self, names: &BTreeSet<String>) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for (name, topic) in names
            .iter()
            .filter_map(|name| Some((name, self.get(name)?)))
        {
            add(name.as_bytes());
            add(topic.id.0.as_bytes());
            add(&topic.partitions.to_be_bytes());
        }
        hash
    }
}
