//! The words the tests are written in.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sh_base::{AgentId, Clock, Env, Incarnation, ObjectId, Offset, Rng, TopicId, TopicPartition};

use crate::{
    Apply, Decision, FeedEntry, Key, Lane, LaneId, MetaError, MetaStore, Plan, Request, Update,
    View, Write,
};

pub type Store = Arc<dyn MetaStore>;

/// How long a lane of a story keeps asking.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that stands still and numbers that look random (SplitMix64).
pub fn env(seed: u64) -> Env {
    Env {
        clock: Arc::new(Still),
        rng: Arc::new(Numbers(AtomicU64::new(seed))),
    }
}

struct Still;

impl Clock for Still {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }
    fn mono(&self) -> Duration {
        Duration::ZERO
    }
}

struct Numbers(AtomicU64);

impl Rng for Numbers {
    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub fn incarnation(agent: u32) -> Incarnation {
    Incarnation {
        agent: AgentId(agent),
        epoch: 1,
        nonce: 0xfeed,
    }
}

pub fn lane_id(agent: u32) -> LaneId {
    LaneId {
        by: incarnation(agent),
        lane: 0,
    }
}

/// The first lane of an agent, which has written nothing yet.
pub fn lane(store: &Store, agent: u32) -> Lane {
    Lane::new(store.clone(), env(u64::from(agent)), lane_id(agent), 0)
}

pub fn partition(n: i32) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), n)
}

pub fn head(n: i32) -> Key {
    Key::Head(partition(n))
}

pub fn extent(n: i32, base: Offset) -> Key {
    Key::Extent(partition(n), base)
}

pub fn object(seq: u64) -> Key {
    Key::Object(ObjectId {
        by: incarnation(0),
        seq,
    })
}

pub fn agent(n: u32) -> Key {
    Key::Agent(AgentId(n))
}

pub fn counter(name: &str) -> Key {
    Key::Counter(name.into())
}

pub fn text(text: impl ToString) -> Bytes {
    text.to_string().into()
}

/// Writes a locked row.
pub fn put(key: &Key, value: impl ToString) -> Write {
    Write {
        key: key.clone(),
        value: Some(text(value)),
        version: None,
    }
}

pub fn delete(key: &Key) -> Write {
    Write {
        key: key.clone(),
        value: None,
        version: None,
    }
}

/// Writes a row that a locked row covers, at that row's new version.
pub fn covered(key: &Key, value: impl ToString, version: u64) -> Write {
    Write {
        key: key.clone(),
        value: Some(text(value)),
        version: Some(version),
    }
}

pub fn decide(writes: Vec<Write>, reply: impl ToString) -> Decision {
    Decision {
        writes,
        reply: text(reply),
    }
}

/// A row that counts: its number, 0 when absent.
pub fn number(view: &View, key: &Key) -> u64 {
    view.value(key).map_or(0, parse)
}

pub fn parse(value: &Bytes) -> u64 {
    String::from_utf8_lossy(value)
        .parse()
        .expect("a row that counts")
}

pub fn locking(keys: &[&Key]) -> Plan {
    Plan {
        locks: keys.iter().map(|key| (*key).clone()).collect(),
        ..Plan::default()
    }
}

pub fn request(agent: u32, seq: u64) -> Request {
    Request {
        lane: lane_id(agent),
        seq,
    }
}

/// A bare update, for stories about requests; others use a lane.
pub fn update(
    request: Request,
    locks: &[&Key],
    apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
) -> Update {
    let Plan {
        locks,
        shares,
        reads,
        scans,
    } = locking(locks);
    let apply: Apply = Arc::new(apply);
    Update {
        request,
        locks,
        shares,
        reads,
        scans,
        apply,
    }
}

/// Runs an update that must succeed.
pub async fn commit(
    lane: &Lane,
    plan: Plan,
    apply: impl Fn(&View) -> Decision + Send + Sync + 'static,
) -> FeedEntry {
    lane.update(plan, PATIENCE, apply)
        .await
        .expect("the update commits")
}

/// Sets one row.
pub async fn set(lane: &Lane, key: &Key, value: impl ToString) -> FeedEntry {
    let (key, value) = (key.clone(), value.to_string());
    commit(lane, locking(&[&key]), move |_| {
        decide(vec![put(&key, &value)], "set")
    })
    .await
}

/// Adds one to each of the rows, in one update.
pub async fn add_one(lane: &Lane, keys: Vec<Key>) -> Result<FeedEntry, MetaError> {
    let plan = Plan {
        locks: keys.clone(),
        ..Plan::default()
    };
    let apply = move |view: &View| {
        decide(
            keys.iter()
                .map(|key| put(key, number(view, key) + 1))
                .collect(),
            "added",
        )
    };
    lane.update(plan, PATIENCE, apply).await
}

pub async fn value(store: &Store, key: &Key) -> Option<String> {
    let rows = store
        .get(std::slice::from_ref(key))
        .await
        .expect("the row is read");
    rows[0]
        .value
        .as_ref()
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

pub async fn version(store: &Store, key: &Key) -> u64 {
    store
        .get(std::slice::from_ref(key))
        .await
        .expect("the row is read")[0]
        .version
}
