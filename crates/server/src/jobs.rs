//! What an agent does in the background.
use std::{sync::Arc, time::Duration};

use sh_base::{Env, Incarnation};
use sh_blob::Bucket;
use sh_log::{
    Log, Reader,
    agent::{self, HEARTBEAT_EVERY, LONE_HEARTBEAT_EVERY, OwnRow},
    cluster::{self, ClusterFile},
};
use sh_meta::{Family, KeyRange, Lane, MetaError, MetaStore};
use sh_node::Node;
use tokio::{sync::broadcast::error::RecvError, task::JoinSet, time::sleep};

use crate::start::{Agent, Stop, Stores};

/// How often a living agent looks whether the bucket still names its generation (DESIGN 9).
const CLUSTER_LOOK_EVERY: Duration = Duration::from_secs(10);
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// Starts the background jobs; they end with the set.
pub fn spawn(env: &Env, agent: &Agent, stores: &Stores) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let Agent {
        me,
        node,
        log,
        reader,
        control,
        stop,
    } = agent;
    jobs.spawn(heartbeats(
        env.clone(),
        stores.store.clone(),
        control.clone(),
        *me,
        stop.clone(),
    ));
    jobs.spawn(follow(reader.clone()));
    jobs.spawn(tell_of_heads(reader.clone(), log.clone()));
    jobs.spawn(watch_the_bucket(
        stores.bucket.clone(),
        stores.cluster.clone(),
        stop.clone(),
    ));
    jobs.spawn(purge(env.clone(), node.clone()));
    jobs.spawn(measure(log.clone()));
    jobs
}

async fn heartbeats(
    env: Env,
    store: Arc<dyn MetaStore>,
    control: Arc<Lane>,
    me: Incarnation,
    stop: Stop,
) {
    let mut last = env.mono();
    loop {
        sleep(HEARTBEAT_EVERY).await;
        let due = env.mono() - last >= LONE_HEARTBEAT_EVERY;
        if !due && !has_peers(&store).await {
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

/// Is there any other agent, dead or alive, or at least no certainty that there is none?
async fn has_peers(store: &Arc<dyn MetaStore>) -> bool {
    let rows = store.scan(KeyRange::family(Family::Agent), 2, false).await;
    rows.map_or(true, |rows| rows.len() > 1)
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

async fn measure(log: Log) {
    let memory = metrics::gauge!("streamhouse_request_memory_bytes");
    loop {
        memory.set(log.memory_in_use() as f64);
        sleep(Duration::from_secs(5)).await;
    }
}
