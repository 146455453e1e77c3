//! An agent's row: who it is, where it listens, and the epoch that fences its former lives.
//!
//! At a start the epoch is bumped *before* any fate is read: the bump waits for commits that are running and fences those
//! that are late (model: `aw_look_first`, `bug_no_epoch`).
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::{AgentId, Env, Incarnation, ObjectId};
use sh_meta::{Decision, Key, Lane, LaneId, MetaError, MetaStore, Plan, View, Write};

use crate::mutant;

/// The row of [`Key::Agent`], JSON.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct AgentRow {
    pub epoch: u32,
    /// Hexadecimal, as in object keys.
    pub nonce: String,
    /// Where Kafka clients reach it.
    pub host: String,
    pub port: u16,
    pub zone: Option<String>,
    /// Where other agents reach it, HOST:PORT. Rows of former versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Wall clock of its last sign of life, milliseconds.
    pub heartbeat_ms: i64,
    /// False from a clean stop to the next start.
    pub serving: bool,
    /// "I need none of my object ids before this (epoch, seq) any more" (model: `Done`).
    pub needs_from: (u32, u64),
}

/// How old an id is among those of its agent; what [`AgentRow::needs_from`] counts by.
pub fn age(id: ObjectId) -> (u32, u64) {
    (id.by.epoch, id.seq)
}

/// How often an agent shows that it lives, and how long the others believe it without. Clients are sent to a dead agent for as
/// long as it is believed (Apache Kafka's `broker.session.timeout.ms` is 9 s).
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
pub const HEARTBEAT_BELIEVED: Duration = Duration::from_secs(10);
/// An agent that has no others to show it to beats more slowly.
pub const LONE_HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

/// The lane of window commits, and the one of everything else.
pub const COMMIT_LANE: u8 = 0;
pub const CONTROL_LANE: u8 = 1;
/// The lane of changes of consumer groups: many small ones, which nothing else should wait for.
pub const GROUP_LANE: u8 = 2;

/// The lanes of transactions: each transactional id has one of them, so that the ends of different ones need not wait for each
/// other.
pub const TRANSACTION_LANES: [u8; 4] = [16, 17, 18, 19];

/// Where an agent is reached.
#[derive(Clone, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub zone: Option<String>,
    /// For other agents, HOST:PORT; `None` where they cannot reach it.
    pub http: Option<String>,
}

impl AgentRow {
    pub fn decode(value: &[u8]) -> Result<AgentRow, serde_json::Error> {
        serde_json::from_slice(value)
    }
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
    /// Is this incarnation the newest life of its agent?
    pub fn is_current(value: Option<&Bytes>, by: &Incarnation) -> bool {
        value
            .and_then(|v| AgentRow::decode(v).ok())
            .is_some_and(|row| row.is(by))
    }
    fn is(&self, by: &Incarnation) -> bool {
        self.epoch == by.epoch && self.nonce == format!("{:016x}", by.nonce)
    }
    /// **The row of one of its ids may be forgotten only when the agent has written that it needs it no more** (model:
    /// `Forget`), once the object is gone. That the id's life is over is not enough (`aw_forget_fenced`): the next one replays
    /// its WAL.
    pub fn may_forget(&self, id: ObjectId) -> bool {
        let fenced = mutant::is("forget_fenced") && id.by.epoch < self.epoch;
        age(id) < self.needs_from || fenced || mutant::is("forget_any")
    }
    /// Does it take clients, as far as somebody can tell who looks at the row once?
    pub fn is_alive(&self, now_ms: i64) -> bool {
        let silent_ms = u128::try_from(now_ms.saturating_sub(self.heartbeat_ms)).unwrap_or(0);
        self.serving && silent_ms < HEARTBEAT_BELIEVED.as_millis()
    }
}

/// A lane for what an agent does before it has an incarnation: its name is drawn, so it never meets another.
pub fn boot_lane(store: Arc<dyn MetaStore>, env: &Env) -> Lane {
    let by = Incarnation {
        agent: AgentId(u32::MAX),
        epoch: 0,
        nonce: env.next_u64(),
    };
    Lane::new(
        store,
        env.clone(),
        LaneId {
            by,
            lane: CONTROL_LANE,
        },
        0,
    )
}

/// Allocates the next agent id, counted from 0, never given twice.
pub async fn allocate_id(lane: &Lane, patience: Duration) -> Result<AgentId, MetaError> {
    let key = Key::Counter("agent-id".into());
    let plan = Plan {
        locks: vec![key.clone()],
        ..Plan::default()
    };
    let entry = lane
        .update(plan, patience, move |view| take_next(view, &key))
        .await?;
    let text = String::from_utf8_lossy(&entry.reply).into_owned();
    let id = text
        .parse()
        .map_err(|_| MetaError::Definite(format!("the counter agent-id holds {text:?}")))?;
    Ok(AgentId(id))
}

/// Takes the next number of a counter row (decimal text).
fn take_next(view: &View, key: &Key) -> Decision {
    let stored = view
        .value(key)
        .and_then(|v| std::str::from_utf8(v).ok()?.parse::<u64>().ok());
    let next = stored.unwrap_or(0);
    let write = |n: u64| Write {
        key: key.clone(),
        value: Some(n.to_string().into()),
        version: None,
    };
    Decision {
        writes: vec![write(next + 1)],
        reply: next.to_string().into(),
    }
}

