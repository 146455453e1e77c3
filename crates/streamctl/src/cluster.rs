//! `streamctl cluster`: who belongs to it, and what is stored.
use futures::future::try_join_all;
use serde::Serialize;
use sh_client::Admin;

use crate::{
    failure::Failure,
    output::{bytes, or_dash, table},
    session::Session,
};

#[derive(Serialize)]
struct Cluster {
    cluster_id: String,
    controller: i32,
    brokers: Vec<Broker>,
}

#[derive(Serialize)]
struct Broker {
    id: i32,
    host: String,
    port: i32,
    rack: Option<String>,
    log_dirs: Vec<LogDir>,
}

/// As DescribeLogDirs tells it. StreamHouse has one, the bucket, which all brokers share.
#[derive(Serialize)]
struct LogDir {
    path: String,
    partitions: usize,
    bytes: i64,
}

pub async fn run(session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let described = admin.describe_cluster().await?;
    let brokers = described.brokers.iter().map(async |broker| {
        let id = broker.broker_id.0;
        Ok::<_, Failure>(Broker {
            id,
            host: broker.host.to_string(),
            port: broker.port,
            rack: broker.rack.as_ref().map(|rack| rack.to_string()),
            log_dirs: log_dirs(&admin, id).await?,
        })
    });
    let cluster = Cluster {
        cluster_id: described.cluster_id.to_string(),
        controller: described.controller_id.0,
        brokers: try_join_all(brokers).await?,
    };
    session.output().show(&cluster, text)
}

async fn log_dirs(admin: &Admin, broker: i32) -> Result<Vec<LogDir>, Failure> {
    let answer = admin.describe_log_dirs(Some(broker)).await?;
    let dirs = answer.results.iter().map(|dir| {
        let sizes: Vec<i64> = dir
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|p| p.partition_size)
            .collect();
        LogDir {
            path: dir.log_dir.to_string(),
            partitions: sizes.len(),
            bytes: sizes.iter().sum(),
        }
    });
    Ok(dirs.collect())
}

fn text(cluster: &Cluster) -> String {
    let address = |b: &Broker| format!("{}:{}", b.host, b.port);
    let brokers = cluster
        .brokers
        .iter()
        .map(|b| [b.id.to_string(), address(b), or_dash(b.rack.as_ref())]);
    let dirs = cluster
        .brokers
        .iter()
        .flat_map(|b| b.log_dirs.iter().map(move |dir| (b.id, dir)));
    let dirs = dirs.map(|(id, dir)| {
        let stored = bytes(u64::try_from(dir.bytes).unwrap_or(0));
        [
            id.to_string(),
            dir.path.clone(),
            dir.partitions.to_string(),
            stored,
        ]
    });
    format!(
        "cluster {}, controller {}\n\n{}\n\n{}",
        cluster.cluster_id,
        cluster.controller,
        table(["broker", "address", "rack"], brokers),
        table(["broker", "log dir", "partitions", "stored"], dirs),
    )
}
