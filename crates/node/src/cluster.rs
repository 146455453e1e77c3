//! The agents that clients see, and which of them a partition is best asked for.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sh_base::{AgentId, ErrorCode, Failure, TopicPartition, rendezvous};
use sh_log::{
    agent::{AgentRow, HEARTBEAT_BELIEVED},
    cluster::ClusterRow,
};
use sh_meta::{Family, Key, KeyRange};
use tokio::time::timeout;

use crate::{
    Node,
    control::{damaged, storage},
};

/// More agents than any cluster has.
const AGENTS_MAX: usize = 10_000;

/// A living agent, as clients see it: a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub id: AgentId,
    pub host: String,
    pub port: u16,
    /// Shown as the broker's rack.
    pub zone: Option<String>,
}

/// How long a list of agents is believed before the store is asked again.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long one caller waits for a newer list before it goes on with the old one.
const READING_MAX: Duration = Duration::from_secs(2);

/// The cluster as clients are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// 22 characters, as Kafka's.
    pub id: String,
    /// The living agents, by id.
    pub agents: Vec<Agent>,
}

/// The newest cluster that was read, and when (monotonic).
#[derive(Default)]
pub struct ClusterCache {
    newest: Mutex<Option<(Duration, Arc<Cluster>)>>,
    /// An agent was heard of that the newest one does not show as it is.
    outdated: AtomicBool,
    signs: Mutex<Signs>,
    /// Held by who reads it anew. The others go on with the old one meanwhile: heartbeats of groups need no metadata store,
    /// and must not seem to stop when it is away.
    reading: tokio::sync::Mutex<()>,
}

impl ClusterCache {
    fn known(&self) -> Option<Arc<Cluster>> {
        let newest = self.newest.lock();
        newest.as_ref().map(|(_, cluster)| cluster.clone())
    }

    fn fresh(&self, now: Duration) -> Option<Arc<Cluster>> {
        if self.outdated.load(Ordering::Relaxed) {
            return None;
        }
        let newest = self.newest.lock();
        let fresh = newest
            .as_ref()
            .filter(|(read, _)| now.saturating_sub(*read) < BELIEVED);
        fresh.map(|(_, cluster)| cluster.clone())
    }

    /// An agent's row, in any order: one that came, went or moved makes the list be read anew, once.
    pub(crate) fn hear(&self, id: AgentId, row: &AgentRow) {
        let Some(cluster) = self.known() else {
            return;
        };
        let shown = cluster.agents.iter().find(|a| a.id == id);
        let as_it_is = |a: &Agent| a.host == row.host && a.port == row.port && a.zone == row.zone;
        if shown.is_some_and(as_it_is) != row.serving {
            self.outdated.store(true, Ordering::Relaxed);
        }
    }
}

/// When each agent gave its last sign of life, on the reader's own monotonic clock.
///
/// **Whose clock is right does not decide who lives**: agents whose clocks differ, or jump, must still agree on the living, or
/// each group would have two coordinators that take it from each other. A heartbeat that has changed was given since the
/// rows were read before, whatever it says; only of an agent that is seen for the first time nothing better is known than
/// what its row says.
#[derive(Default)]
struct Signs {
    read: Duration,
    last: HashMap<AgentId, Sign>,
}

#[derive(Clone, Copy)]
struct Sign {
    /// What it was: epoch, and heartbeat on the agent's own clock.
    beat: (u32, i64),
    seen: Duration,
    /// How old it was then, at most.
    age: Duration,
}

impl Signs {
    /// The rows as they are at `now`, which is `now_ms` on the wall clock.
    fn see(&mut self, rows: &[(AgentId, AgentRow)], now: Duration, now_ms: i64) {
        let unread = now.saturating_sub(self.read);
        let mut last = HashMap::new();
        for (id, row) in rows {
            let beat = (row.epoch, row.heartbeat_ms);
            let told = now_ms.saturating_sub(row.heartbeat_ms);
            let told = Duration::from_millis(u64::try_from(told).unwrap_or(0));
            let age = match self.last.get(id) {
                Some(known) if known.beat == beat => {
                    last.insert(*id, *known);
                    continue;
                }
                Some(_) => told.min(unread),
                None => told,
            };
            let seen = now;
            last.insert(*id, Sign { beat, seen, age });
        }
        (self.read, self.last) = (now, last);
    }

    fn is_believed(&self, id: AgentId, now: Duration) -> bool {
        let silent = |s: &Sign| now.saturating_sub(s.seen).saturating_add(s.age);
        self.last
            .get(&id)
            .is_some_and(|s| silent(s) < HEARTBEAT_BELIEVED)
    }
}