/// **A new life**: bumps the epoch under the exclusive lock of the row and draws the nonce (model: `Bump`).
pub async fn begin_life(
    lane: &Lane,
    env: &Env,
    id: AgentId,
    address: &Address,
    patience: Duration,
) -> Result<(Incarnation, AgentRow), MetaError> {
    let key = Key::Agent(id);
    let nonce = if mutant::is("no_nonce") {
        0
    } else {
        env.next_u64()
    };
    let (now_ms, address) = (env.wall_ms(), address.clone());
    let plan = Plan {
        locks: vec![key.clone()],
        ..Plan::default()
    };
    let bump = move |view: &View| {
        let old = view.value(&key).and_then(|v| AgentRow::decode(v).ok());
        let row = AgentRow {
            epoch: old.as_ref().map_or(1, |row| row.epoch + 1),
            nonce: format!("{nonce:016x}"),
            host: address.host.clone(),
            port: address.port,
            zone: address.zone.clone(),
            http: address.http.clone(),
            heartbeat_ms: now_ms,
            serving: false,
            needs_from: old.map_or((0, 0), |row| row.needs_from),
        };
        let write = Write {
            key: key.clone(),
            value: Some(row.encode()),
            version: None,
        };
        Decision {
            writes: vec![write],
            reply: row.encode(),
        }
    };
    let entry = lane.update(plan, patience, bump).await?;
    let row = AgentRow::decode(&entry.reply).map_err(|e| MetaError::Definite(e.to_string()))?;
    Ok((
        Incarnation {
            agent: id,
            epoch: row.epoch,
            nonce,
        },
        row,
    ))
}

/// The outcome of a change to one's own row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRow {
    Written,
    /// A newer life of this agent has the row: this one must stop.
    Fenced,
}

/// Changes one's own row, if it is still one's own: heartbeats, `serving`, `needs_from`.
pub async fn change_own_row(
    lane: &Lane,
    me: Incarnation,
    patience: Duration,
    change: impl Fn(&mut AgentRow) + Send + Sync + 'static,
) -> Result<OwnRow, MetaError> {
    let key = Key::Agent(me.agent);
    let plan = Plan {
        locks: vec![key.clone()],
        ..Plan::default()
    };
    let apply = move |view: &View| {
        let own = view
            .value(&key)
            .and_then(|v| AgentRow::decode(v).ok())
            .filter(|row| row.is(&me));
        let Some(mut row) = own else {
            return Decision::default();
        };
        change(&mut row);
        let write = Write {
            key: key.clone(),
            value: Some(row.encode()),
            version: None,
        };
        Decision {
            writes: vec![write],
            reply: Bytes::new(),
        }
    };
    let entry = lane.update(plan, patience, apply).await?;
    Ok(if entry.changes.is_empty() {
        OwnRow::Fenced
    } else {
        OwnRow::Written
    })
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use sh_base::ObjectId;
    use sh_blob::keys::ObjectKey;
    use sh_meta::MemoryStore;

    use super::*;
    use crate::test_env::test_env;

    /// The first window of the life that follows a start on this store.
    fn first_key(store: MemoryStore, env: &Env) -> String {
        let lane = boot_lane(Arc::new(store), env);
        let address = Address {
            host: "h".into(),
            port: 1,
            zone: None,
            http: None,
        };
        let begun = block_on(begin_life(
            &lane,
            env,
            AgentId(1),
            &address,
            Duration::from_secs(1),
        ));
        ObjectKey::L0(ObjectId {
            by: begun.unwrap().0,
            seq: 1,
        })
        .to_string()
    }

    /// Model: `aw_store_key`. A store that went back gives an epoch a second time.
    #[test]
    fn two_lives_of_one_epoch_never_share_a_key() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (store, env) = (MemoryStore::new("one"), test_env());
        let back = store.copy();
        let keys = |store: &MemoryStore, back: &MemoryStore| {
            (first_key(store.copy(), &env), first_key(back.copy(), &env))
        };
        let (before, after) = keys(&store, &back);
        assert_ne!(before, after);
        let (before, after) = crate::mutant::with("no_nonce", || keys(&store, &back));
        assert_eq!(before, after, "nothing but the nonce tells them apart");
    }

    #[test]
    fn a_row_of_a_former_version_is_read_and_names_no_address_for_other_agents() {
        let old = br#"{"epoch":1,"nonce":"0000000000000007","host":"h","port":9092,"zone":null,"heartbeat_ms":5,
            "serving":true,"needs_from":[0,0]}"#;
        let row = AgentRow::decode(old).unwrap();
        assert_eq!((row.port, row.http), (9092, None));
    }

    #[test]
    fn a_row_may_be_forgotten_only_from_before_what_its_agent_needs() {
        let mut row = AgentRow {
            epoch: 3,
            nonce: String::new(),
            host: String::new(),
            port: 0,
            zone: None,
            http: None,
            heartbeat_ms: 0,
            serving: true,
            needs_from: (2, 5),
        };
        let id = |epoch, seq| ObjectId {
            by: Incarnation {
                agent: AgentId(1),
                epoch,
                nonce: 9,
            },
            seq,
        };
        assert!(row.may_forget(id(1, 900)) && row.may_forget(id(2, 4)));
        assert!(!row.may_forget(id(2, 5)) && !row.may_forget(id(3, 1)));
        row.needs_from = (0, 0);
        assert!(!row.may_forget(id(1, 1)));
    }
}
