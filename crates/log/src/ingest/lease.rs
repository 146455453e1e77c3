//! Leases in the metadata store: pure functions over a head, and the calls that run them (DESIGN 5).
//!
//! A lease is an optimisation, never needed: whoever lost one is told at the commit. Clocks decide *when* one is taken over,
//! never what is safe.
use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use sh_base::{AgentId, Env, Incarnation, Offset, ProducerId, TopicPartition};
use sh_meta::{Decision, Key, KeyRange, Lane, MetaError, MetaStore, Plan, View, Write};
use tokio::time::sleep;

use super::part::HeldLease;
use crate::{
    agent::AgentRow,
    codec::Reader,
    row::{Head, Lease, ProducerState},
};

/// What came of asking for a lease.
#[derive(Clone, Debug)]
pub enum LeaseTaken {
    Held(HeldLease),
    /// The partition takes none: an open transaction, a deleted topic, too many producers, or this agent was fenced.
    NotNow,
    /// Another agent has one.
    Foreign,
}

/// A partition with more producers than this takes no lease: its holder would have to keep them all in memory.
const LEASE_PRODUCERS_MAX: usize = 10_000;
/// How long one call to the store may take before it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often a partition that another agent holds is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A holder that has not answered for this long, by the taker's own monotonic clock, is gone.
const LEASE_LIFE: Duration = Duration::from_secs(10);

