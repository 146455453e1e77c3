//! What producers and consumers of the simulated world share: connections, and requests in short words.
use std::{sync::Arc, time::Duration};

use kafka_protocol::{
    messages::{
        BrokerId, CreateTopicsRequest, ListOffsetsRequest, TopicName,
        create_topics_request::CreatableTopic,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};
use sh_base::batch::Batch;
use sh_client::Connection;
use tokio::time::sleep;

use super::{
    life::Life,
    world::{TOPIC, World},
};
use crate::torture::{
    chance::Chance,
    history::{Found, RecordId},
    writer::record_digest,
};

/// How long a client waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(4);
/// ListOffsets of the log end.
pub const LATEST: i64 = -1;

pub fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Connects to this life, or says that nobody is there.
pub async fn connect_to(life: &Arc<Life>, who: &str) -> Option<Connection> {
    let stream = life.connect()?;
    Connection::over(stream, &life.name(), who, TIMEOUT)
        .await
        .ok()
}

/// Connects to any agent, for as long as it takes.
pub async fn connect(world: &World, chance: &mut Chance, who: &str) -> Connection {
    loop {
        let host = chance.below(world.hosts.len());
        if let Some(life) = world.hosts[host].alive()
            && let Some(connection) = connect_to(&life, who).await
        {
            world.note(|| format!("{who} connects to {}", life.name()));
            return connection;
        }
        sleep(chance.millis(20, 300)).await;
    }
}

/// Creates the topic of the world, which may be there.
pub async fn create_topic(connection: &Connection, partitions: i32) -> bool {
    let topic = CreatableTopic::default()
        .with_name(topic_name())
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    const TOPIC_ALREADY_EXISTS: i16 = 36;
    match connection.call(&request, 7).await {
        Ok(answer) => matches!(answer.topics[0].error_code, 0 | TOPIC_ALREADY_EXISTS),
        Err(_) => false,
    }
}

/// ListOffsets of one partition: (timestamp, offset).
pub async fn list_offset(
    connection: &Connection,
    partition: i32,
    timestamp: i64,
) -> Result<(i64, i64), String> {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer = connection.call(&request, 7).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let answer = &answer.topics[0].partitions[0];
    match answer.error_code {
        0 => Ok((answer.timestamp, answer.offset)),
        code => Err(format!("error {code}")),
    }
}

/// The records of a fetch answer from an offset on, with their timestamps.
pub fn records(bytes: bytes::Bytes, from: i64) -> Result<Vec<(Found, i64)>, String> {
    let mut all = Vec::new();
    for batch in Batch::parse_all(bytes).map_err(|e| e.to_string())? {
        if batch.marker().is_some() {
            continue;
        }
        for record in batch.records().map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            if offset < from {
                continue;
            }
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let found = Found {
                offset,
                id: RecordId::of_value(value.unwrap_or_default()),
                digest: record_digest(key, value, &[], record.timestamp),
            };
            all.push((found, record.timestamp));
        }
    }
    Ok(all)
}
