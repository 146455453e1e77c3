//! One of the two servers, and what it said during one scenario.
use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::future::BoxFuture;
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, MetadataRequest, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        metadata_request::MetadataRequestTopic,
    },
    protocol::{Request, StrBytes},
};
use sh_client::{Connection, Error};
use uuid::Uuid;

use super::{normal::Names, scenarios::requests::list_offsets, tree::Tree};

const TIMEOUT: Duration = Duration::from_secs(12);

/// One request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The API, and what the scenario says of the request.
    pub what: String,
    pub version: i16,
    pub answer: Tree,
}

/// A topic that a scenario made for itself.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: TopicName,
    pub id: Uuid,
}

/// What both peers of a run share.
#[derive(Clone, Debug)]
pub struct Run {
    /// Makes topic names unique on a server that saw earlier runs.
    pub suffix: String,
    /// The wall clock at the start of the run.
    pub now_ms: i64,
}

/// A request whose answer is still to come.
pub struct Begun<R: Request> {
    version: i16,
    answer: BoxFuture<'static, Result<R::Response, Error>>,
}

pub struct Peer {
    address: String,
    scenario: &'static str,
    run: Run,
    names: Names,
    connection: Option<Connection>,
    /// Connections of the members of a group, by the story's number for them.
    lanes: BTreeMap<usize, Connection>,
    pub steps: Vec<Step>,
}

impl Peer {
    pub async fn connect(address: &str, scenario: &'static str, run: &Run) -> Result<Peer> {
        let connection = Connection::open(address, "oracle", TIMEOUT).await?;
        let answer = connection
            .call(&MetadataRequest::default().with_topics(Some(vec![])), 5)
            .await?;
        let node = answer
            .brokers
            .first()
            .context("the metadata names no broker")?
            .node_id
            .0;
        Ok(Peer {
            address: address.into(),
            scenario,
            run: run.clone(),
            names: Names::new(address, node, run.now_ms, &run.suffix),
            connection: Some(connection),
            lanes: BTreeMap::new(),
            steps: Vec::new(),
        })
    }

    /// The broker id of this server.
    pub fn node(&self) -> i32 {
        self.names.node
    }

    /// A moment for records: hours away from "now", so that the two are never confused.
    pub fn base_ms(&self) -> i64 {
        self.run.now_ms / 1000 * 1000 - 6 * 3600 * 1000
    }

    pub fn now_ms(&self) -> i64 {
        self.run.now_ms
    }

    /// A topic name that only this run and scenario use.
    pub fn name(&self, topic: &str) -> TopicName {
        TopicName(StrBytes::from_string(format!(
            "{}.{topic}{}",
            self.scenario, self.run.suffix
        )))
    }

