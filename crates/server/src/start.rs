//! From settings to a serving agent, and back.
use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use sh_base::{Env, Failure, Incarnation};
use sh_blob::{BlobSettings, Bucket, Capabilities};
use sh_kafka::{Door, DoorConfig};
use sh_log::{
    Log, LogConfig, LogParts, ReadConfig, Reader,
    agent::{self, Address, COMMIT_LANE, CONTROL_LANE, GROUP_LANE, TRANSACTION_LANES},
    cluster::{self, ClusterFile},
    ingest::IngestConfig,
    peers::{self, Pass, PeerSecret, Peers},
};
use sh_meta::{Guard, Lane, LaneId, MetaStore};
use sh_node::{AnswerMemory, BrokerConfig, Loggers, Node, NodeParts};
use tokio::{net::TcpListener, sync::watch, time::sleep};

use crate::{
    banner::{banner, without_secrets},
    data_dir::DataDir,
    http, jobs, os,
    peers::{door::PeersDoor, link::HttpLink},
    settings::Settings,
    telemetry::{self, LogControl},
};

/// How long a store that is away at the start is left alone between two tries.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// What one step of the start may take at the metadata store.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop may take: what was read is answered, windows are flushed, leases given up.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Both seams, open, and known to belong together.
pub struct Stores {
    pub bucket: Arc<dyn Bucket>,
    pub store: Arc<dyn MetaStore>,
    pub boot: Lane,
    pub cluster: ClusterFile,
}

/// An agent that has begun a life: its log is open and its WAL replayed.
pub struct Agent {
    pub me: Incarnation,
    pub node: Node,
    pub log: Log,
    pub reader: Reader,
    pub control: Arc<Lane>,
    pub peers: Peers,
    /// What other agents must show to be let in.
    pub pass: Pass,
    /// Told once when the agent must stop, with the reason.
    pub stop: Stop,
}

/// The way to say that this agent must stop.
#[derive(Clone)]
pub struct Stop(Arc<watch::Sender<Option<String>>>);

impl Stop {
    fn new() -> Stop {
        Stop(Arc::new(watch::channel(None).0))
    }
    /// The first reason counts.
    pub fn because(&self, why: &str) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert_with(|| why.to_owned());
            first
        });
    }
    async fn reason(&self) -> String {
        let mut watch = self.0.subscribe();
        let told = watch
            .wait_for(Option::is_some)
            .await
            .map(|r| r.clone().unwrap_or_default());
        told.unwrap_or_default()
    }
}

/// Serves until SIGTERM or SIGINT, or until the agent must stop.
pub async fn serve(settings: Settings, env: Env, logs: LogControl) -> anyhow::Result<()> {
    let metrics = telemetry::metrics()?;
    let broker = BrokerConfig::parse(&settings.broker).map_err(anyhow::Error::msg)?;
    let data = DataDir::open(&settings.data)?;
    let kafka = listen("kafka", settings.kafka).await?;
    let web = listen("http", settings.http).await?;
    let (kafka_at, http_at) = (kafka.local_addr()?, web.local_addr()?);
    let (ready, state) = watch::channel(http::State::Starting);
    tokio::spawn(http::serve(web, state, metrics));

    let mut signals = Signals::new()?;
    let stores = tokio::select! {
        stores = open_stores(&settings, &env) => stores?,
        () = signals.next() => bail!("stopped while waiting for the stores"),
    };
    let address = advertised(&settings, kafka_at, http_at);
    let broker = derived(broker, &settings, kafka_at, &address);
    let agent = begin(
        &settings,
        &env,
        &data,
        &stores,
        &address,
        broker.clone(),
        logs,
    )
    .await?;
    let cluster = stores.cluster.cluster_id.clone();

    let (stop, stopping) = watch::channel(false);
    let door = Door::new(agent.node.clone(), door_config(&broker));
    let connections = tokio::spawn(sh_kafka::serve(kafka, door, stopping));
    let mut background = jobs::spawn(&env, &agent, &stores);
    agent::change_own_row(&agent.control, agent.me, PATIENCE, |row| row.serving = true).await?;
    let peers = PeersDoor::new(agent.me.agent, agent.reader.clone(), agent.pass.clone());
    ready.send_replace(http::State::Ready(agent.node.clone(), peers));
    let shown = format!("{}:{}", address.host, address.port);
    println!(
        "{}",
        banner(
            &settings,
            &shown,
            &http_at.to_string(),
            &cluster,
            agent.me.agent.0
        )
    );

    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        why = agent.stop.reason() => Err(why),
    };
    ready.send_replace(http::State::Stopping);
    stop.send_replace(true);
    background.abort_all();
    match outcome {
        Ok(()) => drain(&agent, connections).await,
        Err(why) => bail!("this agent must stop: {why}"),
    }
}

