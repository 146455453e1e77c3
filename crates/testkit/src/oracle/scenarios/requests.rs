//! Requests as the stories write them: short, for any version, with everything else at the protocol's defaults.
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};

use crate::oracle::Topic;

pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.into())
}

pub fn named(value: &str) -> TopicName {
    TopicName(text(value))
}

/// A topic that exists only in a request: a name, or the id that stands for it.
pub fn unknown(name: &str) -> Topic {
    Topic {
        name: named(name),
        id: uuid::Uuid::from_u128(0xdead_beef_0000_4000_8000_0000_0000_0001),
    }
}

pub fn metadata(names: &[TopicName]) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|n| MetadataRequestTopic::default().with_name(Some(n.clone())));
    MetadataRequest::default().with_topics(Some(topics.collect()))
}

/// Batches for several partitions of one topic.
pub fn produce_all(
    version: i16,
    acks: i16,
    topic: &Topic,
    parts: &[(i32, Option<Bytes>)],
) -> ProduceRequest {
    let part = |(index, records): &(i32, Option<Bytes>)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(records.clone())
    };
    let data = TopicProduceData::default().with_partition_data(parts.iter().map(part).collect());
    let data = if version >= 13 {
        data.with_topic_id(topic.id)
    } else {
        data.with_name(topic.name.clone())
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

pub fn produce(version: i16, topic: &Topic, partition: i32, records: Bytes) -> ProduceRequest {
    produce_all(version, -1, topic, &[(partition, Some(records))])
}

/// One partition of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub partition: i32,
    pub offset: i64,
    pub max_bytes: i32,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

pub fn wish(partition: i32, offset: i64) -> Wish {
    Wish {
        partition,
        offset,
        max_bytes: 1 << 20,
        leader_epoch: -1,
        last_fetched_epoch: -1,
    }
}

/// A fetch outside of any session, that does not wait.
pub fn fetch(version: i16, topic: &Topic, wishes: &[Wish]) -> FetchRequest {
    let part = |w: &Wish| {
        let part = FetchPartition::default()
            .with_partition(w.partition)
            .with_fetch_offset(w.offset)
            .with_partition_max_bytes(w.max_bytes);
        let part = if version >= 9 {
            part.with_current_leader_epoch(w.leader_epoch)
        } else {
            part
        };
        if version >= 12 {
            part.with_last_fetched_epoch(w.last_fetched_epoch)
        } else {
            part
        }
    };
    let topics = FetchTopic::default().with_partitions(wishes.iter().map(part).collect());
    let topics = if version >= 13 {
        topics.with_topic_id(topic.id)
    } else {
        topics.with_topic(topic.name.clone())
    };
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(50 << 20)
        .with_topics(if wishes.is_empty() {
            vec![]
        } else {
            vec![topics]
        });
    let request = if version >= 7 {
        request.with_session_epoch(-1)
    } else {
        request
    };
    if version < 15 {
        request.with_replica_id(BrokerId(-1))
    } else {
        request
    }
}

/// Each of `asks` is (partition, timestamp, current leader epoch).
pub fn list_offsets(
    version: i16,
    name: &TopicName,
    asks: &[(i32, i64, i32)],
) -> ListOffsetsRequest {
    let part = |&(index, timestamp, epoch): &(i32, i64, i32)| {
        let part = ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(timestamp);
        if version >= 4 {
            part.with_current_leader_epoch(epoch)
        } else {
            part
        }
    };
    let topic = ListOffsetsTopic::default()
        .with_name(name.clone())
        .with_partitions(asks.iter().map(part).collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    if version >= 10 {
        request.with_timeout_ms(5_000)
    } else {
        request
    }
}
