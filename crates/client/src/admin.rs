//! Topics, configs, offsets and the state of the cluster; groups and transactions in modules of their own.
mod groups;
mod transactions;

use std::collections::BTreeMap;

use kafka_protocol::{
    messages::{
        BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
        DeleteTopicsRequest, DescribeClusterRequest, DescribeClusterResponse,
        DescribeConfigsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeProducersRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        describe_producers_request::TopicRequest,
        describe_producers_response::ProducerState,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::Request,
};

pub use groups::{Author, Committed, GroupDescription, GroupListing, GroupMember};
pub use transactions::{TransactionDescription, TransactionFilter, TransactionListing};

use crate::{
    Client, Error, Result,
    client::{text, topic_name},
};

/// A topic to create. -1 leaves a number to the broker.
#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions,
            replication_factor: -1,
            configs: BTreeMap::new(),
        }
    }
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// Whose configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    Broker(i32),
    /// The defaults of all brokers.
    Cluster,
    BrokerLogger(i32),
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(f, "topic {name}"),
            ConfigResource::Broker(id) => write!(f, "broker {id}"),
            ConfigResource::Cluster => write!(f, "all brokers"),
            ConfigResource::BrokerLogger(id) => write!(f, "the loggers of broker {id}"),
        }
    }
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) | ConfigResource::Cluster => 4,
            ConfigResource::BrokerLogger(_) => 8,
        }
    }
    fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name) => name.clone(),
            ConfigResource::Broker(id) | ConfigResource::BrokerLogger(id) => id.to_string(),
            ConfigResource::Cluster => String::new(),
        }
    }
    /// The broker that must answer, where only one can.
    fn broker(&self) -> Option<i32> {
        match self {
            ConfigResource::Broker(id) | ConfigResource::BrokerLogger(id) => Some(*id),
            _ => None,
        }
    }
}

/// One config as DescribeConfigs tells it. `source` is Kafka's number (1 topic, 2 broker, 3 all brokers, 4 static, 5 default).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    pub value: Option<String>,
    pub source: i8,
    pub read_only: bool,
    pub sensitive: bool,
    pub documentation: Option<String>,
}

/// Which offset of a partition (KIP-734 and its successors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after these milliseconds since the epoch.
    AtOrAfter(i64),
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::AtOrAfter(ms) => ms.max(0),
        }
    }
}