async fn drain(agent: &Agent, connections: tokio::task::JoinHandle<()>) -> anyhow::Result<()> {
    tracing::info!("draining");
    let work = async {
        let gone = agent::change_own_row(&agent.control, agent.me, PATIENCE, |row| {
            row.serving = false
        });
        if let Err(error) = gone.await {
            tracing::warn!(%error, "others will notice only by the missing heartbeat that this agent stopped");
        }
        // Clients of groups go to their next coordinator at once.
        agent.node.drain_groups().await;
        // Flushing early answers those who wait; the second flush is for what came meanwhile.
        agent.log.drain().await?;
        let _ = connections.await;
        agent.log.drain().await
    };
    match tokio::time::timeout(DRAIN_MAX, work).await {
        Ok(outcome) => outcome.context("stopped before everything was flushed"),
        Err(_) => {
            bail!("stopped before everything was flushed: the WAL keeps what was acknowledged")
        }
    }
}

async fn listen(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("cannot listen on --{name} {address}: stop what uses it, or say another address")
    })
}

fn advertised(settings: &Settings, kafka_at: SocketAddr, http_at: SocketAddr) -> Address {
    let (host, port) = settings
        .kafka_advertised
        .clone()
        .unwrap_or_else(|| (kafka_at.ip().to_string(), kafka_at.port()));
    Address {
        http: reached_at(settings.http_advertised.as_ref(), http_at, &host),
        host,
        port,
        zone: settings.zone.clone(),
    }
}

/// Where other agents reach the HTTP listener: as was said; else, if it listens on all addresses, at the host that Kafka clients
/// are told; else where it listens, unless that is loopback and clients are told of another host.
fn reached_at(said: Option<&(String, u16)>, http: SocketAddr, kafka: &str) -> Option<String> {
    let joined = |host: &str, port: u16| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let kafka_is_loopback =
        kafka == "localhost" || kafka.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match said {
        Some((host, port)) => Some(joined(host, *port)),
        None if http.ip().is_unspecified() => Some(joined(kafka, http.port())),
        None if http.ip().is_loopback() && !kafka_is_loopback => None,
        None => Some(http.to_string()),
    }
}

/// Opens both seams, waiting for what is away, and finds out whose they are.
pub async fn open_stores(settings: &Settings, env: &Env) -> anyhow::Result<Stores> {
    let aws = BlobSettings::from_aws_variables(|name| std::env::var(name).ok());
    let bucket = sh_blob::open(&settings.bucket, &aws, env)
        .with_context(|| format!("bucket {}", without_secrets(&settings.bucket)))?;
    let shown = without_secrets(&settings.bucket);
    let Capabilities { conditional_put } = until_there(&format!("the bucket {shown}"), || async {
        sh_blob::probe(&*bucket, env).await.map_err(Away::Yes)
    })
    .await?;
    let shown = without_secrets(&settings.metadata);
    let store = until_there(&format!("the metadata store {shown}"), || async {
        sh_meta::open(&settings.metadata, env)
            .await
            .map_err(|e| Away::of(e.is_retriable(), e))
    })
    .await?;
    let guard = Guard::new(store).await?;
    let store: Arc<dyn MetaStore> = guard.clone();
    let boot = agent::boot_lane(store.clone(), env);
    let cluster = until_there("the cluster's identity", || async {
        let opened = cluster::open(&bucket, &store, &boot, env, conditional_put).await;
        opened.map_err(|e| Away::of(e.is_passing(), e))
    })
    .await?;
    Ok(Stores {
        bucket,
        store,
        boot,
        cluster,
    })
}

