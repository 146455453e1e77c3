//! Agents over one memory store and one memory bucket, with a clock that is moved by hand.
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use sh_base::{Clock, Env, Incarnation, ProducerId, Rng, TopicPartition};
use sh_blob::MemoryBucket;
use sh_log::{
    BatchRecord, Extent, Head, Log, LogConfig, LogParts, ProducerState, ReadConfig, Reader,
    agent::{self, Address, COMMIT_LANE, CONTROL_LANE, GROUP_LANE, TRANSACTION_LANES},
};
use sh_meta::{
    Cursor, Decision, Family, Key, KeyRange, Lane, LaneId, MemoryStore, MetaStore, Plan, View,
    Write,
};
use sh_node::{
    AnswerMemory, BrokerConfig, Caller, Loggers, Node, NodeParts,
    topics::{CreatedTopic, NewTopic},
};
use tokio::time::Instant;

use crate::troubled::{Trouble, Troubled};

const PATIENCE: Duration = Duration::from_secs(5);

struct Ambient {
    /// Moved by hand.
    wall_ms: AtomicI64,
    /// If set, tokio's time since then counts too.
    ticking: OnceLock<Instant>,
    drawn: AtomicU64,
}

impl Clock for Ambient {
    fn wall_ms(&self) -> i64 {
        let ticked = self.ticking.get().map_or(Duration::ZERO, Instant::elapsed);
        self.wall_ms.load(Ordering::Relaxed) + ticked.as_millis() as i64
    }
    fn mono(&self) -> Duration {
        Duration::from_millis(self.wall_ms() as u64)
    }
}

impl Rng for Ambient {
    fn next_u64(&self) -> u64 {
        self.drawn
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

pub struct World {
    pub store: MemoryStore,
    troubled: Troubled,
    bucket: MemoryBucket,
    ambient: Arc<Ambient>,
    wals: tempfile::TempDir,
}

/// One agent.
pub struct Agent {
    pub node: Node,
    pub me: Incarnation,
    read: std::sync::Mutex<Cursor>,
}

impl World {
    pub fn new() -> World {
        let ambient = Ambient {
            wall_ms: AtomicI64::new(1_000_000),
            ticking: OnceLock::new(),
            drawn: AtomicU64::new(1),
        };
        let ambient = Arc::new(ambient);
        let env = Env {
            clock: ambient.clone(),
            rng: ambient.clone(),
        };
        let store = MemoryStore::default();
        let troubled = Troubled {
            inner: store.clone(),
            trouble: Arc::default(),
            asked: Arc::default(),
        };
        World {
            store,
            troubled,
            bucket: MemoryBucket::new(&env),
            ambient,
            wals: tempfile::tempdir().unwrap(),
        }
    }

    pub fn env(&self) -> Env {
        Env {
            clock: self.ambient.clone(),
            rng: self.ambient.clone(),
        }
    }

    /// From here on time passes by itself, and leaps to whatever is waited for.
    pub fn tick(&self) {
        tokio::time::pause();
        self.ticking().get_or_init(Instant::now);
    }

    fn ticking(&self) -> &OnceLock<Instant> {
        &self.ambient.ticking
    }

    /// What is the matter with the metadata store from here on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.troubled.trouble.lock() = trouble;
    }

    pub fn now_ms(&self) -> i64 {
        self.ambient.wall_ms()
    }

    pub fn pass(&self, time: Duration) {
        self.ambient
            .wall_ms
            .fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }

    /// A new agent, with these settings of Kafka's.
    pub async fn agent(&self, settings: &[(&str, &str)]) -> Agent {
        let settings = settings
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        let broker = BrokerConfig::parse(&settings).unwrap();
        let (env, store) = (self.env(), Arc::new(self.troubled.clone()));
        let boot = agent::boot_lane(store.clone(), &env);
        let id = agent::allocate_id(&boot, PATIENCE).await.unwrap();
        let address = Address {
            host: "127.0.0.1".into(),
            port: 9092,
            zone: None,
            http: None,
        };
        let (me, _) = agent::begin_life(&boot, &env, id, &address, PATIENCE)
            .await
            .unwrap();
        let lane = |lane| {
            Arc::new(Lane::new(
                store.clone(),
                env.clone(),
                LaneId { by: me, lane },
                0,
            ))
        };
        let bucket = Arc::new(self.bucket.clone());
        let reader = Reader::new(
            store.clone(),
            bucket.clone(),
            env.clone(),
            ReadConfig::default(),
            me,
        );
        let parts = LogParts {
            env: env.clone(),
            bucket,
            store: store.clone(),
            commits: lane(COMMIT_LANE),
            control: lane(CONTROL_LANE),
            me,
            on_built: Arc::new(|_| {}),
            on_fatal: Arc::new(|why| panic!("{why}")),
        };
        let control = parts.control.clone();
        let groups = lane(GROUP_LANE);
        let transactions = TRANSACTION_LANES.map(&lane).to_vec();
        let wal = self.wals.path().join(id.0.to_string());
        let log = Log::open(LogConfig::new(wal), parts).await.unwrap();
        let loggers = Loggers::new("INFO", Arc::new(|_: &str, _: &str| {}));
        let agent = id;
        let node = Node::new(NodeParts {
            env,
            store,
            control,
            groups,
            transactions,
            log,
            reader,
            agent,
            broker,
            loggers,
            segment_codec: None,
            answers: AnswerMemory::new(64 * 1024 * 1024),
        });
        node.load_configs().await.unwrap();
        Agent {
            node,
            me,
            read: std::sync::Mutex::default(),
        }
    }

    /// How many rows of a family live.
    pub async fn rows(&self, family: Family) -> usize {
        let range = KeyRange::family(family);
        self.store
            .scan(range, 64 * 1024 * 1024, false)
            .await
            .unwrap()
            .len()
    }

    pub async fn head(&self, tp: TopicPartition) -> Head {
        let rows = self.store.get(&[Key::Head(tp)]).await.unwrap();
        Head::of(rows[0].value.as_ref()).unwrap()
    }
}

impl Agent {
    /// Hears what all agents have done since it last listened.
    pub async fn listen(&self, world: &World) {
        let cursor = self.read.lock().unwrap().clone();
        for entry in world.store.feed(&cursor, 64 * 1024 * 1024).await.unwrap() {
            self.node.hear(&entry);
            self.read
                .lock()
                .unwrap()
                .insert(entry.request.lane, entry.request.seq);
        }
    }

