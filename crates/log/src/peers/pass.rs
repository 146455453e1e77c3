//! Whom an agent lets in as another agent of its cluster.
use std::fmt;

use sh_base::AgentId;
use sh_meta::{Decision, Key, Lane, MetaError, Plan, View, Write};
use std::time::Duration;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::cluster::ClusterFile;

/// The row that holds it.
const ROW: &str = "peers";
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agents of a cluster show each other: 64 hexadecimal digits, kept in the metadata store and nowhere else. Who can
/// read that store is trusted with the cluster anyway.
#[derive(Clone)]
pub struct PeerSecret(String);

impl PeerSecret {
    /// Of 32 bytes that nobody can guess: from the system's source of secrets, not from an [`sh_base::Env`].
    pub fn of(random: [u8; 32]) -> PeerSecret {
        PeerSecret(random.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// In time that does not tell where a wrong guess differs.
    fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The cluster's secret; if it has none yet, `candidate` becomes it. Of agents that start at once, one wins.
pub async fn shared_secret(lane: &Lane, candidate: PeerSecret) -> Result<PeerSecret, MetaError> {
    let key = Key::Secret(ROW.into());
    let plan = Plan {
        locks: vec![key.clone()],
        ..Plan::default()
    };
    let decide = move |view: &View| match view.value(&key) {
        Some(kept) => Decision {
            writes: Vec::new(),
            reply: kept.clone(),
        },
        None => Decision {
            writes: vec![Write {
                key: key.clone(),
                value: Some(candidate.0.clone().into()),
                version: None,
            }],
            reply: candidate.0.clone().into(),
        },
    };
    let entry = lane.update(plan, PATIENCE, decide).await?;
    let text = String::from_utf8(entry.reply.to_vec());
    let damaged = |_| MetaError::Definite(format!("the row of the secret {ROW} is not text"));
    Ok(PeerSecret(text.map_err(damaged)?))
}

/// What an agent shows with each request to another one, and what it wants to be shown.
#[derive(Clone, Debug)]
pub struct Pass {
    secret: PeerSecret,
    cluster_id: String,
    generation: Uuid,
}

/// Why a request of another agent is refused. It does not say more: who knows the secret can look at the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("this is for agents of the cluster only")]
    Unknown,
    #[error("this agent is of another cluster or generation")]
    OtherCluster,
    #[error(
        "the request is for another agent: check the addresses that agents advertise to each other"
    )]
    OtherAgent,
}

impl Pass {
    pub fn new(secret: PeerSecret, cluster: &ClusterFile) -> Pass {
        Pass {
            secret,
            cluster_id: cluster.cluster_id.clone(),
            generation: cluster.generation,
        }
    }

    /// The value of `authorization`.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.secret.0)
    }

    /// The value of [`Pass::CLUSTER_HEADER`].
    pub fn cluster(&self) -> String {
        format!("{}/{}", self.cluster_id, self.generation)
    }

    /// Names cluster and generation, as in `MkU3OEVBNTcwNTJENDM2Qg/6f9619ff-...`.
    pub const CLUSTER_HEADER: &str = "streamhouse-cluster";
    /// Names the agent that is meant, by its id.
    pub const AGENT_HEADER: &str = "streamhouse-agent";

    /// **Who is let in**: whoever shows the secret of this cluster, speaks of the same generation of its metadata store, and
    /// means this agent. `None` is a header that is absent.
    pub fn admit(
        &self,
        me: AgentId,
        authorization: Option<&str>,
        cluster: Option<&str>,
        agent: Option<&str>,
    ) -> Result<(), NotAdmitted> {
        let shown = authorization.and_then(|value| value.strip_prefix("Bearer "));
        if !self.secret.is(shown.unwrap_or_default()) {
            return Err(NotAdmitted::Unknown);
        }
        if cluster != Some(&self.cluster()) {
            return Err(NotAdmitted::OtherCluster);
        }
        match agent.and_then(|id| id.parse().ok()) == Some(me.0) {
            true => Ok(()),
            false => Err(NotAdmitted::OtherAgent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sh_meta::MemoryStore;

    use super::*;
    use crate::{agent::boot_lane, test_env::test_env};

    fn pass(secret: u8, generation: u128) -> Pass {
        let file = ClusterFile {
            cluster_id: "cluster".into(),
            generation: Uuid::from_u128(generation),
            generation_number: 1,
            store: "store".into(),
        };
        Pass::new(PeerSecret::of([secret; 32]), &file)
    }

    #[test]
    fn only_agents_of_this_cluster_and_generation_that_mean_this_agent_are_let_in() {
        let ours = pass(1, 1);
        let shows = |other: &Pass, agent: &str| {
            let (secret, cluster) = (other.authorization(), other.cluster());
            ours.admit(AgentId(3), Some(&secret), Some(&cluster), Some(agent))
        };
        assert_eq!(shows(&pass(1, 1), "3"), Ok(()));
        assert_eq!(shows(&pass(2, 1), "3"), Err(NotAdmitted::Unknown));
        assert_eq!(shows(&pass(1, 2), "3"), Err(NotAdmitted::OtherCluster));
        assert_eq!(shows(&pass(1, 1), "4"), Err(NotAdmitted::OtherAgent));
        let cluster = ours.cluster();
        for nothing in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Basic x"),
        ] {
            let admitted = ours.admit(AgentId(3), nothing, Some(&cluster), Some("3"));
            assert_eq!(admitted, Err(NotAdmitted::Unknown));
        }
        assert!(!format!("{ours:?}").contains("0101"), "it is not printed");
    }

    #[tokio::test]
    async fn agents_that_start_at_once_agree_on_one_secret() {
        let (store, env) = (Arc::new(MemoryStore::new("one")), test_env());
        let (a, b) = (boot_lane(store.clone(), &env), boot_lane(store, &env));
        let (a, b) = tokio::join!(
            shared_secret(&a, PeerSecret::of([1; 32])),
            shared_secret(&b, PeerSecret::of([2; 32]))
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.is(&b.0) && a.0.len() == 64);
    }
}