/// Takes the lease: next offset and producers come with it, and nobody else can change them while it is held.
pub async fn take_lease(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    me: Incarnation,
    tp: TopicPartition,
) -> LeaseTaken {
    loop {
        match try_take(store, lane, me, tp).await {
            Ok(taken) => return taken,
            Err(MetaError::Foreign(_)) => return LeaseTaken::NotNow,
            Err(why) => {
                tracing::warn!(partition = ?tp, %why, "asking again for a lease");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

pub(super) async fn try_take(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    me: Incarnation,
    tp: TopicPartition,
) -> Result<LeaseTaken, MetaError> {
    let entry = lane
        .update(plan(me, tp), PATIENCE, move |view| take(view, me, tp))
        .await?;
    let Some((epoch, next_offset, log_start)) = read_taken(&entry.reply) else {
        let foreign = entry.reply.as_ref() == FOREIGN;
        return Ok(if foreign {
            LeaseTaken::Foreign
        } else {
            LeaseTaken::NotNow
        });
    };
    let Some(producers) = read_producers(store, tp).await? else {
        // Kept, it would make other agents wait for a holder that does not know of it.
        release_lease(lane, me, tp, epoch).await;
        return Ok(LeaseTaken::NotNow);
    };
    let last_used = Duration::ZERO;
    Ok(LeaseTaken::Held(HeldLease {
        epoch,
        next_offset,
        log_start,
        producers,
        last_used,
    }))
}

/// What the partition knows of its producers; `None` if they are too many to keep.
pub(crate) async fn read_producers(
    store: &Arc<dyn MetaStore>,
    tp: TopicPartition,
) -> Result<Option<HashMap<ProducerId, ProducerState>>, MetaError> {
    let rows = store
        .scan(KeyRange::producers(tp), LEASE_PRODUCERS_MAX + 1, false)
        .await?;
    if rows.len() > LEASE_PRODUCERS_MAX {
        return Ok(None);
    }
    let decode = |(key, row): (Key, sh_meta::Row)| match (key, row.value) {
        (Key::Producer(_, id), Some(value)) => Some((id, ProducerState::decode(&value).ok()?)),
        _ => None,
    };
    Ok(Some(rows.into_iter().filter_map(decode).collect()))
}

fn plan(me: Incarnation, tp: TopicPartition) -> Plan {
    Plan {
        locks: vec![Key::Head(tp)],
        shares: vec![Key::Agent(me.agent)],
        ..Plan::default()
    }
}

const FOREIGN: &[u8] = &[2];

/// A new lease is a new number: what was promised under an older one is void (model: `TakeLease`).
fn take(view: &View, me: Incarnation, tp: TopicPartition) -> Decision {
    let head = Head::of(view.value(&Key::Head(tp)));
    let Ok(mut head) = head else {
        return Decision::default();
    };
    let current = AgentRow::is_current(view.value(&Key::Agent(me.agent)), &me);
    if !current || head.deleted || !head.open.is_empty() {
        return Decision::default();
    }
    if head.lease.is_some_and(|lease| lease.holder != me.agent) {
        return Decision {
            writes: vec![],
            reply: Bytes::from_static(FOREIGN),
        };
    }
    head.lease_epoch += 1;
    head.lease = Some(Lease {
        holder: me.agent,
        epoch: head.lease_epoch,
    });
    head.wanted = false;
    let reply = taken_reply(&head);
    Decision {
        writes: vec![write(tp, &head)],
        reply,
    }
}

fn taken_reply(head: &Head) -> Bytes {
    let mut out = vec![1];
    out.extend(head.lease_epoch.to_be_bytes());
    out.extend(head.next_offset.to_be_bytes());
    out.extend(head.log_start.to_be_bytes());
    out.into()
}

fn read_taken(reply: &[u8]) -> Option<(u64, Offset, Offset)> {
    let mut r = Reader(reply);
    (r.u8()? == 1).then_some(())?;
    Some((r.u64()?, r.i64()?, r.i64()?))
}

fn write(tp: TopicPartition, head: &Head) -> Write {
    Write {
        key: Key::Head(tp),
        value: Some(head.encode()),
        version: None,
    }
}

/// Gives a lease back, if it is still this one.
pub async fn release_lease(lane: &Lane, me: Incarnation, tp: TopicPartition, epoch: u64) {
    let lease = Lease {
        holder: me.agent,
        epoch,
    };
    until_done(lane, me, tp, move |head| end(head, lease)).await;
}

/// Ends exactly this lease; another one is nobody's business here (model: `Release`, `Expire`).
fn end(head: &mut Head, lease: Lease) -> bool {
    let same = head.lease == Some(lease);
    if same {
        head.lease = None;
        head.wanted = false;
    }
    same
}

/// Says that the partition is wanted by somebody who does not mind leases of `spared`.
fn want(head: &mut Head, spared: Option<AgentId>) -> bool {
    let in_the_way = head.lease.is_some_and(|lease| Some(lease.holder) != spared);
    let news = in_the_way && !head.wanted;
    head.wanted |= in_the_way;
    news
}

/// Changes a head until the store has taken it. Only an agent that is told to stop gives up.
async fn until_done(
    lane: &Lane,
    me: Incarnation,
    tp: TopicPartition,
    change: impl Fn(&mut Head) -> bool + Send + Sync + Clone + 'static,
) {
    loop {
        let change = change.clone();
        let apply = move |view: &View| {
            let Ok(mut head) = Head::of(view.value(&Key::Head(tp))) else {
                return Decision::default();
            };
            let current = AgentRow::is_current(view.value(&Key::Agent(me.agent)), &me);
            let writes = if current && change(&mut head) {
                vec![write(tp, &head)]
            } else {
                vec![]
            };
            Decision {
                writes,
                reply: Bytes::new(),
            }
        };
        match lane.update(plan(me, tp), PATIENCE, apply).await {
            Ok(_) | Err(MetaError::Foreign(_)) => return,
            Err(why) => tracing::warn!(partition = ?tp, %why, "asking again to change a lease"),
        }
        sleep(RETRY_AFTER).await;
    }
}

/// Says that the partition is wanted, and returns when no other agent holds its lease: given up, or taken away from a holder
/// that has kept the very same head for a whole lease life.
pub async fn await_free(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    env: &Env,
    me: Incarnation,
    tp: TopicPartition,
) {
    await_given_up(store, lane, env, me, tp, Some(me.agent)).await;
}

/// The same for who can write only while nobody has a lease, this agent neither: a transaction marker.
pub async fn await_unleased(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    env: &Env,
    me: Incarnation,
    tp: TopicPartition,
) {
    await_given_up(store, lane, env, me, tp, None).await;
}

async fn await_given_up(
    store: &Arc<dyn MetaStore>,
    lane: &Lane,
    env: &Env,
    me: Incarnation,
    tp: TopicPartition,
    spared: Option<AgentId>,
) {
    until_done(lane, me, tp, move |head| want(head, spared)).await;
    let mut seen: Option<(u64, Duration)> = None;
    loop {
        match store.get(&[Key::Head(tp)]).await {
            Ok(rows) => {
                let row = rows.into_iter().next().unwrap_or_default();
                let Ok(head) = Head::of(row.value.as_ref()) else {
                    return;
                };
                let Some(lease) = head.lease.filter(|l| Some(l.holder) != spared) else {
                    return;
                };
                if !head.wanted {
                    until_done(lane, me, tp, move |head| want(head, spared)).await;
                }
                let since = match seen {
                    Some((version, since)) if version == row.version => since,
                    _ => env.mono(),
                };
                seen = Some((row.version, since));
                if env.mono() - since >= LEASE_LIFE {
                    tracing::warn!(partition = ?tp, holder = lease.holder.0, "taking over the lease of an agent that does not answer");
                    until_done(lane, me, tp, move |head| end(head, lease)).await;
                }
            }
            Err(MetaError::Foreign(_)) => return,
            Err(why) => tracing::warn!(partition = ?tp, %why, "cannot see who holds a lease"),
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use sh_base::TopicId;
    use sh_meta::MemoryStore;

    use super::*;
    use crate::{
        agent::{self, Address, CONTROL_LANE},
        row::BatchRecord,
        test_env::test_env,
    };

    /// Kept, the lease made every other writer wait for a holder that knew nothing of it.
    #[test]
    fn a_lease_of_too_many_producers_is_given_back() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (env, tp) = (
            test_env(),
            TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), 0),
        );
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new("leases"));
        let boot = agent::boot_lane(store.clone(), &env);
        let address = Address {
            host: "h".into(),
            port: 1,
            zone: None,
            http: None,
        };
        let (me, _) = block_on(agent::begin_life(
            &boot,
            &env,
            AgentId(1),
            &address,
            PATIENCE,
        ))
        .unwrap();
        for first in (0..=LEASE_PRODUCERS_MAX).step_by(PAGE) {
            block_on(remember_producers(&boot, tp, first));
        }

        let id = sh_meta::LaneId {
            by: me,
            lane: CONTROL_LANE,
        };
        let lane = Lane::new(store.clone(), env, id, 0);
        let taken = block_on(try_take(&store, &lane, me, tp)).unwrap();
        assert!(matches!(taken, LeaseTaken::NotNow));
        let row = block_on(store.get(&[Key::Head(tp)])).unwrap().remove(0);
        assert_eq!(Head::of(row.value.as_ref()).unwrap().lease, None);
    }

    const PAGE: usize = 2_000;

    async fn remember_producers(lane: &Lane, tp: TopicPartition, first: usize) {
        let keys: Vec<Key> = (first..first + PAGE)
            .map(|n| Key::Producer(tp, ProducerId(n as i64)))
            .collect();
        let plan = Plan {
            locks: keys.clone(),
            ..Plan::default()
        };
        let record = BatchRecord {
            base_sequence: 0,
            last_sequence: 0,
            base_offset: 0,
            last_offset: 0,
            max_timestamp: 0,
        };
        let state = ProducerState::after(None, 0, record, 0).encode();
        let write = move |_: &View| Decision {
            writes: keys
                .iter()
                .map(|key| Write {
                    key: key.clone(),
                    value: Some(state.clone()),
                    version: None,
                })
                .collect(),
            reply: Bytes::new(),
        };
        lane.update(plan, PATIENCE, write).await.unwrap();
    }
}
