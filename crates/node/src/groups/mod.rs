//! Consumer groups: who coordinates which, the machines of `sh_coord` and what drives them, and committed offsets.
//!
//! **A group belongs to the agent that holds its coordinator row.** Which agent should take it is a rendezvous hash over the
//! living ones; that is only advice. What is safe is the row: every change of a group locks it, checks that it still names
//! this agent and this coordinator epoch, and writes it.
mod committed;
mod listing;
mod load;
mod place;

use sh_coord::{Client, Command, GroupError, Reply};

use crate::{Caller, Node};

pub use committed::{CommittedPartition, CommittedTopic};
pub use listing::GroupFilter;
pub use place::CoordinatorKind;

impl Node {
    /// Asks one group. The answer is the group's, or a refusal in the same shape: `NotCoordinator` (another agent should be
    /// asked), `CoordinatorLoadInProgress`, `CoordinatorNotAvailable` (the metadata store is away),
    /// `GroupAuthorizationFailed`; of single topics `UnknownTopicOrPartition`.
    ///
    /// JoinGroup and SyncGroup wait as long as the group's rebalance takes. A caller that goes away leaves the request with
    /// the group.
    pub async fn group(
        &self,
        caller: &Caller,
        group: &str,
        client: Client,
        command: Command,
    ) -> Reply {
        let _ = (caller, group, client);
        Reply::refused(&command, GroupError::CoordinatorNotAvailable)
    }
}