    /// Creates a topic, outside of the transcript, and waits until it can be used.
    pub async fn topic(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<Topic> {
        let name = self.name(topic);
        let config = |(k, v): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(k.to_string()))
                .with_value(Some(StrBytes::from_string(v.to_string())))
        };
        let wanted = CreatableTopic::default()
            .with_name(name.clone())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(15_000);
        let answer = self.connection().await?.call(&request, 7).await?;
        let result = answer
            .topics
            .first()
            .context("CreateTopics answered nothing")?;
        if result.error_code != 0 {
            bail!(
                "topic {} was not created: {} {:?}",
                name.0,
                result.error_code,
                result.error_message
            );
        }
        self.wait_for(&name, partitions).await
    }

    /// Waits until a topic shows `partitions` partitions, and each of them answers.
    pub async fn wait_for(&mut self, name: &TopicName, partitions: i32) -> Result<Topic> {
        for _ in 0..200 {
            if let Some(id) = self.ready(name, partitions).await? {
                self.names.learn(&id.to_string(), &name.0);
                return Ok(Topic {
                    name: name.clone(),
                    id,
                });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!(
            "topic {} did not appear with {partitions} led partitions within 5 s",
            name.0
        )
    }

    /// The topic's id, once Metadata names it and every leader has taken up its partition.
    async fn ready(&mut self, name: &TopicName, partitions: i32) -> Result<Option<Uuid>> {
        let wanted = MetadataRequestTopic::default().with_name(Some(name.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        let answer = self.quietly(12, &request).await?;
        let shown = answer
            .topics
            .iter()
            .find(|t| t.error_code == 0 && t.partitions.len() == partitions as usize);
        let Some(topic) = shown else { return Ok(None) };
        let asks: Vec<_> = (0..partitions).map(|p| (p, -1, -1)).collect();
        let offsets = self.quietly(7, &list_offsets(7, name, &asks)).await?;
        let led = offsets
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .all(|p| p.error_code == 0);
        Ok(led.then_some(topic.topic_id))
    }

    /// Sends a request and writes the answer, or how it failed, into the transcript.
    pub async fn ask<R>(
        &mut self,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<Option<R::Response>>
    where
        R: Request,
        R::Response: Debug,
    {
        let answer = self.connection().await?.call(request, version).await;
        let tree = self.tree_of(answer.as_ref())?;
        if answer.is_err() {
            self.connection = None;
        }
        self.note::<R>(what, version, tree);
        Ok(answer.ok())
    }

    /// Asks without writing it down: for what a story needs but does not compare.
    pub async fn quietly<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        Ok(self.connection().await?.call(request, version).await?)
    }

    /// Sends requests all at once and writes their answers down in order.
    pub async fn ask_together<R>(&mut self, what: &str, version: i16, requests: &[R]) -> Result<()>
    where
        R: Request,
        R::Response: Debug,
    {
        let connection = self.connection().await?;
        let pending = requests
            .iter()
            .map(|r| connection.start(r, version))
            .collect::<Result<Vec<_>, _>>()?;
        let mut answers = Vec::new();
        for answer in pending {
            answers.push(answer.await);
        }
        for (n, answer) in answers.iter().enumerate() {
            let tree = self.tree_of(answer.as_ref())?;
            self.note::<R>(&format!("{what}, number {n}"), version, tree);
        }
        Ok(())
    }

    /// Sends a request on a connection of its own (one for each lane), and does not wait for its answer.
    pub async fn begin<R: Request + 'static>(
        &mut self,
        lane: usize,
        version: i16,
        request: &R,
    ) -> Result<Begun<R>> {
        let broken = self.lanes.get(&lane).is_none_or(Connection::is_closed);
        if broken {
            let connection = Connection::open(&self.address, "oracle", TIMEOUT).await?;
            self.lanes.insert(lane, connection);
        }
        let connection = self.lanes.get(&lane).context("the lane was just opened")?;
        Ok(Begun {
            version,
            answer: Box::pin(connection.start(request, version)?),
        })
    }

    /// Waits for the answer of a request that was begun, and writes it down.
    pub async fn end<R>(&mut self, what: &str, begun: Begun<R>) -> Result<R::Response>
    where
        R: Request,
        R::Response: Debug,
    {
        let answer = begun.answer.await;
        let tree = self.tree_of(answer.as_ref())?;
        self.note::<R>(what, begun.version, tree);
        Ok(answer?)
    }

    /// Waits for the answer of a request that was begun; the story writes down of it what it likes.
    pub async fn end_quietly<R: Request>(&mut self, begun: Begun<R>) -> Result<R::Response> {
        Ok(begun.answer.await?)
    }

    /// A request that must not be answered.
    pub async fn tell<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        let written = self.connection().await?.tell(request, version)?;
        Ok(written.await?)
    }

    /// Sends a body of any bytes under a header; the answer is written down as bytes.
    pub async fn ask_raw(
        &mut self,
        what: &str,
        (key, version, header): (i16, i16, i16),
        body: &[u8],
    ) -> Result<()> {
        let pending = self.connection().await?.send(key, version, header, body)?;
        let answer = pending.bytes().await;
        let tree = match answer {
            Ok(bytes) => Tree::Bytes(bytes.to_vec()),
            Err(error) => self.failure(&error)?,
        };
        self.steps.push(Step {
            what: format!("raw {key}: {what}"),
            version,
            answer: tree,
        });
        Ok(())
    }

    /// Sends a body of any bytes under a header; the answer without its correlation id, which is not written down.
    pub async fn raw(
        &mut self,
        (key, version, header): (i16, i16, i16),
        body: &[u8],
    ) -> Result<Bytes> {
        let pending = self.connection().await?.send(key, version, header, body)?;
        Ok(pending.bytes().await?)
    }

    /// Sends a whole frame of any bytes on a connection of its own; whether it is answered (with correlation id 7) is written
    /// down.
    pub async fn ask_frame(&mut self, what: &str, frame: Bytes) -> Result<()> {
        self.connection =
            Some(Connection::open_silent(&self.address, "oracle", Duration::from_secs(3)).await?);
        let pending = self.connection().await?.send_frame(7, frame, what.into())?;
        let tree = match pending.bytes().await {
            Ok(_) => Tree::leaf("ANSWERED"),
            Err(error) => self.failure(&error)?,
        };
        self.steps.push(Step {
            what: format!("frame: {what}"),
            version: 0,
            answer: tree,
        });
        self.connection = None;
        Ok(())
    }

    /// Writes down an answer that the story has looked at, or shortened, itself.
    pub fn write_down(&mut self, what: &str, version: i16, answer: &impl Debug) {
        let answer = self
            .names
            .normalise(&format!("{what} v{version}"), Tree::of(answer));
        self.steps.push(Step {
            what: what.into(),
            version,
            answer,
        });
    }

    fn note<R: Request>(&mut self, what: &str, version: i16, tree: Tree) {
        let api = kafka_protocol::messages::ApiKey::try_from(R::KEY)
            .map_or_else(|()| format!("API {}", R::KEY), |key| format!("{key:?}"));
        let answer = self.names.normalise(&format!("{what} v{version}"), tree);
        self.steps.push(Step {
            what: format!("{api}: {what}"),
            version,
            answer,
        });
    }

    fn tree_of<T: Debug>(&self, answer: Result<&T, &Error>) -> Result<Tree> {
        match answer {
            Ok(answer) => Ok(Tree::of(answer)),
            Err(error) => self.failure(error),
        }
    }

    /// How a request failed, where that is the peer's doing; a request that cannot be written is the scenario's fault.
    fn failure(&self, error: &Error) -> Result<Tree> {
        match error {
            Error::Closed { .. } => Ok(Tree::leaf("CONNECTION CLOSED")),
            Error::Timeout { .. } => Ok(Tree::leaf("NO ANSWER")),
            Error::Malformed { problem, .. } => Ok(Tree::Leaf(format!("UNREADABLE ({problem})"))),
            other => bail!("{}: {other}", self.scenario),
        }
    }

    async fn connection(&mut self) -> Result<&Connection> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connection::open(&self.address, "oracle", TIMEOUT).await?)),
        }
    }
}