/// Admin requests over a [`Client`]. Retriable errors are retried as the client's options say.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub fn new(client: Client) -> Admin {
        Admin { client }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `validate_only` checks without creating.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<()> {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable(topic)])
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        let answer = self.ask("CreateTopics", |_| request.clone()).await?;
        self.client.forget(&topic.name);
        for result in &answer.topics {
            Error::check(
                format!("topic {}", topic.name),
                result.error_code,
                result.error_message.as_deref(),
            )?;
        }
        Ok(())
    }

    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let timeout = self.timeout_ms();
        let build = |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout);
            match version {
                ..=5 => request.with_topic_names(vec![topic_name(name)]),
                _ => request.with_topics(vec![
                    DeleteTopicState::default().with_name(Some(topic_name(name))),
                ]),
            }
        };
        let answer = self.ask("DeleteTopics", build).await?;
        self.client.forget(name);
        for result in &answer.responses {
            Error::check(
                format!("topic {name}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
        }
        Ok(())
    }

    /// Raises a topic's partition count to `count`.
    pub async fn create_partitions(
        &self,
        topic: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<()> {
        let wanted = CreatePartitionsTopic::default()
            .with_name(topic_name(topic))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        let answer = self.ask("CreatePartitions", |_| request.clone()).await?;
        self.client.forget(topic);
        for result in &answer.results {
            Error::check(
                format!("topic {topic}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
        }
        Ok(())
    }

    /// All configs of a resource, sorted by name.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>> {
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(resource.kind())
            .with_resource_name(text(&resource.name()))
            .with_configuration_keys(None);
        let build = |version| {
            let request = DescribeConfigsRequest::default().with_resources(vec![wanted.clone()]);
            if version >= 3 {
                request.with_include_documentation(true)
            } else {
                request
            }
        };
        let answer = self
            .ask_broker("DescribeConfigs", resource.broker(), build)
            .await?;
        let mut entries = Vec::new();
        for result in answer.results {
            Error::check(
                format!("configs of {resource}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
            entries.extend(result.configs.into_iter().map(|c| ConfigEntry {
                name: c.name.to_string(),
                value: c.value.map(|v| v.to_string()),
                source: c.config_source,
                read_only: c.read_only,
                sensitive: c.is_sensitive,
                documentation: c.documentation.map(|d| d.to_string()),
            }));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Sets (`Some`) and resets (`None`) configs, leaving the others as they are.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(String, Option<String>)],
        validate_only: bool,
    ) -> Result<()> {
        let change = |(name, value): &(String, Option<String>)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(if value.is_some() { 0 } else { 1 })
                .with_value(value.as_deref().map(text))
        };
        let wanted = AlterConfigsResource::default()
            .with_resource_type(resource.kind())
            .with_resource_name(text(&resource.name()))
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![wanted])
            .with_validate_only(validate_only);
        let answer = self
            .ask_broker("IncrementalAlterConfigs", resource.broker(), |_| {
                request.clone()
            })
            .await?;
        for result in &answer.responses {
            Error::check(
                format!("configs of {resource}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
        }
        Ok(())
    }

    /// The offset and the timestamp (-1 where it has none) that `spec` names; `None` where no record fits.
    pub async fn list_offset(
        &self,
        topic: &str,
        partition: i32,
        spec: OffsetSpec,
    ) -> Result<Option<(i64, i64)>> {
        let what = format!("offsets of {topic} partition {partition}");
        self.client
            .retry(&what, || {
                self.list_offset_once(&what, topic, partition, spec)
            })
            .await
    }

    async fn list_offset_once(
        &self,
        what: &str,
        topic: &str,
        partition: i32,
        spec: OffsetSpec,
    ) -> Result<Option<(i64, i64)>> {
        let (leader, _) = self.client.leader(topic, partition).await?;
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(spec.timestamp());
        let wanted = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![wanted]);
        let timeout = self.timeout_ms();
        let build = |version| {
            if version >= 10 {
                request.with_timeout_ms(timeout)
            } else {
                request
            }
        };
        let answer = self.client.call(&leader, build).await?;
        for result in answer.topics.iter().flat_map(|t| &t.partitions) {
            if let Err(error) = Error::check(what, result.error_code, None) {
                self.client.forget(topic);
                return Err(error);
            }
            if result.offset >= 0 {
                return Ok(Some((result.offset, result.timestamp)));
            }
        }
        Ok(None)
    }

    /// Moves the log start to `before` (-1: to the high watermark); answers the new log start.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<i64> {
        let what = format!("records of {topic} partition {partition}");
        let wanted = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(before);
        let wanted = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(self.timeout_ms());
        let once = || async {
            let (leader, _) = self.client.leader(topic, partition).await?;
            let answer = self.client.call(&leader, |_| request.clone()).await?;
            let mut low = -1;
            for result in answer.topics.iter().flat_map(|t| &t.partitions) {
                Error::check(&what, result.error_code, None)?;
                low = result.low_watermark;
            }
            Ok(low)
        };
        self.client.retry(&what, once).await
    }

    pub async fn describe_cluster(&self) -> Result<DescribeClusterResponse> {
        let build = |version| {
            let request = DescribeClusterRequest::default();
            if version >= 1 {
                request.with_endpoint_type(1)
            } else {
                request
            }
        };
        let answer = self.ask_broker("DescribeCluster", None, build).await?;
        Error::check(
            "DescribeCluster",
            answer.error_code,
            answer.error_message.as_deref(),
        )?;
        Ok(answer)
    }

    /// Sizes of all partitions as one broker (or any, with `None`) sees them.
    pub async fn describe_log_dirs(&self, broker: Option<i32>) -> Result<DescribeLogDirsResponse> {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let answer = self
            .ask_broker("DescribeLogDirs", broker, |_| request.clone())
            .await?;
        Error::check("DescribeLogDirs", answer.error_code, None)?;
        Ok(answer)
    }

    /// The idempotent and transactional producers that a partition remembers.
    pub async fn describe_producers(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<ProducerState>> {
        let what = format!("producers of {topic} partition {partition}");
        let wanted = TopicRequest::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
        let (leader, _) = self.client.leader(topic, partition).await?;
        let answer = self.client.call(&leader, |_| request).await?;
        let mut producers = Vec::new();
        for result in answer.topics.into_iter().flat_map(|t| t.partitions) {
            Error::check(&what, result.error_code, result.error_message.as_deref())?;
            producers.extend(result.active_producers);
        }
        Ok(producers)
    }

    /// A request that the controller should answer.
    async fn ask<R: Request>(&self, what: &str, build: impl Fn(i16) -> R) -> Result<R::Response> {
        let once = || async {
            let controller = self.client.controller().await?;
            self.client.call(&controller, &build).await
        };
        self.client.retry(what, once).await
    }

    async fn ask_broker<R: Request>(
        &self,
        what: &str,
        broker: Option<i32>,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response> {
        let once = || async {
            let connection = match broker {
                Some(id) => self.client.node(id).await?,
                None => self.client.any().await?,
            };
            self.client.call(&connection, &build).await
        };
        self.client.retry(what, once).await
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.options().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(topic.configs.iter().map(config).collect())
}