/// A step of the start that failed: is it worth waiting?
enum Away<E> {
    Yes(E),
    No(E),
}

impl<E> Away<E> {
    fn of(passing: bool, error: E) -> Away<E> {
        if passing {
            Away::Yes(error)
        } else {
            Away::No(error)
        }
    }
}

/// Tries a step until it succeeds or can never succeed, saying so.
async fn until_there<T, E, F>(what: &str, step: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, Away<E>>>,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        match step().await {
            Ok(there) => return Ok(there),
            Err(Away::No(error)) => return Err(error.into()),
            Err(Away::Yes(error)) => tracing::warn!(%error, "waiting for {what}"),
        }
        sleep(AWAY_PAUSE).await;
    }
}

/// Begins a life of this folder's agent: the epoch first, then the WAL (see `sh_log::replay`).
pub async fn begin(
    settings: &Settings,
    env: &Env,
    data: &DataDir,
    stores: &Stores,
    address: &Address,
    broker: BrokerConfig,
    logs: LogControl,
) -> anyhow::Result<Agent> {
    let cluster_id = &stores.cluster.cluster_id;
    let id = match data.agent(cluster_id)? {
        Some(id) => id,
        None => {
            let id = agent::allocate_id(&stores.boot, PATIENCE).await?;
            data.remember(cluster_id, id)?;
            id
        }
    };
    let (me, _) = agent::begin_life(&stores.boot, env, id, address, PATIENCE).await?;
    let read = ReadConfig {
        cache_bytes: settings.cache_bytes,
        whole_objects: settings.bucket_is_remote(),
        ..ReadConfig::default()
    };
    let reader = Reader::new(
        stores.store.clone(),
        stores.bucket.clone(),
        env.clone(),
        read,
        me,
    );
    let candidate = PeerSecret::of(os::secret());
    let secret = peers::shared_secret(&stores.boot, candidate).await?;
    let pass = Pass::new(secret, &stores.cluster);
    let link = Arc::new(HttpLink::new(pass.clone()));
    let peers = Peers::new(env.clone(), me, address.zone.clone(), link);
    reader.join(peers.clone());
    let commits = lane(stores, env, me, COMMIT_LANE, &reader, &peers);
    let control = lane(stores, env, me, CONTROL_LANE, &reader, &peers);
    let stop = Stop::new();
    let fatal = stop.clone();
    let remember = reader.clone();
    let parts = LogParts {
        env: env.clone(),
        bucket: stores.bucket.clone(),
        store: stores.store.clone(),
        commits,
        control: control.clone(),
        me,
        on_built: Arc::new(move |object| remember.remember(object.id, object.memory())),
        on_fatal: Arc::new(move |why: &Failure| fatal.because(&why.to_string())),
    };
    let log = Log::open(log_config(settings, &broker, data), parts).await?;
    let node = Node::new(NodeParts {
        env: env.clone(),
        store: stores.store.clone(),
        control: control.clone(),
        groups: lane(stores, env, me, GROUP_LANE, &reader, &peers),
        transactions: TRANSACTION_LANES
            .map(|number| lane(stores, env, me, number, &reader, &peers))
            .to_vec(),
        agent: me.agent,
        broker,
        log: log.clone(),
        reader: reader.clone(),
        segment_codec: settings.segment_compression.codec(),
        answers: AnswerMemory::new(settings.answer_bytes),
        loggers: Loggers::new("INFO", telemetry::level_setter(settings.log.clone(), logs)),
    });
    reader.on_entry(node.ear());
    node.load_configs()
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(Agent {
        me,
        node,
        log,
        reader,
        control,
        peers,
        pass,
        stop,
    })
}

