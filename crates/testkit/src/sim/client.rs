//! What producers and consumers of the simulated world share: connections, and requests in short words.
use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        BrokerId, CreateTopicsRequest, ListOffsetsRequest, TopicName,
        create_topics_request::CreatableTopic,
        fetch_response::PartitionData,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};
use sh_base::batch::{Batch, Marker};
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
    connect_patiently(life, who, TIMEOUT).await
}

/// The same for a client that waits so long for answers.
pub async fn connect_patiently(
    life: &Arc<Life>,
    who: &str,
    patience: Duration,
) -> Option<Connection> {
    let stream = life.connect()?;
    let name = life.name();
    let connection = Connection::over(stream, &name, who, patience);
    connection.await.ok()
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
    list_offset_as(connection, partition, timestamp, false).await
}

/// ListOffsets with an isolation: with `committed` the end is the last stable offset.
pub async fn list_offset_as(
    connection: &Connection,
    partition: i32,
    timestamp: i64,
    committed: bool,
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
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![topic]);
    let answer = connection.call(&request, 7).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let answer = &answer.topics[0].partitions[0];
    match answer.error_code {
        0 => Ok((answer.timestamp, answer.offset)),
        code => Err(format!("error {code}")),
    }
}

/// What an answer holds of a partition.
pub struct Page {
    /// Those that a consumer is given, with their timestamps.
    pub records: Vec<(Found, i64)>,
    /// What belongs to transactions, markers included.
    pub transactional: Vec<Placed>,
    /// Behind all of it.
    pub next: i64,
}

/// A batch of a transaction, or its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub offset: i64,
    pub producer: i64,
    /// `None`: records. `Some`: a marker, and whether it commits.
    pub marker: Option<bool>,
    /// The newest of it.
    pub timestamp: i64,
}

/// The transactions that an answer says were aborted: (producer id, first offset).
pub fn aborted(data: &PartitionData) -> Vec<(i64, i64)> {
    let aborted = data.aborted_transactions.iter().flatten();
    aborted.map(|t| (t.producer_id.0, t.first_offset)).collect()
}

/// Reads the batches of a fetch answer from an offset on. What was aborted is left out, by the rule that consumers have: a
/// producer's records are, from the first offset of a transaction of the list to the producer's next marker.
pub fn page(bytes: Bytes, from: i64, aborted: &[(i64, i64)]) -> Result<Page, String> {
    let mut page = Page {
        records: Vec::new(),
        transactional: Vec::new(),
        next: from,
    };
    let mut ahead = aborted.to_vec();
    let mut open = BTreeSet::new();
    for batch in Batch::parse_all(bytes).map_err(|e| e.to_string())? {
        let (offset, end) = (batch.base_offset(), batch.base_offset() + batch.offsets());
        page.next = page.next.max(end);
        let producer = batch.header().producer.map_or(-1, |p| p.id.0);
        let begun = |(_, first): &(i64, i64)| *first < end;
        open.extend(
            ahead
                .iter()
                .filter(|t| begun(t))
                .map(|(producer, _)| *producer),
        );
        ahead.retain(|t| !begun(t));
        let marker = batch.marker().map(|marker| marker == Marker::Commit);
        if batch.header().is_transactional() {
            page.transactional.push(Placed {
                offset,
                producer,
                marker,
                timestamp: batch.header().max_timestamp,
            });
        }
        if marker.is_some() {
            open.remove(&producer);
        } else if !(batch.header().is_transactional() && open.contains(&producer)) {
            add_records(&batch, from, &mut page.records)?;
        }
    }
    Ok(page)
}

fn add_records(batch: &Batch, from: i64, all: &mut Vec<(Found, i64)>) -> Result<(), String> {
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
    Ok(())
}
