//! One life of an agent: the real rooms, wired as the server wires them, behind seams that can take the life away.
//!
//! **A death is a silence.** A process acts on the world through its seams alone: the bucket, the metadata store, the WAL's
//! disk and its connections. An agent that dies has its connections cut, and no call of its seams returns or does anything any
//! more; what its tasks do in memory after that is seen by nobody. So each call of a seam is two *crash points*, before it
//! takes effect and after it, and there are no others that the world could tell apart.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use sh_base::{Env, Failure, Incarnation};
use sh_blob::Bucket;
use sh_kafka::{
    Door, DoorConfig, connection,
    door::{Session, Software},
};
use sh_log::{
    Log, LogConfig, LogParts, ReadConfig, Reader,
    agent::{
        self, Address, COMMIT_LANE, CONTROL_LANE, GROUP_LANE, HEARTBEAT_EVERY, OwnRow,
        TRANSACTION_LANES,
    },
    cluster,
};
use sh_meta::{Lane, LaneId, MetaError, MetaStore};
use sh_node::{AnswerMemory, BrokerConfig, Loggers, Node, NodeParts};
use tokio::{
    io::DuplexStream,
    sync::{broadcast::error::RecvError, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    disk::SimDiskLiar,
    liar::{BucketLiar, StoreLiar},
    plan::much_memory,
    world::{Host, World},
};

/// What one step of the start may take at the metadata store.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes on the way in one direction of a connection.
const PIPE_BYTES: usize = 16 * 1024;
/// The pace of looking for transactions that took too long.
const EXPIRE_TRANSACTIONS_EVERY_MS: u64 = 2_000;
/// How long a clean stop may take.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What serves.
type Served = (Log, Node, Arc<Lane>, Incarnation);

pub struct Life {
    pub host: usize,
    pub number: u32,
    dead: AtomicBool,
    world: Weak<World>,
    door: Mutex<Option<Door>>,
    log: Mutex<Option<Served>>,
    connections: Mutex<Vec<AbortHandle>>,
    /// One for each connection: a watch wakes several waiters in an order that no seed decides.
    stops: Mutex<Vec<watch::Sender<bool>>>,
    /// When it died, how long until the next life begins.
    down: Mutex<Option<u64>>,
}

impl Life {
    /// Begins the next life of a host.
    pub fn begin(world: &Arc<World>, host: usize) -> Arc<Life> {
        let number = world.hosts[host].lives.fetch_add(1, Ordering::Relaxed) + 1;
        let life = Arc::new(Life {
            host,
            number,
            dead: AtomicBool::new(false),
            world: Arc::downgrade(world),
            door: Mutex::default(),
            log: Mutex::default(),
            connections: Mutex::default(),
            stops: Mutex::default(),
            down: Mutex::default(),
        });
        *world.hosts[host].life.lock() = Some(life.clone());
        world.note(|| format!("{} begins", life.name()));
        let starting = life.clone();
        let world = world.clone();
        tokio::spawn(async move {
            if let Err(why) = starting.start(&world).await {
                world.note(|| format!("{} cannot start: {why:#}", starting.name()));
                starting.die(500);
            }
        });
        life
    }

    pub fn name(&self) -> String {
        format!("agent {}.{}", self.host, self.number)
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// How long after its death the next life begins.
    pub fn down_ms(&self) -> Option<u64> {
        *self.down.lock()
    }

    pub fn is_serving(&self) -> bool {
        !self.is_dead() && self.door.lock().is_some()
    }

    pub fn world(&self) -> Option<Arc<World>> {
        self.world.upgrade()
    }

    /// The process is gone. Its disk keeps what chance leaves of a write that was under way.
    pub fn die(&self, down_ms: u64) {
        if self.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        *self.down.lock() = Some(down_ms);
        self.connections.lock().drain(..).for_each(|c| c.abort());
        *self.door.lock() = None;
        *self.log.lock() = None;
        if let Some(world) = self.world() {
            let mut chance = world.chance(2, self.host as u64 * 1000 + u64::from(self.number));
            world.note(|| format!("{} is dead for {down_ms} ms", self.name()));
            world.hosts[self.host]
                .disk
                .crash(|size| super::disk::tear(size, &mut chance));
        }
    }

    /// A call of a seam passes here before it takes effect, and after. Returns only to the living.
    pub async fn point(&self, what: &str) {
        let Some(world) = self.world() else {
            return std::future::pending().await;
        };
        self.awake(&world.hosts[self.host]).await;
        let number = world.points.fetch_add(1, Ordering::Relaxed) + 1;
        let crash = world.plan.crash_points.iter().find(|c| c.number == number);
        if let Some(crash) = crash {
            world.note(|| format!("{} dies at point {number}, {what}", self.name()));
            self.die(crash.down_ms);
        }
        if self.is_dead() {
            drop(world);
            std::future::pending::<()>().await;
        }
    }

    /// Like [`Life::point`], for calls that change nothing and are too many to be numbered.
    pub async fn pass(&self) {
        if let Some(world) = self.world() {
            self.awake(&world.hosts[self.host]).await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    async fn awake(&self, host: &Host) {
        host.pause.over().await;
    }

    /// Connects a client, if this life serves.
    pub fn connect(self: &Arc<Life>) -> Option<DuplexStream> {
        let door = self.door.lock().clone()?;
        let (theirs, ours) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(ours);
        let limits = door.config.limits;
        let session = Session {
            door,
            host: "client".into(),
            software: Arc::new(Software::at(0)),
        };
        let (stopper, stop) = watch::channel(false);
        self.stops.lock().push(stopper);
        let serving = tokio::spawn(async move {
            // How a connection ends is its client's business.
            let _ = connection::run(read, write, session, limits, stop).await;
        });
        self.connections.lock().push(serving.abort_handle());
        Some(theirs)
    }

    async fn start(self: &Arc<Life>, world: &Arc<World>) -> anyhow::Result<()> {
        let host = &world.hosts[self.host];
        let env = world.env(self.host, self.number);
        let bucket: Arc<dyn Bucket> = Arc::new(BucketLiar::new(world, self));
        let store: Arc<dyn MetaStore> = Arc::new(StoreLiar::new(world, self));
        let boot = agent::boot_lane(store.clone(), &env);
        cluster::open(&bucket, &store, &boot, &env, true).await?;
        let known = *host.id.lock();
        let id = match known {
            Some(id) => id,
            None => agent::allocate_id(&boot, PATIENCE).await?,
        };
        self.pass().await;
        *host.id.lock() = Some(id);
        let address = Address {
            host: format!("h{}", self.host),
            port: 9092,
            zone: None,
            http: None,
        };
        let (me, _) = agent::begin_life(&boot, &env, id, &address, PATIENCE).await?;
        let read = ReadConfig {
            cache_bytes: world.plan.cache_bytes,
            ..ReadConfig::default()
        };
        let reader = Reader::new(store.clone(), bucket.clone(), env.clone(), read, me);
        let (lane_store, lane_env) = (store.clone(), env.clone());
        let lane = |lane| {
            let hear = reader.clone();
            let id = LaneId { by: me, lane };
            let lane = Lane::new(lane_store.clone(), lane_env.clone(), id, 0);
            Arc::new(lane.on_entry(Arc::new(move |entry| hear.hear(entry))))
        };
        let (commits, control) = (lane(COMMIT_LANE), lane(CONTROL_LANE));
        let (fatal, remember) = (self.clone(), reader.clone());
        let parts = LogParts {
            env: env.clone(),
            bucket,
            store: store.clone(),
            commits,
            control: control.clone(),
            me,
            on_built: Arc::new(move |object| remember.remember(object.id, object.memory())),
            on_fatal: Arc::new(move |why: &Failure| fatal.must_stop(&why.to_string())),
        };
        let disk = host.disk.clone();
        let liar = Arc::new(SimDiskLiar::new(world, self));
        let mut config = LogConfig::new("wal".into());
        config.wal_file_bytes = world.plan.wal_file_bytes;
        config.memory_bytes_max = world.plan.memory_bytes;
        let log = Log::open_on(config, parts, move |cfg, report| {
            disk.open(&cfg, report, liar)
        })
        .await?;
        let node = Node::new(NodeParts {
            env: env.clone(),
            store,
            control: control.clone(),
            groups: lane(GROUP_LANE),
            transactions: TRANSACTION_LANES.map(lane).to_vec(),
            agent: id,
            broker: BrokerConfig::parse(&quick_groups()).map_err(|e| anyhow!("{e}"))?,
            log: log.clone(),
            reader: reader.clone(),
            loggers: Loggers::new("INFO", Arc::new(|_, _| {})),
            segment_codec: None,
            answers: AnswerMemory::new(64 * 1024 * 1024),
        });
        reader.on_entry(node.ear());
        node.load_configs().await.map_err(|e| anyhow!("{e}"))?;
        self.run_jobs(env, &reader, &node, &log, &control, me);
        agent::change_own_row(&control, me, PATIENCE, |row| row.serving = true).await?;
        self.pass().await;
        world.note(|| format!("{} serves as {me:?}", self.name()));
        *self.log.lock() = Some((log, node.clone(), control, me));
        *self.door.lock() = Some(Door::new(node, DoorConfig::default()));
        Ok(())
    }

    fn must_stop(&self, why: &str) {
        if let Some(world) = self.world() {
            world.note(|| format!("{} must stop: {why}", self.name()));
        }
        self.die(300);
    }

    fn run_jobs(
        self: &Arc<Life>,
        env: Env,
        reader: &Reader,
        node: &Node,
        log: &Log,
        control: &Arc<Lane>,
        me: Incarnation,
    ) {
        let following = reader.clone();
        tokio::spawn(async move { following.run_follower().await });
        tokio::spawn(tell_of_heads(reader.clone(), log.clone()));
        tokio::spawn(expire_transactions(env.clone(), self.clone(), node.clone()));
        if self
            .world()
            .is_some_and(|world| world.plan.memory_bytes < much_memory())
        {
            tokio::spawn(weigh(self.clone(), log.clone()));
        }
        tokio::spawn(heartbeats(env, self.clone(), control.clone(), me));
    }

    /// A clean stop: what was read is answered, windows are flushed, leases given up. The error is that of the drain; whoever
    /// dies in it has stopped as well.
    pub async fn shut_down(self: &Arc<Life>, down_ms: u64) -> anyhow::Result<()> {
        let parts = self.log.lock().clone();
        let mut drained = Ok(());
        if let (Some(served), Some(world)) = (parts, self.world()) {
            world.note(|| format!("{} shuts down", self.name()));
            let died = async {
                while !self.is_dead() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                biased;
                outcome = timeout(DRAIN_MAX, self.drain(&served)) => {
                    drained = outcome.unwrap_or_else(|_| Err(anyhow!("it took more than {DRAIN_MAX:?}")));
                    world.note(|| format!("{} has shut down: {drained:?}", self.name()));
                }
                () = died => {}
            }
            self.awake(&world.hosts[self.host]).await;
        }
        self.die(down_ms);
        drained
    }

    async fn drain(&self, (log, node, control, me): &Served) -> anyhow::Result<()> {
        // Who is not told notices by the missing heartbeat.
        let _ = agent::change_own_row(control, *me, PATIENCE, |row| row.serving = false).await;
        node.drain_groups().await;
        log.drain().await.context("flushing")?;
        for stop in &*self.stops.lock() {
            stop.send_replace(true);
        }
        *self.door.lock() = None;
        sleep(Duration::from_millis(50)).await;
        log.drain().await.context("flushing again")
    }
}

/// Groups notice sooner than by default that a member is gone, and wait less for members that come.
fn quick_groups() -> BTreeMap<String, String> {
    let set = [
        ("group.initial.rebalance.delay.ms", "200"),
        ("group.consumer.min.session.timeout.ms", "6000"),
        ("group.consumer.session.timeout.ms", "6000"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "1000"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    set.map(owned).into()
}

async fn tell_of_heads(reader: Reader, log: Log) {
    let mut heads = reader.on_head();
    loop {
        match heads.recv().await {
            Ok(change) if change.head.wanted => {
                log.head_changed(change.partition, (*change.head).clone());
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Looks at what requests hold in memory, again and again.
async fn weigh(life: Arc<Life>, log: Log) {
    while !life.is_dead() {
        sleep(Duration::from_millis(25)).await;
        let Some(world) = life.world() else { return };
        let held = log.memory_in_use();
        world.hosts[life.host]
            .memory_most
            .fetch_max(held, Ordering::Relaxed);
    }
}

async fn expire_transactions(env: Env, life: Arc<Life>, node: Node) {
    while !life.is_dead() {
        let every = EXPIRE_TRANSACTIONS_EVERY_MS;
        sleep(Duration::from_millis(every / 2 + env.next_u64() % every)).await;
        if let Err(why) = node.expire_transactions().await
            && let Some(world) = life.world()
        {
            world.note(|| format!("{} aborts no transactions: {why}", life.name()));
        }
    }
}

async fn heartbeats(env: Env, life: Arc<Life>, control: Arc<Lane>, me: Incarnation) {
    while !life.is_dead() {
        sleep(HEARTBEAT_EVERY).await;
        let now_ms = env.wall_ms();
        let beat = agent::change_own_row(&control, me, HEARTBEAT_EVERY, move |row| {
            row.heartbeat_ms = now_ms;
        });
        match beat.await {
            Ok(OwnRow::Fenced) => life.must_stop("a newer life of this agent has begun"),
            Err(MetaError::Foreign(why)) => life.must_stop(&why),
            Ok(OwnRow::Written) | Err(_) => {}
        }
    }
}
