//! Reading what was written: once from the beginning to the end, and alongside, as a consumer would.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sh_client::{
    Admin, Client, Consumer, ConsumerOptions, ConsumerRecord, Isolation, OffsetSpec, Options,
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    history::{Found, Log, PartitionLog, RecordId},
    writer::record_digest,
};

/// How long a reader may get no further, however much there is.
const READ_MAX: Duration = Duration::from_secs(60);

/// Every partition from offset 0 to the end that the server tells first.
pub async fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Result<Log> {
    let mut records: BTreeMap<i32, Vec<Found>> = BTreeMap::new();
    let take = |record: &ConsumerRecord| {
        records
            .entry(record.partition)
            .or_default()
            .push(found(record));
    };
    let all = Isolation::ReadUncommitted;
    let ends = read_with(bootstrap, topic, partitions, all, take).await?;
    let part = |(partition, end)| {
        let records = records.remove(&partition).unwrap_or_default();
        let part = PartitionLog {
            records,
            end,
            ..PartitionLog::default()
        };
        (partition, part)
    };
    Ok(ends.into_iter().map(part).collect())
}

/// Hands every record to `take`, from offset 0 to the ends that the server tells first; answers the ends.
pub async fn read_with(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    isolation: Isolation,
    mut take: impl FnMut(&ConsumerRecord),
) -> Result<BTreeMap<i32, i64>> {
    let client = Client::connect(bootstrap, Options::default()).await?;
    let admin = Admin::new(client.clone());
    let mut consumer = Consumer::new(client, options(isolation));
    let mut ends = BTreeMap::new();
    for partition in 0..partitions {
        let end = admin
            .list_offset(topic, partition, OffsetSpec::Latest)
            .await?;
        let (end, _) = end.context("no end offset")?;
        ends.insert(partition, end);
        if end > 0 {
            consumer.assign(topic, partition, 0);
        }
    }
    let mut left: Vec<i32> = ends
        .iter()
        .filter(|(_, e)| **e > 0)
        .map(|(n, _)| *n)
        .collect();
    let (mut reached, mut since) = (0, Instant::now());
    while !left.is_empty() {
        consumer.poll().await?.iter().for_each(&mut take);
        let positions = left.iter().filter_map(|p| consumer.position(topic, *p));
        let now = positions.sum::<i64>();
        if std::mem::replace(&mut reached, now) != now {
            since = Instant::now();
        }
        ensure!(
            since.elapsed() < READ_MAX,
            "reading {topic} got no further for {READ_MAX:?}: {left:?} have more"
        );
        left.retain(|partition| {
            let done = consumer.position(topic, *partition) >= Some(ends[partition]);
            if done {
                consumer.unassign(topic, *partition);
            }
            !done
        });
    }
    Ok(ends)
}

fn options(isolation: Isolation) -> ConsumerOptions {
    ConsumerOptions {
        isolation,
        max_wait: Duration::from_millis(100),
        ..ConsumerOptions::default()
    }
}

/// A consumer that follows a topic while it is written, through whatever happens.
pub struct Follower {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<(i32, Found)>>,
}

impl Follower {
    /// Follows all partitions from the beginning.
    pub fn start(bootstrap: &str, topic: &str, partitions: i32) -> Follower {
        Follower::with(bootstrap, topic, partitions, Isolation::ReadUncommitted)
    }

    /// Follows what is committed.
    pub fn of_committed(bootstrap: &str, topic: &str, partitions: i32) -> Follower {
        Follower::with(bootstrap, topic, partitions, Isolation::ReadCommitted)
    }

    fn with(bootstrap: &str, topic: &str, partitions: i32, isolation: Isolation) -> Follower {
        let (stop, stopping) = watch::channel(false);
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let task = tokio::spawn(async move {
            follow(&bootstrap, &topic, partitions, isolation, stopping).await
        });
        Follower { stop, task }
    }

    /// What it has seen, by partition.
    pub async fn stop(self) -> Result<Vec<(i32, Found)>> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn follow(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    isolation: Isolation,
    mut stopping: watch::Receiver<bool>,
) -> Vec<(i32, Found)> {
    let options = Options {
        retry_for: Duration::from_secs(1),
        request_timeout: Duration::from_secs(5),
        ..Options::default()
    };
    let reading = self::options(isolation);
    let mut consumer = Consumer::new(Client::new(bootstrap, options), reading);
    (0..partitions).for_each(|p| consumer.assign(topic, p, 0));
    let mut seen = Vec::new();
    while !*stopping.borrow() {
        tokio::select! {
            // A round that failed is tried again: the position has not moved.
            polled = consumer.poll() => {
                let records = polled.unwrap_or_default();
                seen.extend(records.iter().map(|r| (r.partition, found(r))));
            }
            _ = stopping.changed() => {}
        }
    }
    seen
}

/// What is remembered of a record.
pub fn found(record: &ConsumerRecord) -> Found {
    let headers: Vec<(&[u8], Option<&[u8]>)> = record
        .headers
        .iter()
        .map(|(name, value)| (&name[..], value.as_deref()))
        .collect();
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    Found {
        offset: record.offset,
        id: RecordId::of_value(value.unwrap_or_default()),
        digest: record_digest(key, value, &headers, record.timestamp),
    }
}