/// A commit lane of this incarnation, whose entries the reader hears of at once, and then the other agents.
fn lane(
    stores: &Stores,
    env: &Env,
    by: Incarnation,
    lane: u8,
    reader: &Reader,
    peers: &Peers,
) -> Arc<Lane> {
    let (hear, tell) = (reader.clone(), peers.clone());
    let lane = Lane::new(stores.store.clone(), env.clone(), LaneId { by, lane }, 0)
        .on_entry(Arc::new(move |entry| hear.hear(entry)))
        .on_entry(Arc::new(move |entry| tell.tell(entry)));
    Arc::new(lane)
}

fn log_config(settings: &Settings, broker: &BrokerConfig, data: &DataDir) -> LogConfig {
    let ingest = IngestConfig {
        window_bytes_max: settings.window_bytes,
        window_age_max: Duration::from_millis(settings.window_ms),
        quiet_max: Duration::from_millis(settings.quiet_ms),
        early_closes_per_second: settings.early_uploads,
        early_closes_burst: settings.early_uploads * 2.0,
        wal_bytes_max: settings.wal_bytes,
        producer_expiry_ms: broker.number("producer.id.expiration.ms"),
        ..IngestConfig::default()
    };
    LogConfig {
        ingest,
        memory_bytes_max: settings.memory_bytes,
        replay_old: settings.replay_old,
        ..LogConfig::new(data.wal())
    }
}

/// Kafka's settings that follow from ours: DescribeConfigs shows them.
fn derived(
    broker: BrokerConfig,
    settings: &Settings,
    kafka: SocketAddr,
    told: &Address,
) -> BrokerConfig {
    let broker = broker
        .with("listeners", format!("PLAINTEXT://{kafka}"))
        .with(
            "advertised.listeners",
            format!("PLAINTEXT://{}:{}", told.host, told.port),
        )
        .with("log.dirs", without_secrets(&settings.bucket));
    match &told.zone {
        Some(zone) => broker.with("broker.rack", zone.as_str()),
        None => broker,
    }
}

fn door_config(broker: &BrokerConfig) -> DoorConfig {
    let positive = |name: &str| usize::try_from(broker.number(name)).ok().filter(|n| *n > 0);
    let mut door = DoorConfig::default();
    if let Some(bytes) = positive("socket.request.max.bytes") {
        door.limits.frame_bytes_max = door.limits.frame_bytes_max.min(bytes);
    }
    door.limits.idle_max = match u64::try_from(broker.number("connections.max.idle.ms")) {
        Ok(ms) => Duration::from_millis(ms),
        Err(_) => Duration::MAX,
    };
    door
}

/// SIGTERM and SIGINT.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_agents_are_told_an_address_that_they_can_reach_or_none() {
        let told = |said: Option<(&str, u16)>, http: &str, kafka: &str| {
            let said = said.map(|(host, port)| (host.to_owned(), port));
            reached_at(said.as_ref(), http.parse().unwrap(), kafka)
        };
        let same_machine = told(None, "127.0.0.1:8080", "127.0.0.1");
        assert_eq!(same_machine.as_deref(), Some("127.0.0.1:8080"));
        let named = told(None, "[::1]:8080", "localhost");
        assert_eq!(named.as_deref(), Some("[::1]:8080"));
        assert_eq!(told(None, "127.0.0.1:8080", "kafka.example.org"), None);
        let everywhere = told(None, "0.0.0.0:8080", "a.example.org");
        assert_eq!(everywhere.as_deref(), Some("a.example.org:8080"));
        let own = told(None, "10.0.0.5:8080", "a.example.org");
        assert_eq!(own.as_deref(), Some("10.0.0.5:8080"));
        let said = told(Some(("fd00::1", 81)), "0.0.0.0:8080", "a.example.org");
        assert_eq!(said.as_deref(), Some("[fd00::1]:81"));
    }
}
