//! Describing and altering the configs of topics, brokers, their loggers, groups and subscriptions to metrics of clients.
use std::collections::{BTreeMap, HashSet};

use sh_base::{ErrorCode, Failure, Org, TopicName};
use sh_meta::{Change, Key, Row, View};

use crate::{
    BrokerConfig, Caller, Node, Operation, Resource, TopicRow,
    config::{
        BROKER, Changes, ConfigEntry, DynamicConfig, Effective,
        alter::{broker_configs, topic_configs},
        broker_entries, cluster_entries,
    },
    control::{damaged, put, storage},
    group_configs::configs_of,
    topic::living_row,
    topic_table::unknown_name,
};

/// What kind of thing has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    Topic,
    /// By its id; with an empty name, all of them.
    Broker,
    BrokerLogger,
    Group,
    /// A subscription to metrics of clients.
    ClientMetrics,
}

/// A thing that has configs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigResource {
    pub kind: ResourceKind,
    pub name: String,
}

fn request(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, text)
}

impl Node {
    /// The configs of one resource; only those in `names`, if it has any.
    ///
    /// Errors: `UnknownTopicOrPartition`, `InvalidTopic`, `InvalidRequest` (not a broker id, or another broker's).
    pub async fn describe_configs(
        &self,
        caller: &Caller,
        resource: &ConfigResource,
        names: Option<&[String]>,
    ) -> Result<Vec<ConfigEntry>, Failure> {
        let mut entries = match resource.kind {
            ResourceKind::Topic => self.describe_topic(caller, &resource.name).await?,
            ResourceKind::Broker => self.describe_broker(caller, &resource.name)?,
            ResourceKind::BrokerLogger => self.describe_loggers(caller, &resource.name)?,
            ResourceKind::Group => self.describe_group_configs(caller, &resource.name).await?,
            ResourceKind::ClientMetrics => {
                self.describe_client_metrics(caller, &resource.name).await?
            }
        };
        if let Some(names) = names.filter(|names| !names.is_empty()) {
            entries.retain(|entry| names.contains(&entry.name));
        }
        Ok(entries)
    }

