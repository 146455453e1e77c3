//! Reading what was written: once from the beginning to the end, and alongside, as a consumer would.
use std::time::Duration;

use anyhow::{Context, Result};
use sh_client::{Admin, Client, Consumer, ConsumerOptions, ConsumerRecord, OffsetSpec, Options};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    history::{Found, Log, PartitionLog, RecordId},
    writer::record_digest,
};

/// How long a whole topic may take.
const READ_MAX: Duration = Duration::from_secs(180);

/// Every partition from offset 0 to the end that the server tells first.
pub async fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Result<Log> {
    let reading = timeout(READ_MAX, read(bootstrap, topic, partitions));
    reading
        .await
        .with_context(|| format!("reading {topic} took longer than {READ_MAX:?}"))?
}

async fn read(bootstrap: &str, topic: &str, partitions: i32) -> Result<Log> {
    let client = Client::connect(bootstrap, Options::default()).await?;
    let admin = Admin::new(client.clone());
    let mut consumer = Consumer::new(client, options());
    let mut log = Log::new();
    for partition in 0..partitions {
        let end = admin
            .list_offset(topic, partition, OffsetSpec::Latest)
            .await?;
        let (end, _) = end.context("no end offset")?;
        let records = Vec::new();
        log.insert(partition, PartitionLog { records, end });
        if end > 0 {
            consumer.assign(topic, partition, 0);
        }
    }
    let mut left: Vec<i32> = log
        .iter()
        .filter(|(_, p)| p.end > 0)
        .map(|(n, _)| *n)
        .collect();
    while !left.is_empty() {
        for record in consumer.poll().await? {
            if let Some(part) = log.get_mut(&record.partition) {
                part.records.push(found(&record));
            }
        }
        left.retain(|partition| {
            let done = consumer.position(topic, *partition) >= Some(log[partition].end);
            if done {
                consumer.unassign(topic, *partition);
            }
            !done
        });
    }
    Ok(log)
}

fn options() -> ConsumerOptions {
    ConsumerOptions {
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
        let (stop, stopping) = watch::channel(false);
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let task =
            tokio::spawn(async move { follow(&bootstrap, &topic, partitions, stopping).await });
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
    mut stopping: watch::Receiver<bool>,
) -> Vec<(i32, Found)> {
    let options = Options {
        retry_for: Duration::from_secs(1),
        request_timeout: Duration::from_secs(5),
        ..Options::default()
    };
    let mut consumer = Consumer::new(Client::new(bootstrap, options), self::options());
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

fn found(record: &ConsumerRecord) -> Found {
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
