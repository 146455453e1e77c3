//! What a client knows of a cluster.
use std::{collections::HashMap, sync::Arc};

use kafka_protocol::messages::{MetadataResponse, metadata_response::MetadataResponseTopic};
use uuid::Uuid;

use crate::{Error, Result};

/// A topic's name and the index of one of its partitions.
pub type TopicPartition = (Arc<str>, i32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl Broker {
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: i32,
    pub leader_epoch: i32,
}

/// A topic as Metadata described it; partitions are sorted by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    /// Nil when the broker is too old to have topic ids.
    pub id: Uuid,
    pub internal: bool,
    pub partitions: Vec<Partition>,
}

impl Topic {
    pub fn partition(&self, index: i32) -> Result<&Partition> {
        self.partitions
            .binary_search_by_key(&index, |p| p.index)
            .map(|at| &self.partitions[at])
            .map_err(|_| Error::NoSuchPartition {
                topic: self.name.to_string(),
                partition: index,
            })
    }
}

/// The last answers, merged.
#[derive(Default)]
pub(crate) struct Cache {
    pub brokers: Vec<Broker>,
    pub controller: i32,
    pub topics: HashMap<Arc<str>, Arc<Topic>>,
}

impl Cache {
    pub fn absorb(&mut self, answer: &MetadataResponse) {
        self.brokers = brokers(answer);
        self.controller = answer.controller_id.0;
        for topic in &answer.topics {
            match read_topic(topic) {
                Ok(topic) => drop(self.topics.insert(topic.name.clone(), Arc::new(topic))),
                Err(_) => drop(
                    topic
                        .name
                        .as_ref()
                        .and_then(|n| self.topics.remove(n.as_str())),
                ),
            }
        }
    }
}

pub(crate) fn brokers(answer: &MetadataResponse) -> Vec<Broker> {
    answer
        .brokers
        .iter()
        .map(|b| Broker {
            id: b.node_id.0,
            host: b.host.to_string(),
            port: b.port,
            rack: b.rack.as_ref().map(|r| r.to_string()),
        })
        .collect()
}

/// The topic, or the error its entry carries.
pub(crate) fn read_topic(topic: &MetadataResponseTopic) -> Result<Topic> {
    let name = topic
        .name
        .as_ref()
        .map(|n| n.to_string())
        .unwrap_or_default();
    Error::check(format!("topic {name}"), topic.error_code, None)?;
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|p| Partition {
            index: p.partition_index,
            leader: p.leader_id.0,
            leader_epoch: p.leader_epoch,
        })
        .collect();
    partitions.sort_by_key(|p| p.index);
    Ok(Topic {
        name: name.into(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    })
}
