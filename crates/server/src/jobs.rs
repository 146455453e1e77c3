//! What an agent does in the background.
use std::{sync::Arc, time::Duration};

use sh_base::{Env, Incarnation};
use sh_blob::Bucket;
use sh_log::{
    Log, Reader,
    agent::{self, AgentRow, HEARTBEAT_EVERY, LONE_HEARTBEAT_EVERY, OwnRow},
    cluster::{self, ClusterFile},
    peers::Peers,
};
use sh_meta::{Family, Key, KeyRange, Lane, MetaError, MetaStore};
use sh_node::Node;
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::start::{Agent, Stop, Stores};

/// How often a living agent looks whether the bucket still names its generation (DESIGN 9).
const CLUSTER_LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon a lone agent that gets company begins to beat faster.
const HEARTBEAT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the rows of all agents are read, and how often at most when somebody speaks who is not known.
const MEET_EVERY: Duration = Duration::from_secs(3);
const MEET_PAUSE: Duration = Duration::from_millis(200);
/// More agents than any cluster has.
const AGENTS_MAX: usize = 10_000;
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Kafka's `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
const EXPIRE_TRANSACTIONS_EVERY: Duration = Duration::from_secs(10);

/// Starts the background jobs; they end with the set.
pub fn spawn(env: &Env, agent: &Agent, stores: &Stores) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let Agent {
        me,
        node,
        log,
        reader,
        control,
        peers,
        pass: _,
        stop,
    } = agent;
    jobs.spawn(heartbeats(
        env.clone(),
        peers.clone(),
        control.clone(),
        *me,
        stop.clone(),
    ));
    jobs.spawn(meet(env.clone(), stores.store.clone(), peers.clone()));
    let tell = peers.clone();
    jobs.spawn(async move { tell.run().await });
    jobs.spawn(follow(reader.clone()));
    jobs.spawn(tell_of_heads(reader.clone(), log.clone()));
    jobs.spawn(watch_the_bucket(
        stores.bucket.clone(),
        stores.cluster.clone(),
        stop.clone(),
    ));
    jobs.spawn(purge(env.clone(), node.clone()));
    jobs.spawn(expire_offsets(node.clone()));
    jobs.spawn(expire_transactions(env.clone(), node.clone()));
    jobs.spawn(measure(agent.node.clone()));
    jobs
}

async fn heartbeats(env: Env, peers: Peers, control: Arc<Lane>, me: Incarnation, stop: Stop) {
    let mut last = env.mono();
    loop {
        sleep(HEARTBEAT_LOOK_EVERY).await;
        let every = match peers.is_alone() {
            true => LONE_HEARTBEAT_EVERY,
            false => HEARTBEAT_EVERY,
        };
        if env.mono() - last < every {
            continue;
        }
        last = env.mono();
        let now_ms = env.wall_ms();
        let beat = agent::change_own_row(&control, me, HEARTBEAT_EVERY, move |row| {
            row.heartbeat_ms = now_ms
        });
        match beat.await {
            Ok(OwnRow::Written) => {}
            Ok(OwnRow::Fenced) => stop.because("a newer life of this agent has begun"),
            Err(MetaError::Foreign(why)) => stop.because(&why),
            Err(error) => tracing::warn!(%error, "a heartbeat failed"),
        }
    }
}

/// Learns who the other agents are: from time to time, and when one speaks that is not known yet.
async fn meet(env: Env, store: Arc<dyn MetaStore>, peers: Peers) {
    loop {
        let rows = store.scan(KeyRange::family(Family::Agent), AGENTS_MAX, false);
        match rows.await {
            Ok(rows) => {
                let agents = rows
                    .iter()
                    .filter_map(|(key, row)| match (key, &row.value) {
                        (Key::Agent(id), Some(value)) => Some((*id, AgentRow::decode(value).ok()?)),
                        _ => None,
                    });
                peers.learn(&Vec::from_iter(agents), env.wall_ms());
            }
            Err(error) => {
                tracing::debug!(%error, "the rows of the agents cannot be read");
                peers.learn_nothing();
            }
        }
        sleep(MEET_PAUSE).await;
        // Running out of time is the ordinary way on.
        let _ = timeout(MEET_EVERY - MEET_PAUSE, peers.stranger()).await;
    }
}

async fn follow(reader: Reader) {
    reader.run_follower().await;
}

/// The engine hears of heads: another agent may want a partition whose lease is ours.
async fn tell_of_heads(reader: Reader, log: Log) {
    let mut heads = reader.on_head();
    loop {
        match heads.recv().await {
            Ok(change) if change.head.wanted => {
                log.head_changed(change.partition, (*change.head).clone())
            }
            Ok(_) => {}
            Err(RecvError::Lagged(lost)) => {
                // A wish that was missed costs its writer a lease's life, no more.
                tracing::debug!(lost, "head changes were missed");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn watch_the_bucket(bucket: Arc<dyn Bucket>, ours: ClusterFile, stop: Stop) {
    loop {
        sleep(CLUSTER_LOOK_EVERY).await;
        match cluster::is_still_ours(&bucket, &ours).await {
            Ok(true) => {}
            Ok(false) => {
                stop.because("cluster.json in the bucket names another cluster or generation")
            }
            Err(error) => tracing::warn!(%error, "cannot see whose bucket it is"),
        }
    }
}

/// Removes the rows of topics that can no longer be brought back.
async fn purge(env: Env, node: Node) {
    loop {
        sleep(PURGE_EVERY).await;
        if let Err(error) = node.purge_deleted(env.wall_ms()).await {
            tracing::warn!(%error, "deleted topics could not be purged");
        }
    }
}

/// Drops committed offsets that are too old, and those of topics that are gone.
async fn expire_offsets(node: Node) {
    loop {
        let ms = node.broker().number("offsets.retention.check.interval.ms");
        sleep(Duration::from_millis(
            u64::try_from(ms).unwrap_or(0).max(1_000),
        ))
        .await;
        if let Err(error) = node.expire_group_offsets().await {
            tracing::warn!(%error, "old committed offsets could not be dropped");
        }
    }
}

/// Aborts transactions that take too long, and forgets transactional ids that nobody uses.
async fn expire_transactions(env: Env, node: Node) {
    loop {
        // Agents take turns by chance: one of them finds what is due, and the others nothing.
        let every = EXPIRE_TRANSACTIONS_EVERY.as_millis() as u64;
        sleep(Duration::from_millis(every / 2 + env.next_u64() % every)).await;
        if let Err(error) = node.expire_transactions().await {
            tracing::warn!(%error, "transactions that take too long could not be aborted");
        }
    }
}

async fn measure(node: Node) {
    let memory = metrics::gauge!("streamhouse_request_memory_bytes");
    let answers = metrics::gauge!("streamhouse_answer_memory_bytes");
    loop {
        memory.set(node.log().memory_in_use() as f64);
        answers.set(node.answers().in_use() as f64);
        sleep(Duration::from_secs(5)).await;
    }
}
