//! The assignors of KIP-848: pure functions from subscriptions to partitions.
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use sh_base::{PartitionIndex, TopicId};

use crate::row::Target;

/// A way to spread partitions over members, by the name that clients ask for (`group.remote.assignor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// As equal as the subscriptions allow, moving as little as that needs.
    Uniform,
    /// Neighbouring partitions of each topic; the same ranges of all topics go to the same member, so that topics with
    /// equal partitioning can be joined.
    Range,
}

impl Assignor {
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
    pub fn by_name(name: &str) -> Option<Assignor> {
        Assignor::ALL
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    /// The target of every member of `subscribers`.
    pub fn assign(
        self,
        subscribers: &BTreeMap<String, Subscriber>,
        partitions: &BTreeMap<TopicId, PartitionIndex>,
    ) -> BTreeMap<String, Target> {
        match self {
            Assignor::Uniform => uniform::assign(subscribers, partitions),
            Assignor::Range => range::assign(subscribers, partitions),
        }
    }
}

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub struct Subscriber {
    pub instance_id: Option<String>,
    pub topics: BTreeSet<TopicId>,
    /// What it was to have until now.
    pub target: Target,
}

#[cfg(test)]
mod tests;
