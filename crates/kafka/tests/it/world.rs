//! A small world: one agent in memory behind a real socket, and a client.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kafka_protocol::{
    messages::{
        BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, ListOffsetsRequest, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::StrBytes,
};
use sh_base::{
    AgentId, Clock, Env, Rng,
    batch::{Batch, BatchBuilder, Codec},
};
use sh_client::Connection;
use sh_kafka::{Door, DoorConfig, serve};
use sh_log::{
    Log, LogConfig, LogParts, ReadConfig, Reader,
    agent::{self, Address, COMMIT_LANE, CONTROL_LANE, GROUP_LANE, TRANSACTION_LANES},
};
use sh_meta::{Lane, LaneId, MemoryStore, MetaStore};
use sh_node::{AnswerMemory, BrokerConfig, Loggers, Node, NodeParts};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

use crate::gate::Gate;

pub const PATIENCE: Duration = Duration::from_secs(10);
/// The wall clock stands at this time.
pub const NOW_MS: i64 = 1_700_000_000_000;

struct Ambient {
    start: tokio::time::Instant,
    drawn: AtomicU64,
}

impl Clock for Ambient {
    fn wall_ms(&self) -> i64 {
        NOW_MS
    }
    fn mono(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Rng for Ambient {
    fn next_u64(&self) -> u64 {
        self.drawn
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

fn env() -> Env {
    let start = tokio::time::Instant::now();
    let ambient = Arc::new(Ambient {
        start,
        drawn: AtomicU64::new(0x5851_f42d_4c95_7f2d),
    });
    Env {
        clock: ambient.clone(),
        rng: ambient,
    }
}

pub struct World {
    pub bucket: Arc<Gate>,
    pub node: Node,
    pub address: String,
    pub door: Door,
    _stop: watch::Sender<bool>,
    _wal: TempDir,
}

impl World {
    pub async fn start() -> World {
        World::with_memory(64 * 1024 * 1024).await
    }

    /// Where plain batches are stored in a codec (`--segment-compression`).
    pub async fn storing_in(segment_codec: Codec) -> World {
        World::with(64 * 1024 * 1024, Some(segment_codec)).await
    }

    /// With so many bytes of memory for requests that are not committed.
    pub async fn with_memory(memory_bytes_max: usize) -> World {
        World::with(memory_bytes_max, None).await
    }

    async fn with(memory_bytes_max: usize, segment_codec: Option<Codec>) -> World {
        let env = env();
        let bucket = Arc::new(Gate::new(&env));
        let wal = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let config = LogConfig {
            memory_bytes_max,
            ..LogConfig::new(wal.path().into())
        };
        let node = node(&env, bucket.clone(), config, segment_codec, at.port()).await;
        let door = Door::new(node.clone(), DoorConfig::default());
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, door.clone(), stopping));
        World {
            bucket,
            node,
            address: at.to_string(),
            door,
            _stop: stop,
            _wal: wal,
        }
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&self.address, "test", PATIENCE)
            .await
            .unwrap()
    }

    pub async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let created = self.connect().await.call(&request, 7).await.unwrap();
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    }
}

async fn node(
    env: &Env,
    bucket: Arc<Gate>,
    config: LogConfig,
    segment_codec: Option<Codec>,
    port: u16,
) -> Node {
    let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new("test"));
    let boot = agent::boot_lane(store.clone(), env);
    let address = Address {
        host: "127.0.0.1".into(),
        port,
        zone: None,
        http: None,
    };
    let (me, _) = agent::begin_life(&boot, env, AgentId(0), &address, PATIENCE)
        .await
        .unwrap();
    let read = ReadConfig::default();
    let reader = Reader::new(store.clone(), bucket.clone(), env.clone(), read, me);
    let lane = |lane| {
        let hear = reader.clone();
        let id = LaneId { by: me, lane };
        let lane = Lane::new(store.clone(), env.clone(), id, 0);
        Arc::new(lane.on_entry(Arc::new(move |entry| hear.hear(entry))))
    };
    let (commits, control, groups) = (lane(COMMIT_LANE), lane(CONTROL_LANE), lane(GROUP_LANE));
    let transactions = TRANSACTION_LANES.map(&lane).to_vec();
    agent::change_own_row(&control, me, PATIENCE, |row| row.serving = true)
        .await
        .unwrap();
    let remember = reader.clone();
    let parts = LogParts {
        env: env.clone(),
        bucket,
        store: store.clone(),
        commits,
        control: control.clone(),
        me,
        on_built: Arc::new(move |object| remember.remember(object.id, object.memory())),
        on_fatal: Arc::new(|why| panic!("the agent must stop: {why}")),
    };
    let log = Log::open(config, parts).await.unwrap();
    let node = Node::new(NodeParts {
        env: env.clone(),
        store,
        control,
        groups,
        transactions,
        agent: me.agent,
        broker: BrokerConfig::parse(&Default::default()).unwrap(),
        log,
        reader: reader.clone(),
        loggers: Loggers::new("INFO", Arc::new(|_, _| {})),
        segment_codec,
        answers: AnswerMemory::new(64 * 1024 * 1024),
    });
    let hear = node.clone();
    reader.on_entry(Arc::new(move |entry| hear.hear(entry)));
    node
}

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.into())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A batch of values without keys.
pub fn batch(values: &[&str]) -> Batch {
    batch_of(Codec::None, values)
}

pub fn batch_of(codec: Codec, values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    values
        .iter()
        .for_each(|v| builder.push(NOW_MS, None, Some(v.as_bytes()), &[]));
    builder.build().unwrap()
}

/// A request with one batch for each partition of one topic.
pub fn produce(topic: &str, acks: i16, batches: &[(i32, &Batch)]) -> ProduceRequest {
    let partition = |(index, batch): &(i32, &Batch)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(batch.bytes().clone()))
    };
    let data = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(batches.iter().map(partition).collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

/// Writes one batch to partition 0 with acks=all.
pub async fn write(client: &Connection, topic: &str, batch: &Batch) -> PartitionProduceResponse {
    let answer = client
        .call(&produce(topic, -1, &[(0, batch)]), 9)
        .await
        .unwrap();
    answer.responses[0].partition_responses[0].clone()
}

/// A sessionless fetch of partitions of one topic, each from an offset.
pub fn fetch(topic: &str, from: &[(i32, i64)]) -> FetchRequest {
    let partition = |(index, offset): &(i32, i64)| {
        FetchPartition::default()
            .with_partition(*index)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(*offset)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20)
    };
    let topics = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(from.iter().map(partition).collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topics])
}

/// Offsets and values that a fetch answer holds for a partition.
pub fn values(answer: &FetchResponse, partition: usize) -> Vec<(i64, String)> {
    let records = answer.responses[0].partitions[partition]
        .records
        .clone()
        .unwrap_or_default();
    let mut values = Vec::new();
    for batch in Batch::parse_all(records).unwrap() {
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8_lossy(&record.value.unwrap()).into_owned();
            values.push((batch.base_offset() + i64::from(record.offset_delta), value));
        }
    }
    values
}

/// ListOffsets of partition 0: error, timestamp, offset.
pub async fn list_offset(client: &Connection, topic: &str, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default()
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer = client.call(&request, 10).await.unwrap();
    let p = &answer.topics[0].partitions[0];
    (p.error_code, p.timestamp, p.offset)
}
