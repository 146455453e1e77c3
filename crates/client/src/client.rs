//! A cluster: bootstrap, metadata, one connection per broker, retries within a bounded time.
use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        GroupId, MetadataRequest, MetadataResponse, TopicName,
        metadata_request::MetadataRequestTopic,
    },
    protocol::{Request, StrBytes},
};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::{
    Broker, Connection, Error, Result, Topic,
    metadata::{self, Cache},
};

/// How a client behaves towards every broker.
#[derive(Clone, Debug)]
pub struct Options {
    pub client_id: String,
    /// The longest wait for a connection, and for one answer.
    pub request_timeout: Duration,
    /// How long retriable errors are retried before they are reported.
    pub retry_for: Duration,
    /// The first pause between two tries; it doubles up to a second.
    pub backoff: Duration,
    /// Whether asking for an unknown topic may create it (if the broker agrees).
    pub auto_create_topics: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            client_id: "streamhouse".into(),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(30),
            backoff: Duration::from_millis(50),
            auto_create_topics: false,
        }
    }
}

/// A slot of its own per address, so that a broker that does not answer holds up nobody else.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

struct Inner {
    bootstrap: Vec<String>,
    options: Options,
    slots: Mutex<HashMap<String, Slot>>,
    cache: RwLock<Cache>,
}

/// A cheap handle; clones share connections and metadata.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl Client {
    /// `bootstrap` is a list of `host:port`, separated by commas. Reads the metadata once, so that a wrong address is
    /// reported here.
    pub async fn connect(bootstrap: &str, options: Options) -> Result<Client> {
        let client = Client::new(bootstrap, options);
        client
            .retry("the first metadata", || async {
                client.refresh(Some(&[])).await.map(drop)
            })
            .await?;
        Ok(client)
    }

    /// As [`Client::connect`], but nothing is sent yet.
    pub fn new(bootstrap: &str, options: Options) -> Client {
        let bootstrap = bootstrap
            .split(',')
            .map(|a| a.trim().to_owned())
            .filter(|a| !a.is_empty())
            .collect();
        Client(Arc::new(Inner {
            bootstrap,
            options,
            slots: Mutex::default(),
            cache: RwLock::default(),
        }))
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The brokers that the last metadata named.
    pub fn brokers(&self) -> Vec<Broker> {
        self.0.cache.read().brokers.clone()
    }

    /// A connection to any broker, known ones first.
    pub async fn any(&self) -> Result<Arc<Connection>> {
        let known = self.brokers().into_iter().map(|b| b.address());
        let addresses: Vec<String> = known.chain(self.0.bootstrap.iter().cloned()).collect();
        let mut last = Error::Connect {
            address: "(no address)".into(),
            source: std::io::Error::other("the list of bootstrap servers is empty"),
        };
        for address in &addresses {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(Error::NoBroker {
            tried: addresses.join(", "),
            last: Box::new(last),
        })
    }

    /// The connection to one broker.
    pub async fn node(&self, id: i32) -> Result<Arc<Connection>> {
        let address = self
            .0
            .cache
            .read()
            .brokers
            .iter()
            .find(|b| b.id == id)
            .map(Broker::address);
        match address {
            Some(address) => self.connection(&address).await,
            None => Err(Error::Refused {
                what: format!("broker {id}"),
                code: ResponseError::LeaderNotAvailable,
                message: Some("the metadata names no such broker".into()),
            }),
        }
    }

    /// The connection to the controller, for admin requests; any broker if the metadata names none.
    pub async fn controller(&self) -> Result<Arc<Connection>> {
        let id = self.0.cache.read().controller;
        match self.node(id).await {
            Ok(connection) => Ok(connection),
            Err(_) => self.any().await,
        }
    }

    /// The topic, from memory if possible.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        if let Some(topic) = self.0.cache.read().topics.get(name) {
            return Ok(topic.clone());
        }
        let answer = self.refresh(Some(&[name])).await?;
        let found = answer
            .topics
            .iter()
            .find(|t| t.name.as_ref().is_some_and(|n| n.as_str() == name));
        let missing = || Error::Refused {
            what: format!("topic {name}"),
            code: ResponseError::UnknownTopicOrPartition,
            message: None,
        };
        metadata::read_topic(found.ok_or_else(missing)?).map(Arc::new)
    }

    /// Every topic of the cluster.
    pub async fn topics(&self) -> Result<Vec<Arc<Topic>>> {
        let answer = self.retry("Metadata", || self.refresh(None)).await?;
        let mut topics = Vec::new();
        for topic in &answer.topics {
            topics.push(Arc::new(metadata::read_topic(topic)?));
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Forgets what is known of a topic; the next use asks again.
    pub fn forget(&self, topic: &str) {
        self.0.cache.write().topics.remove(topic);
    }

    /// The leader of a partition, and the topic.
    pub async fn leader(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(Arc<Connection>, Arc<Topic>)> {
        let topic = self.topic(topic).await?;
        let leader = topic.partition(partition)?.leader;
        Ok((self.node(leader).await?, topic))
    }

    /// Asks for metadata of `topics` (`None`: all) and remembers the answer.
    pub async fn refresh(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let connection = self.any().await?;
        let version = connection.version_of::<MetadataRequest>()?;
        // Version 0 says "all" with an empty list, later ones with null.
        let all = topics.is_none().then(Vec::new).filter(|_| version == 0);
        let named = topics
            .map(|names| names.iter().map(|n| metadata_topic(n)).collect())
            .or(all);
        let mut request = MetadataRequest::default().with_topics(named);
        if version >= 4 {
            request = request.with_allow_auto_topic_creation(self.0.options.auto_create_topics);
        }
        let answer = connection.call(&request, version).await?;
        self.0.cache.write().absorb(&answer);
        Ok(answer)
    }

    /// Sends a request to `connection`, built for the version that both sides speak.
    pub async fn call<R: Request>(
        &self,
        connection: &Connection,
        build: impl FnOnce(i16) -> R,
    ) -> Result<R::Response> {
        let version = connection.version_of::<R>()?;
        connection.call(&build(version), version).await
    }

    /// Tries until it succeeds, fails for good, or [`Options::retry_for`] has passed.
    pub async fn retry<T, F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        let mut pause = self.0.options.backoff;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) => error,
            };
            if started.elapsed() + pause > self.0.options.retry_for {
                return Err(Error::Deadline {
                    what: what.into(),
                    after: started.elapsed(),
                    last: Box::new(error),
                });
            }
            tracing::debug!(%error, what, "retrying");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    pub(crate) async fn connection(&self, address: &str) -> Result<Arc<Connection>> {
        let slot = self
            .0
            .slots
            .lock()
            .entry(address.to_owned())
            .or_default()
            .clone();
        let mut slot = slot.lock().await;
        if let Some(open) = slot.as_ref().filter(|c| !c.is_closed()) {
            return Ok(open.clone());
        }
        let options = &self.0.options;
        let opened = Connection::open(address, &options.client_id, options.request_timeout).await?;
        Ok(slot.insert(Arc::new(opened)).clone())
    }
}

fn metadata_topic(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic_name(name)))
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.into())
}
