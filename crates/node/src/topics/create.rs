//! Creating topics.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use sh_base::{ErrorCode, Failure, Org, TopicId, TopicName};
use sh_meta::{Decision, Key, View};

use super::{
    PARTITIONS_PER_REQUEST_MAX, ROWS_PER_UPDATE, assignment, duplicate_name, is_internal, names,
    repeated, too_many_partitions,
};
use crate::{
    BrokerConfig, Caller, Node, Operation, Resource, TopicRow,
    config::{ConfigEntry, Effective, topic},
    control::{decision, put},
};

/// A topic that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1: the broker's `num.partitions`, or by `assignments`.
    pub partitions: i32,
    /// -1: the broker's `default.replication.factor`, or by `assignments`. Any other is accepted: the store replicates.
    pub replication_factor: i16,
    /// Partitions, and the brokers they should be on. Empty: none by hand.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn named(name: impl Into<String>) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

/// A topic that was created, or that could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// Its effective configs.
    pub configs: Vec<ConfigEntry>,
}

/// A checked topic on its way into the store.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub id: TopicId,
    pub name: TopicName,
    pub row: TopicRow,
}

impl Node {
    /// Creates topics, each for itself: one that is refused does not stop the others. In the order of the request, except
    /// that a repeated name is answered once, at the end. With `validate_only` nothing is written.
    ///
    /// Errors: `InvalidTopic`, `TopicAlreadyExists`, `InvalidConfig`, `InvalidPartitions`, `InvalidReplicationFactor`,
    /// `InvalidReplicaAssignment`, `PolicyViolation`, `InvalidRequest`.
    pub async fn create_topics(
        &self,
        caller: &Caller,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<(String, Result<CreatedTopic, Failure>)> {
        let twice = repeated(topics.iter().map(|t| t.name.as_str()));
        let once = topics.into_iter().filter(|t| !twice.contains(&t.name));
        let mut checked = self.check_all(caller, once.collect()).await;
        if !validate_only {
            self.store_all(&caller.org, &mut checked).await;
        }
        let broker = self.broker();
        let created = |c: Candidate| describe(c, &broker);
        let answers = checked.into_iter().map(|(name, c)| (name, c.map(created)));
        answers
            .chain(twice.into_iter().map(|name| (name, Err(duplicate_name()))))
            .collect()
    }

    async fn check_all(
        &self,
        caller: &Caller,
        topics: Vec<NewTopic>,
    ) -> Vec<(String, Result<Candidate, Failure>)> {
        let brokers = match self.cluster().await {
            Ok(cluster) => cluster.agents.iter().map(|a| a.id.0 as i32).collect(),
            Err(e) => {
                return topics
                    .into_iter()
                    .map(|t| (t.name, Err(e.clone())))
                    .collect();
            }
        };
        let mut checked: Vec<(String, Result<Candidate, Failure>)> = Vec::new();
        let mut partitions = 0;
        for topic in topics {
            let taken: Vec<&str> = checked
                .iter()
                .filter(|(_, c)| c.is_ok())
                .map(|(n, _)| n.as_str())
                .collect();
            let mut candidate = self.check(caller, &topic, &taken, &brokers).await;
            partitions += candidate.as_ref().map_or(0, |c| c.row.partitions);
            if partitions > PARTITIONS_PER_REQUEST_MAX {
                candidate = Err(too_many_partitions());
            }
            checked.push((topic.name, candidate));
        }
        checked
    }

    async fn check(
        &self,
        caller: &Caller,
        topic: &NewTopic,
        taken: &[&str],
        brokers: &BTreeSet<i32>,
    ) -> Result<Candidate, Failure> {
        let name = names::parse(&topic.name)?;
        self.authorize(caller, Operation::Create, Resource::Topic(&name))?;
        if is_internal(name.as_str()) {
            self.ensure_internal(&caller.org, &name).await?;
        }
        match self.topics().by_name(&caller.org, &name).await {
            Ok(_) => return Err(exists(name.as_str())),
            Err(e) if e.code != ErrorCode::UnknownTopicOrPartition => return Err(e),
            Err(_) => {}
        }
        names::check_collision_with(name.as_str(), taken)?;
        self.check_collision(&caller.org, &name).await?;
        let row = new_row(
            topic,
            &caller.org,
            &self.broker(),
            brokers,
            self.env().wall_ms(),
        )?;
        Ok(Candidate {
            id: TopicId(self.env().uuid()),
            name,
            row,
        })
    }

    /// Writes candidates, and turns those into errors that another agent was faster with.
    async fn store_all(&self, org: &Org, checked: &mut [(String, Result<Candidate, Failure>)]) {
        let mut chosen: Vec<&mut Result<Candidate, Failure>> = checked
            .iter_mut()
            .map(|(_, c)| c)
            .filter(|c| c.is_ok())
            .collect();
        for chunk in chosen.chunks_mut(ROWS_PER_UPDATE / 2) {
            let candidates: Vec<Candidate> = chunk
                .iter()
                .filter_map(|c| c.as_ref().ok().cloned())
                .collect();
            match self.store_candidates(org, candidates).await {
                Err(e) => chunk.iter_mut().for_each(|c| **c = Err(e.clone())),
                Ok(late) => refuse_late(chunk, &late),
            }
        }
    }

    /// One update; the names that exist already come back.
    pub(super) async fn store_candidates(
        &self,
        org: &Org,
        candidates: Vec<Candidate>,
    ) -> Result<HashSet<String>, Failure> {
        let keys = |c: &Candidate| {
            [
                Key::TopicName(org.clone(), c.name.clone()),
                Key::Topic(c.id),
            ]
        };
        let locks = candidates.iter().flat_map(keys).collect();
        let org = org.clone();
        self.change(locks, move |view| create(view, &org, &candidates))
            .await
    }
}

fn refuse_late(chunk: &mut [&mut Result<Candidate, Failure>], late: &HashSet<String>) {
    for candidate in chunk {
        let name = candidate.as_ref().ok().map(|c| c.name.as_str().to_owned());
        if let Some(name) = name.filter(|name| late.contains(name)) {
            **candidate = Err(exists(&name));
        }
    }
}

fn exists(name: &str) -> Failure {
    Failure::new(
        ErrorCode::TopicAlreadyExists,
        format!("Topic '{name}' already exists."),
    )
}

/// Pure: writes the candidates whose names are free; replies with the names that are not.
fn create(view: &View, org: &Org, candidates: &[Candidate]) -> Decision {
    let (mut writes, mut late) = (Vec::new(), Vec::new());
    for c in candidates {
        let name = Key::TopicName(org.clone(), c.name.clone());
        if view.value(&name).is_some() {
            late.push(c.name.as_str());
            continue;
        }
        writes.push(put(name, c.id.to_string()));
        writes.push(put(Key::Topic(c.id), c.row.encode()));
    }
    decision(writes, &late)
}

/// The row of a topic that passes Kafka's checks, in Kafka's order: configs, then assignments or numbers.
fn new_row(
    topic: &NewTopic,
    org: &Org,
    broker: &BrokerConfig,
    brokers: &BTreeSet<i32>,
    now_ms: i64,
) -> Result<TopicRow, Failure> {
    let configs = new_configs(&topic.configs)?;
    let (partitions, replication_factor) = match topic.assignments.is_empty() {
        true => numbers(topic, broker)?,
        false => assigned(topic, brokers)?,
    };
    Ok(TopicRow {
        org: org.as_str().into(),
        name: topic.name.clone(),
        partitions,
        replication_factor,
        configs,
        created_ms: now_ms,
        deletion: None,
    })
}

fn new_configs(configs: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, Failure> {
    let invalid = |text| Failure::new(ErrorCode::InvalidConfig, text);
    let nulls: BTreeSet<&str> = configs
        .iter()
        .filter(|(_, v)| v.is_none())
        .map(|(n, _)| n.as_str())
        .collect();
    if !nulls.is_empty() {
        let nulls = Vec::from_iter(nulls).join(",");
        return Err(invalid(format!(
            "Null value not supported for topic configs: {nulls}"
        )));
    }
    let configs = configs
        .iter()
        .filter_map(|(n, v)| Some((n.clone(), v.clone()?)))
        .collect();
    topic::validate(&configs).map_err(invalid)?;
    Ok(configs)
}

fn numbers(topic: &NewTopic, broker: &BrokerConfig) -> Result<(i32, i16), Failure> {
    let factor = match topic.replication_factor {
        -1 => broker.number("default.replication.factor") as i16,
        n if n < 1 => {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Failure::new(ErrorCode::InvalidReplicationFactor, text));
        }
        n => n,
    };
    match topic.partitions {
        -1 => Ok((broker.number("num.partitions") as i32, factor)),
        n if n < 1 => Err(Failure::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )),
        n => Ok((n, factor)),
    }
}

fn assigned(topic: &NewTopic, brokers: &BTreeSet<i32>) -> Result<(i32, i16), Failure> {
    let contradiction = |what: &str| {
        let text =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Failure::new(ErrorCode::InvalidRequest, text))
    };
    match (topic.replication_factor, topic.partitions) {
        (-1, -1) => assignment::of_new_topic(&topic.assignments, brokers),
        (-1, _) => contradiction("numPartitions"),
        _ => contradiction("replication factor"),
    }
}

/// The configs in force; those of the topic's own as they were given, as Kafka answers.
fn describe(c: Candidate, broker: &BrokerConfig) -> CreatedTopic {
    let overrides = &c.row.configs;
    let mut configs = Effective { overrides, broker }.entries();
    for entry in &mut configs {
        if let Some(given) = overrides.get(&entry.name) {
            entry.value = Some(given.clone());
        }
    }
    CreatedTopic {
        id: c.id,
        partitions: c.row.partitions,
        replication_factor: c.row.replication_factor,
        configs,
    }
}
