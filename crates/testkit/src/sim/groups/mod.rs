//! Consumer groups in the simulated world: members of both protocols that come, own partitions, commit offsets, fall silent and
//! come again, while their coordinators die, pause and take over.
mod classic;
mod consumer;
mod history;
mod member;
mod requests;

use serde::{Deserialize, Serialize};

use crate::torture::chance::Chance;
pub use history::{GroupAnomaly, GroupCounts, Groups};
pub(super) use member::Member;

/// A group, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// The protocol of each member.
    pub members: Vec<Protocol>,
    /// Of a hundred rounds of a member, after how many it goes, and comes again as another.
    pub goes: usize,
    /// Mean time between two commits of a member, milliseconds.
    pub pace_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat; all partitions are given back at each rebalance.
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupPlan {
    pub fn by_chance(c: &mut Chance) -> GroupPlan {
        let both = [Protocol::Classic, Protocol::Consumer];
        let kinds = match c.below(3) {
            0 => &both[..1],
            1 => &both[1..],
            // Members of both protocols in one group.
            _ => &both[..],
        };
        GroupPlan {
            members: (0..1 + c.below(3)).map(|_| c.one_of(kinds)).collect(),
            goes: c.one_of(&[0, 2, 10]),
            pace_ms: c.one_of(&[50, 300]),
        }
    }

    pub fn has_both_protocols(&self) -> bool {
        let first = self.members.first();
        self.members.iter().any(|member| Some(member) != first)
    }
}

pub fn name_of(group: usize) -> String {
    format!("members-{group}")
}