    async fn describe_topic(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, Failure> {
        let name = topic_name(name)?;
        self.authorize(caller, Operation::DescribeConfigs, Resource::Topic(&name))?;
        let topic = self.topics().fresh(&caller.org, &name).await?;
        let broker = self.broker();
        Ok(Effective {
            overrides: &topic.configs,
            broker: &broker,
        }
        .entries())
    }

    fn describe_broker(&self, caller: &Caller, name: &str) -> Result<Vec<ConfigEntry>, Failure> {
        self.authorize(caller, Operation::DescribeConfigs, Resource::Cluster)?;
        if name.is_empty() {
            return Ok(cluster_entries(&self.broker()));
        }
        let not_a_number = || format!("Broker id must be an integer, but it is: {name}");
        let id: i64 = name.parse().map_err(|_| request(not_a_number()))?;
        let own = self.agent().0;
        if id != i64::from(own) {
            return Err(request(format!(
                "Unexpected broker id, expected {own} or empty string, but received {name}"
            )));
        }
        Ok(broker_entries(&self.broker()))
    }

    fn describe_loggers(&self, caller: &Caller, name: &str) -> Result<Vec<ConfigEntry>, Failure> {
        self.authorize(caller, Operation::DescribeConfigs, Resource::Cluster)?;
        let own = self.agent().0;
        match name.parse::<i64>() {
            Ok(id) if id == i64::from(own) => Ok(self.loggers().entries()),
            Ok(_) => Err(request(format!(
                "Unexpected broker id, expected {own} but received {name}"
            ))),
            Err(_) if name.is_empty() => Err(request("Broker id must not be empty")),
            Err(_) => Err(request(format!(
                "Broker id must be an integer, but it is: {name}"
            ))),
        }
    }

    /// Changes the configs of several resources, each for itself, in the order of the request. With `validate_only` everything
    /// is checked and nothing written.
    ///
    /// Errors: `InvalidConfig`, `InvalidRequest`, `UnknownTopicOrPartition`, `InvalidTopic`.
    pub async fn alter_configs(
        &self,
        caller: &Caller,
        resources: Vec<(ConfigResource, Changes)>,
        validate_only: bool,
    ) -> Vec<(ConfigResource, Result<(), Failure>)> {
        let twice = repeated(&resources);
        let mut answers = Vec::with_capacity(resources.len());
        for (resource, changes) in resources {
            let answer = match twice.contains(&resource) {
                true => Err(request("Each resource must appear at most once.")),
                false => self.alter(caller, &resource, changes, validate_only).await,
            };
            answers.push((resource, answer));
        }
        answers
    }

    async fn alter(
        &self,
        caller: &Caller,
        resource: &ConfigResource,
        changes: Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        match resource.kind {
            ResourceKind::Topic => {
                self.alter_topic(caller, &resource.name, changes, validate_only)
                    .await
            }
            ResourceKind::Broker => {
                self.authorize(caller, Operation::AlterConfigs, Resource::Cluster)?;
                self.alter_broker(&resource.name, changes, validate_only)
                    .await
            }
            ResourceKind::BrokerLogger => {
                self.authorize(caller, Operation::AlterConfigs, Resource::Cluster)?;
                self.alter_loggers(&resource.name, &changes, validate_only)
            }
            ResourceKind::Group => {
                self.alter_group_configs(caller, &resource.name, changes, validate_only)
                    .await
            }
            ResourceKind::ClientMetrics => {
                self.alter_client_metrics(caller, &resource.name, changes, validate_only)
                    .await
            }
        }
    }

    async fn alter_topic(
        &self,
        caller: &Caller,
        name: &str,
        changes: Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        if name.is_empty() {
            return Err(request("Default topic resources are not allowed."));
        }
        let name = topic_name(name)?;
        self.authorize(caller, Operation::AlterConfigs, Resource::Topic(&name))?;
        let unknown = Failure::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{name}' does not exist."),
        );
        let found = self.topics().fresh(&caller.org, &name).await;
        let topic = found.map_err(|e| {
            if e.code == unknown.code {
                unknown.clone()
            } else {
                e
            }
        })?;
        let broker = self.broker();
        if validate_only {
            return topic_configs(&topic.configs, &changes, &broker).map(drop);
        }
        let id = topic.id;
        self.try_change(vec![Key::Topic(id)], move |view| {
            let row = living_row(view, id).ok_or_else(|| unknown.clone())?;
            let configs = topic_configs(&row.configs, &changes, &broker)?;
            Ok(vec![put(
                Key::Topic(id),
                TopicRow { configs, ..row }.encode(),
            )])
        })
        .await
    }

    async fn alter_broker(
        &self,
        name: &str,
        changes: Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        if !name.is_empty() {
            self.check_broker_id(name, "broker id, expected", ", but received")?;
        }
        let key = broker_key(name);
        let broker = self.broker();
        if validate_only {
            let row = self.row(key).await?;
            return broker_configs(&configs_of(&row)?, &changes, &broker).map(drop);
        }
        self.try_change(vec![key.clone()], move |view: &View| {
            let configs = broker_configs(&configs_of(view.row(&key))?, &changes, &broker)?;
            let value = serde_json::to_vec(&configs).map_err(|e| damaged("broker configs", e))?;
            Ok(vec![put(key.clone(), value)])
        })
        .await
    }

    fn alter_loggers(
        &self,
        name: &str,
        changes: &Changes,
        validate_only: bool,
    ) -> Result<(), Failure> {
        let Changes::Ops(ops) = changes else {
            return Err(request("Unknown resource type 8"));
        };
        self.check_broker_id(name, "node id. Expected", ", but received")?;
        self.loggers().alter(ops, validate_only)
    }