impl Cluster {
    /// Who stands for the controller: the lowest id. Every agent takes every request.
    pub fn controller(&self) -> Option<AgentId> {
        self.agents.first().map(|a| a.id)
    }

    /// **Affinity**: the agent that clients of this zone should ask for a partition, by rendezvous hash, so that heads are seldom
    /// contended (DESIGN 10). Agents of the client's zone go first. Any other agent serves the partition as well.
    pub fn leader(&self, tp: TopicPartition, zone: Option<&str>) -> Option<AgentId> {
        let near = |a: &&Agent| zone.is_some() && a.zone.as_deref() == zone;
        let weight = |a: &&Agent| weight(tp, a.id);
        let nearest = self.agents.iter().filter(near).max_by_key(weight);
        nearest
            .or_else(|| self.agents.iter().max_by_key(weight))
            .map(|a| a.id)
    }
}

/// The agents that clients are told of: those that serve and gave a sign of life; this one needs none. Where nobody is left (it starts,
/// or drains alone) it is told of all the same: clients had better ask it again than lose the cluster.
fn living(
    rows: Vec<(AgentId, AgentRow)>,
    own: AgentId,
    is_believed: impl Fn(AgentId) -> bool,
) -> Vec<Agent> {
    let told = |(id, row): &(AgentId, AgentRow)| row.serving && (*id == own || is_believed(*id));
    let anybody = rows.iter().any(told);
    let shown = rows.into_iter().filter(|pair| match anybody {
        true => told(pair),
        false => pair.0 == own,
    });
    let agent = |(
        id,
        AgentRow {
            host, port, zone, ..
        },
    )| Agent {
        id,
        host,
        port,
        zone,
    };
    shown.map(agent).collect()
}

fn weight(tp: TopicPartition, agent: AgentId) -> u64 {
    let topic = tp.topic.0.as_bytes().iter().copied();
    rendezvous::weight(topic.chain(tp.partition.to_be_bytes()), agent)
}

impl Node {
    /// The cluster, at most a second old; older only while the store is away. It has an agent always, once this one has registered.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, Failure> {
        let cache = &self.0.cluster;
        if let Some(cluster) = cache.fresh(self.env().mono()) {
            return Ok(cluster);
        }
        let _reading = match (cache.reading.try_lock(), cache.known()) {
            (Ok(reading), _) => reading,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => cache.reading.lock().await,
        };
        let now = self.env().mono();
        if let Some(cluster) = cache.fresh(now) {
            return Ok(cluster);
        }
        // Before the rows are read: what is heard meanwhile makes them be read again.
        cache.outdated.store(false, Ordering::Relaxed);
        let away = || Failure::new(ErrorCode::StorageUnavailable, "the metadata store is slow");
        let read = timeout(READING_MAX, self.read_cluster()).await;
        match (read.unwrap_or_else(|_| Err(away())), cache.known()) {
            (Ok(cluster), _) => {
                let cluster = Arc::new(cluster);
                *cache.newest.lock() = Some((now, cluster.clone()));
                Ok(cluster)
            }
            (Err(e), Some(old)) => {
                tracing::warn!(error = %e, "the list of agents could not be read; going on with an older one");
                Ok(old)
            }
            (Err(e), None) => Err(e),
        }
    }

    async fn read_cluster(&self) -> Result<Cluster, Failure> {
        let row = self.row(Key::Cluster).await?;
        let row = row.value.map(|v| serde_json::from_slice::<ClusterRow>(&v));
        let id = row
            .transpose()
            .map_err(|e| damaged("cluster row", e))?
            .map(|row| row.cluster_id);
        let range = KeyRange::family(Family::Agent);
        let rows = self
            .store()
            .scan(range, AGENTS_MAX, false)
            .await
            .map_err(storage)?;
        let agents = rows
            .iter()
            .filter_map(|(key, row)| match (key, &row.value) {
                (Key::Agent(id), Some(value)) => Some((*id, AgentRow::decode(value).ok()?)),
                _ => None,
            });
        let (agents, now) = (Vec::from_iter(agents), self.env().mono());
        let mut signs = self.0.cluster.signs.lock();
        signs.see(&agents, now, self.env().wall_ms());
        let agents = living(agents, self.agent(), |id| signs.is_believed(id, now));
        Ok(Cluster {
            id: id.unwrap_or_default(),
            agents,
        })
    }
}

#[cfg(test)]
mod tests {
    use sh_base::TopicId;

    use super::*;