    /// Gives a partition one extent of so many records, and a producer that wrote them.
    pub async fn fill(&self, tp: TopicPartition, records: i64) {
        let extent = Extent {
            end: records,
            place: None,
            marker: None,
            leader_epoch: 0,
            min_timestamp: -1,
            max_timestamp: -1,
        };
        let producer = ProducerState::after(
            None,
            0,
            BatchRecord {
                base_sequence: 0,
                last_sequence: 0,
                base_offset: 0,
                last_offset: records - 1,
                max_timestamp: -1,
            },
            0,
        );
        let head = Head {
            next_offset: records,
            ..Head::default()
        };
        let (head_key, producer_key) = (Key::Head(tp), Key::Producer(tp, ProducerId(1)));
        let write = |key: &Key, value, version| Write {
            key: key.clone(),
            value: Some(value),
            version,
        };
        let writes = vec![
            write(&head_key, head.encode(), None),
            write(&producer_key, producer.encode(), None),
            write(&Key::Extent(tp, 0), extent.encode(), Some(1)),
        ];
        let plan = Plan {
            locks: vec![head_key, producer_key],
            ..Plan::default()
        };
        let decide = move |_: &View| Decision {
            writes: writes.clone(),
            ..Decision::default()
        };
        let lane = self.node.control();
        lane.update(plan, PATIENCE, decide).await.unwrap();
    }

    /// Says in its row whether it takes clients, and that it lived at this moment.
    pub async fn says(&self, serving: bool, heartbeat_ms: i64) {
        let say = agent::change_own_row(self.node.control(), self.me, PATIENCE, move |row| {
            (row.serving, row.heartbeat_ms) = (serving, heartbeat_ms);
        });
        say.await.unwrap();
    }

    /// Gives a partition a leader epoch.
    pub async fn raise_epoch(&self, tp: TopicPartition, leader_epoch: i32) {
        let head = Head {
            leader_epoch,
            ..Head::default()
        };
        let key = Key::Head(tp);
        let plan = Plan {
            locks: vec![key.clone()],
            ..Plan::default()
        };
        let write = Write {
            key,
            value: Some(head.encode()),
            version: None,
        };
        let decide = move |_: &View| Decision {
            writes: vec![write.clone()],
            ..Decision::default()
        };
        let lane = self.node.control();
        lane.update(plan, PATIENCE, decide).await.unwrap();
    }

    /// Creates one topic, which must work.
    pub async fn create(&self, topic: NewTopic) -> CreatedTopic {
        let mut created = self.node.create_topics(&caller(), vec![topic], false).await;
        created.pop().unwrap().1.unwrap()
    }
}

pub fn caller() -> Caller {
    Caller::default()
}

pub fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        partitions,
        ..NewTopic::named(name)
    }
}