    /// A broker's configs are changed at that broker.
    fn check_broker_id(&self, name: &str, expected: &str, received: &str) -> Result<(), Failure> {
        let own = self.agent().0;
        match name.parse::<i64>() {
            Ok(id) if id == i64::from(own) => Ok(()),
            Ok(_) => Err(request(format!(
                "Unexpected {expected} {own}{received} {name}"
            ))),
            Err(_) => Err(request(format!(
                "Node id must be an integer, but it is: {name}"
            ))),
        }
    }

    /// Everything that has configs of this kind, by name.
    pub async fn list_config_resources(
        &self,
        caller: &Caller,
        kind: ResourceKind,
    ) -> Result<Vec<ConfigResource>, Failure> {
        self.authorize(caller, Operation::DescribeConfigs, Resource::Cluster)?;
        let names: Vec<String> = match kind {
            ResourceKind::Topic => {
                let topics = self.topics().list(&caller.org).await?;
                topics.iter().map(|t| t.name.to_string()).collect()
            }
            ResourceKind::Broker | ResourceKind::BrokerLogger => {
                let cluster = self.cluster().await?;
                cluster.agents.iter().map(|a| a.id.0.to_string()).collect()
            }
            ResourceKind::Group => self.groups_with_configs(caller).await?,
            ResourceKind::ClientMetrics => self.client_metrics_subscriptions(caller).await?,
        };
        Ok(names
            .into_iter()
            .map(|name| ConfigResource { kind, name })
            .collect())
    }

    /// Reads what was set while running. Once, before anything is served; after that the feed tells.
    pub async fn load_configs(&self) -> Result<(), Failure> {
        let keys = [broker_key(""), broker_key(&self.agent().0.to_string())];
        let rows = self.store().get(&keys).await.map_err(storage)?;
        for (key, row) in keys.into_iter().zip(rows) {
            self.hear_config(&Change {
                key,
                value: row.value,
                version: row.version,
            });
        }
        self.load_features().await
    }

    /// Takes in a change of broker configs: of all brokers, or of this one.
    pub(crate) fn hear_config(&self, change: &Change) {
        let Key::Config(_, kind, name) = &change.key else {
            return;
        };
        let own = *name == self.agent().0.to_string();
        if kind != BROKER || !(own || name.is_empty()) {
            return;
        }
        let row = Row {
            value: change.value.clone(),
            version: change.version,
        };
        match configs_of(&row) {
            Ok(configs) => {
                self.0.topics.set_dynamic(own, change.version, configs);
                self.groups().set_broker(&self.broker());
            }
            Err(e) => {
                tracing::error!(error = %e, "broker configs were changed, but not to anything readable")
            }
        }
    }
}

/// The row of what was set for one broker, or (no name) for all.
fn broker_key(name: &str) -> Key {
    Key::Config(Org::default(), BROKER.into(), name.into())
}

fn topic_name(name: &str) -> Result<TopicName, Failure> {
    crate::topics::legal_name(name).map_err(|e| match e.code {
        ErrorCode::InvalidTopic => e,
        _ => unknown_name(name),
    })
}

fn repeated(resources: &[(ConfigResource, Changes)]) -> HashSet<ConfigResource> {
    let mut seen = HashSet::new();
    let twice = resources
        .iter()
        .map(|(resource, _)| resource)
        .filter(|r| !seen.insert(*r));
    twice.cloned().collect()
}

impl BrokerConfig {
    /// With what was set while running for all brokers, or for this one.
    pub(crate) fn with_layer(&self, own: bool, configs: BTreeMap<String, String>) -> BrokerConfig {
        let DynamicConfig { cluster, own: mine } = self.dynamic().clone();
        self.with_dynamic(match own {
            true => DynamicConfig {
                cluster,
                own: configs,
            },
            false => DynamicConfig {
                cluster: configs,
                own: mine,
            },
        })
    }
}