    fn cluster(zones: &[Option<&str>]) -> Cluster {
        let agent = |(id, zone): (u32, &Option<&str>)| Agent {
            id: AgentId(id),
            host: "127.0.0.1".into(),
            port: 9092,
            zone: zone.map(str::to_owned),
        };
        Cluster {
            id: String::new(),
            agents: (0..).zip(zones).map(agent).collect(),
        }
    }

    fn row(serving: bool, heartbeat_ms: i64) -> AgentRow {
        AgentRow {
            epoch: 1,
            nonce: String::new(),
            host: "127.0.0.1".into(),
            port: 9092,
            zone: None,
            http: None,
            heartbeat_ms,
            serving,
            needs_from: (0, 0),
        }
    }

    #[test]
    fn an_agent_that_drains_is_told_of_only_while_there_is_no_other() {
        let told = |rows: [(bool, bool); 2]| {
            let believed = |id: AgentId| rows[id.0 as usize].1;
            let rows = (0..)
                .map(AgentId)
                .zip(rows.map(|(serving, _)| row(serving, 0)));
            let agents = living(rows.collect(), AgentId(0), believed);
            Vec::from_iter(agents.into_iter().map(|a| a.id.0))
        };
        let (fresh, stale) = (true, false);
        assert_eq!(told([(true, fresh), (true, fresh)]), [0, 1]);
        assert_eq!(told([(true, stale), (true, stale)]), [0]);
        assert_eq!(told([(false, fresh), (true, fresh)]), [1]);
        assert_eq!(told([(false, fresh), (false, fresh)]), [0]);
    }

    /// What an agent believes that reads the row of another each second, from these heartbeats on.
    fn believes(signs: &mut Signs, second: u64, heartbeat_ms: i64) -> bool {
        let now = Duration::from_secs(second);
        let now_ms = 1_700_000_000_000 + i64::try_from(now.as_millis()).unwrap();
        let rows = [(AgentId(1), row(true, now_ms + heartbeat_ms))];
        signs.see(&rows, now, now_ms);
        signs.is_believed(AgentId(1), now)
    }

    #[test]
    fn an_agent_lives_while_its_heartbeat_changes_whatever_its_clock_says() {
        const HOUR_MS: i64 = 3_600_000;
        for skew_ms in [-HOUR_MS, 0, HOUR_MS] {
            let mut signs = Signs::default();
            believes(&mut signs, 1_000, skew_ms);
            for second in [1_003, 1_006, 1_009] {
                assert!(believes(&mut signs, second, skew_ms), "{skew_ms}");
            }
            // Its last heartbeat stays what it was. That of a slow clock may be up to 3 s old when it is seen.
            for silent in [1, 6, 10, 11_u32] {
                let heartbeat_ms = skew_ms - 1_000 * i64::from(silent);
                let alive = believes(&mut signs, 1_009 + u64::from(silent), heartbeat_ms);
                assert_eq!(alive, silent < 10, "{skew_ms} {silent}");
            }
        }
    }

    #[test]
    fn an_agent_that_is_seen_for_the_first_time_is_as_old_as_it_says() {
        assert!(believes(&mut Signs::default(), 1_000, -9_000));
        assert!(!believes(&mut Signs::default(), 1_000, -10_000));
    }

    /// Nobody asked for a long time: the heartbeat has changed, but long ago.
    #[test]
    fn a_change_that_was_not_watched_is_as_old_as_it_says() {
        let mut signs = Signs::default();
        assert!(believes(&mut signs, 1_000, 0));
        assert!(!believes(&mut signs, 1_100, -50_000));
        assert!(believes(&mut signs, 1_200, -5_000));
    }

    fn leaders(cluster: &Cluster, zone: Option<&str>) -> Vec<u32> {
        let topic = TopicId(uuid::Uuid::from_u128(7));
        let leader = |p| {
            cluster
                .leader(TopicPartition::new(topic, p), zone)
                .unwrap()
                .0
        };
        (0..1_000).map(leader).collect()
    }

    #[test]
    fn partitions_spread_evenly_and_stay_when_an_agent_comes() {
        let before = leaders(&cluster(&[None; 4]), None);
        for agent in 0..4 {
            let share = before.iter().filter(|l| **l == agent).count();
            assert!(
                (200..300).contains(&share),
                "agent {agent} has {share} of 1000"
            );
        }
        let after = leaders(&cluster(&[None; 5]), None);
        assert!(before.iter().zip(&after).all(|(b, a)| a == b || *a == 4));
    }

    #[test]
    fn a_client_is_sent_to_its_own_zone() {
        let cluster = cluster(&[Some("a"), Some("b"), Some("a")]);
        assert!(leaders(&cluster, Some("b")).iter().all(|l| *l == 1));
        assert!(leaders(&cluster, Some("elsewhere")).contains(&0));
    }
}
