//! The requests of transactions in short words, and what their error codes mean to a client.
use std::time::Duration;

use kafka_protocol::{
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest,
        GroupId, OffsetFetchRequest, ProduceRequest, ProducerId, TransactionalId,
        TxnOffsetCommitRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        produce_request::{PartitionProduceData, TopicProduceData},
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    protocol::StrBytes,
};
use sh_client::Connection;
use tokio::time::sleep;

use crate::{
    sim::{
        client::{TIMEOUT, connect_patiently, topic_name},
        world::World,
    },
    torture::chance::Chance,
};

/// What an answer means to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// Nobody says what became of it, or it is to be asked again.
    Again,
    /// The transaction has to be aborted.
    Abort,
    /// The session is over: somebody has taken its place, or its transaction took too long.
    Fenced,
    /// The server does not know the session, or not the state that it believes in.
    Lost,
}

impl Told {
    pub fn of(code: i16) -> Told {
        match code {
            // DUPLICATE_SEQUENCE_NUMBER
            0 | 46 => Told::Done,
            // UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER, REQUEST_TIMED_OUT, the coordinator's three, CONCURRENT_TRANSACTIONS,
            // KAFKA_STORAGE_ERROR
            3 | 6 | 7 | 14 | 15 | 16 | 51 | 56 => Told::Again,
            // INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
            47 | 90 => Told::Fenced,
            // OUT_OF_ORDER_SEQUENCE_NUMBER, TRANSACTION_ABORTABLE
            45 | 120 => Told::Abort,
            _ => Told::Lost,
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug)]
pub struct Who {
    pub id: String,
    pub producer: i64,
    pub epoch: i16,
}

impl Who {
    pub fn id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.id.clone()))
    }
    fn producer(&self) -> ProducerId {
        ProducerId(self.producer)
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

pub fn add_partitions(who: &Who, partitions: Vec<i32>) -> AddPartitionsToTxnRequest {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name())
        .with_partitions(partitions);
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(who.id())
        .with_v3_and_below_producer_id(who.producer())
        .with_v3_and_below_producer_epoch(who.epoch)
        .with_v3_and_below_topics(vec![topic])
}

pub fn add_offsets(who: &Who, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(who.id())
        .with_producer_id(who.producer())
        .with_producer_epoch(who.epoch)
        .with_group_id(group_id(group))
}

pub fn end(who: &Who, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(who.id())
        .with_producer_id(who.producer())
        .with_producer_epoch(who.epoch)
        .with_committed(commit)
}

pub fn produce(who: &Who, partition: i32, batch: bytes::Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(topic_name())
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(Some(who.id()))
        .with_acks(-1)
        .with_timeout_ms(3_000)
        .with_topic_data(vec![topic])
}

pub fn commit_offset(who: &Who, group: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(who.id())
        .with_group_id(group_id(group))
        .with_producer_id(who.producer())
        .with_producer_epoch(who.epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

/// The committed offset of a group, stable; 0 where nothing is committed. `Err`: to be asked again, at the coordinator.
pub async fn fetch_offset(connection: &Connection, group: &str, partition: i32) -> Result<i64, ()> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name())
        .with_partition_indexes(vec![partition]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_groups(vec![asked])
        .with_require_stable(true);
    let answer = connection.call(&request, 8).await.map_err(|_| ())?;
    let told = answer.groups.first().ok_or(())?;
    let partition = told.topics.first().and_then(|t| t.partitions.first());
    match partition.filter(|p| told.error_code == 0 && p.error_code == 0) {
        Some(partition) => Ok(partition.committed_offset.max(0)),
        None => Err(()),
    }
}

/// Connects to the agent that coordinates a group, for as long as it takes. `patience`: for answers.
pub async fn connect_to_coordinator(
    world: &World,
    chance: &mut Chance,
    who: &str,
    group: &str,
    patience: Duration,
) -> Connection {
    loop {
        if let Some(connection) = try_coordinator(world, chance, who, group, patience).await {
            return connection;
        }
        sleep(chance.millis(20, 300)).await;
    }
}

async fn try_coordinator(
    world: &World,
    chance: &mut Chance,
    who: &str,
    group: &str,
    patience: Duration,
) -> Option<Connection> {
    let any = world.hosts[chance.below(world.hosts.len())].alive()?;
    let request = FindCoordinatorRequest::default()
        .with_coordinator_keys(vec![StrBytes::from_string(group.to_owned())]);
    let connection = connect_patiently(&any, who, patience).await?;
    let answer = connection.call(&request, 4).await.ok()?;
    let found = answer.coordinators.first().filter(|c| c.error_code == 0)?;
    let host: usize = found.host.strip_prefix('h')?.parse().ok()?;
    if host == any.host {
        return Some(connection);
    }
    connect_patiently(&world.hosts.get(host)?.alive()?, who, patience).await
}

/// What a group has committed, for as long as it takes to learn it.
pub async fn committed_offset(
    world: &World,
    chance: &mut Chance,
    group: &str,
    partition: i32,
) -> i64 {
    loop {
        let connection = connect_to_coordinator(world, chance, "auditor", group, TIMEOUT).await;
        if let Ok(offset) = fetch_offset(&connection, group, partition).await {
            return offset;
        }
        sleep(Duration::from_millis(200)).await;
    }
}
