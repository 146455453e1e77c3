//! The row that says who coordinates a group.
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::{Incarnation, Org};
use sh_meta::Key;

/// A group of an org.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    pub org: Org,
    pub group: Arc<str>,
}

impl GroupKey {
    pub fn new(org: &Org, group: &str) -> GroupKey {
        GroupKey {
            org: org.clone(),
            group: group.into(),
        }
    }
    pub fn coordinator(&self) -> Key {
        Key::GroupCoordinator(self.org.clone(), self.group.to_string())
    }
    pub fn row(&self) -> Key {
        Key::Group(self.org.clone(), self.group.to_string())
    }
    pub fn member(&self, id: &str) -> Key {
        Key::GroupMember(self.org.clone(), self.group.to_string(), id.to_owned())
    }
}

/// The value of [`Key::GroupCoordinator`]: which life of which agent, and in which coordinator epoch. The epoch rises at each
/// take-over, so that what a former coordinator still sends is recognized, even when the group came back to the same agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CoordinatorRow {
    pub agent: u32,
    pub epoch: u32,
    /// Hexadecimal, as in the agent's row.
    pub nonce: String,
    pub coordinator_epoch: u64,
}

impl CoordinatorRow {
    pub fn new(by: Incarnation, coordinator_epoch: u64) -> CoordinatorRow {
        CoordinatorRow {
            agent: by.agent.0,
            epoch: by.epoch,
            nonce: format!("{:016x}", by.nonce),
            coordinator_epoch,
        }
    }
    pub fn decode(value: &[u8]) -> Result<CoordinatorRow, serde_json::Error> {
        serde_json::from_slice(value)
    }
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
    /// Is it this life of this agent?
    pub fn is_of(&self, by: Incarnation) -> bool {
        *self == CoordinatorRow::new(by, self.coordinator_epoch)
    }
}
