//! Which agent coordinates what.
use sh_base::{AgentId, ErrorCode, Failure, Org, rendezvous};

use crate::{Agent, Caller, Cluster, Node, Operation, Resource};

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorKind {
    /// A consumer group, by its id.
    Group,
    /// A transactional id.
    Transaction,
}

impl Cluster {
    /// The agent that should coordinate this key, by rendezvous hash over the living ones. Part of what agents agree on: all
    /// must compute the same.
    pub fn coordinator(&self, org: &Org, kind: CoordinatorKind, key: &str) -> Option<&Agent> {
        let kind = match kind {
            CoordinatorKind::Group => b'g',
            CoordinatorKind::Transaction => b't',
        };
        let weight = |agent: AgentId| {
            let fields = org.as_str().bytes().chain([0, kind]).chain(key.bytes());
            rendezvous::weight(fields, agent)
        };
        self.agents.iter().max_by_key(|agent| weight(agent.id))
    }
}

impl Node {
    /// FindCoordinator, for one key. Errors: `CoordinatorNotAvailable` (no agent is known to live, or the metadata store is
    /// away), `GroupAuthorizationFailed`.
    pub async fn coordinator(
        &self,
        caller: &Caller,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<Agent, Failure> {
        if kind == CoordinatorKind::Group {
            self.authorize(caller, Operation::Describe, Resource::Group(key))?;
        }
        self.show_internal(&caller.org, kind).await;
        let away = |text: String| Failure::new(ErrorCode::CoordinatorNotAvailable, text);
        let cluster = self.cluster().await.map_err(|e| away(e.message))?;
        let found = cluster.coordinator(&caller.org, kind, key).cloned();
        found.ok_or_else(|| away("no agent is known to be alive".into()))
    }
}
