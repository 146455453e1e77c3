//! A small world: agents with readers and lanes over one store and one bucket that counts what is asked of it.
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use sh_base::{
    AgentId, Clock, Env, Incarnation, ObjectId, Offset, Org, Rng, TopicId, TopicPartition,
    batch::{Batch, BatchBuilder, Codec},
};
use sh_blob::{BlobError, Bucket, Expect, MemoryBucket, ObjectKey, ObjectMeta, PutIf};
use sh_log::{
    Extent, Head, ReadAnswer, ReadConfig, ReadError, ReadRequest, Reader,
    object::{BuiltObject, ObjectBuilder},
    peers::Peers,
};
use sh_meta::{Decision, FeedEntry, Key, Lane, LaneId, MemoryStore, MetaStore, Plan, View, Write};

pub const PATIENCE: Duration = Duration::from_secs(10);

struct Ambient {
    start: tokio::time::Instant,
    drawn: AtomicU64,
}

impl Clock for Ambient {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
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

pub fn env() -> Env {
    let ambient = Arc::new(Ambient {
        start: tokio::time::Instant::now(),
        drawn: AtomicU64::new(1),
    });
    Env {
        clock: ambient.clone(),
        rng: ambient,
    }
}

/// Counts GETs, and takes its time about them, so that those who ask at once meet.
#[derive(Clone)]
pub struct CountingBucket {
    inner: MemoryBucket,
    gets: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl CountingBucket {
    pub fn gets(&self) -> usize {
        self.gets.load(Ordering::Relaxed)
    }

    /// Bytes that were got.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    async fn count(&self, bytes: usize) {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[async_trait]
impl Bucket for CountingBucket {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<(), BlobError> {
        self.inner.put(key, parts).await
    }
    async fn get(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let got = self.inner.get(key, ranges).await?;
        self.count(got.iter().map(Bytes::len).sum()).await;
        Ok(got)
    }
    async fn get_all(&self, key: &str) -> Result<Bytes, BlobError> {
        let got = self.inner.get_all(key).await?;
        self.count(got.len()).await;
        Ok(got)
    }
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        self.inner.head(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        self.inner.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        self.inner.delete(keys).await
    }
    async fn put_if(&self, key: &str, bytes: Bytes, expect: Expect) -> Result<PutIf, BlobError> {
        self.inner.put_if(key, bytes, expect).await
    }
}

/// What agents share.
#[derive(Clone)]
pub struct World {
    pub env: Env,
    pub store: Arc<dyn MetaStore>,
    pub bucket: CountingBucket,
}

impl World {
    pub fn new() -> World {
        World::on(Arc::new(MemoryStore::default()))
    }

    pub fn on(store: Arc<dyn MetaStore>) -> World {
        let env = env();
        let bucket = CountingBucket {
            inner: MemoryBucket::new(&env),
            gets: Arc::default(),
            bytes: Arc::default(),
        };
        World { env, store, bucket }
    }

    pub fn agent(&self, id: u32) -> Agent {
        self.agent_with(id, ReadConfig::default())
    }

    pub fn agent_with(&self, id: u32, config: ReadConfig) -> Agent {
        let me = Incarnation {
            agent: AgentId(id),
            epoch: 1,
            nonce: 7,
        };
        let bucket = Arc::new(self.bucket.clone());
        let reader = Reader::new(self.store.clone(), bucket, self.env.clone(), config, me);
        let ear = reader.clone();
        let lane = LaneId { by: me, lane: 0 };
        let peers: Arc<OnceLock<Peers>> = Arc::default();
        let told = peers.clone();
        let tell = move |entry: &FeedEntry| {
            if let Some(peers) = told.get() {
                peers.tell(entry);
            }
        };
        let lane = Lane::new(self.store.clone(), self.env.clone(), lane, 0)
            .on_entry(Arc::new(move |entry| ear.hear(entry)))
            .on_entry(Arc::new(tell));
        Agent {
            world: self.clone(),
            reader,
            lane: Arc::new(lane),
            me,
            peers,
            windows: Arc::default(),
        }
    }
}

#[derive(Clone)]
pub struct Agent {
    pub world: World,
    pub reader: Reader,
    pub lane: Arc<Lane>,
    pub me: Incarnation,
    peers: Arc<OnceLock<Peers>>,
    windows: Arc<AtomicU64>,
}

impl Agent {
    /// From now on its commits are told to these.
    pub fn tells(&self, peers: Peers) {
        let _ = self.peers.set(peers);
    }

    /// One window: uploaded, remembered, committed. Returns the object.
    pub async fn write(&self, runs: &[(TopicPartition, Vec<Batch>)]) -> ObjectId {
        let built = self.upload(runs).await;
        self.commit(&built).await;
        built.id
    }

    pub async fn upload(&self, runs: &[(TopicPartition, Vec<Batch>)]) -> BuiltObject {
        let seq = self.windows.fetch_add(1, Ordering::Relaxed);
        let id = ObjectId { by: self.me, seq };
        let mut builder = ObjectBuilder::new(id, vec![], vec![]);
        for (tp, batches) in runs {
            builder.run(Org::default(), *tp, batches);
        }
        let built = builder.finish();
        let key = ObjectKey::L0(id).to_string();
        self.world
            .bucket
            .put(&key, built.parts.clone())
            .await
            .unwrap();
        self.reader.remember(id, built.memory());
        built
    }

    pub async fn commit(&self, built: &BuiltObject) -> FeedEntry {
        let runs = built.runs.clone();
        let id = built.id;
        let plan = Plan {
            locks: runs.iter().map(|r| Key::Head(r.partition)).collect(),
            ..Plan::default()
        };
        let apply = move |view: &View| {
            let mut decision = Decision::default();
            for run in &runs {
                let batches = run.batches.iter().map(|b| Batch::parse(b.clone()).unwrap());
                let batches: Vec<Batch> = batches.collect();
                let place = sh_log::Place {
                    object: id,
                    start: run.starts[0],
                    len: run.len as u32,
                };
                let extent = Extent {
                    end: batches.iter().map(Batch::offsets).sum(),
                    place: Some(place),
                    marker: None,
                    leader_epoch: 0,
                    min_timestamp: batches
                        .iter()
                        .map(|b| b.header().base_timestamp)
                        .min()
                        .unwrap(),
                    max_timestamp: batches
                        .iter()
                        .map(|b| b.header().max_timestamp)
                        .max()
                        .unwrap(),
                };
                append(view, &mut decision, run.partition, extent);
            }
            decision
        };
        self.lane.update(plan, PATIENCE, apply).await.unwrap()
    }

    /// Changes a partition's head and, with it, some extents.
    pub async fn change(
        &self,
        tp: TopicPartition,
        extents: Vec<(Offset, Option<Extent>)>,
        head: impl Fn(&mut Head) + Send + Sync + 'static,
    ) -> FeedEntry {
        let plan = Plan {
            locks: vec![Key::Head(tp)],
            ..Plan::default()
        };
        let apply = move |view: &View| {
            let row = view.row(&Key::Head(tp));
            let mut changed = Head::of(row.value.as_ref()).unwrap();
            head(&mut changed);
            let mut writes = vec![Write {
                key: Key::Head(tp),
                value: Some(changed.encode()),
                version: None,
            }];
            writes.extend(extents.iter().map(|(base, extent)| Write {
                key: Key::Extent(tp, *base),
                value: extent.as_ref().map(Extent::encode),
                version: Some(row.version + 1),
            }));
            Decision {
                writes,
                reply: Bytes::new(),
            }
        };
        self.lane.update(plan, PATIENCE, apply).await.unwrap()
    }

    pub async fn read(&self, tp: TopicPartition, offset: Offset) -> Result<ReadAnswer, ReadError> {
        self.reader.read(request(tp, offset)).await
    }

    /// The values of all records from `offset` to the log end, read fetch by fetch, by their offsets.
    pub async fn read_all(&self, tp: TopicPartition, offset: Offset) -> HashMap<Offset, String> {
        let mut values = HashMap::new();
        let mut at = offset;
        loop {
            let answer = self.read(tp, at).await.unwrap();
            if answer.batches.is_empty() {
                return values;
            }
            for (offset, value) in records(&answer) {
                assert!(
                    values.insert(offset, value).is_none(),
                    "offset {offset} came twice"
                );
                at = offset + 1;
            }
        }
    }
}

/// A read of up to a MiB, the first batch always.
pub fn request(tp: TopicPartition, offset: Offset) -> ReadRequest {
    ReadRequest {
        partition: tp,
        offset,
        max_bytes: 1024 * 1024,
        at_least_one: true,
        read_committed: false,
    }
}

fn append(view: &View, decision: &mut Decision, tp: TopicPartition, extent: Extent) {
    let row = view.row(&Key::Head(tp));
    let head = Head::of(row.value.as_ref()).unwrap();
    let base = head.next_offset;
    let extent = Extent {
        end: base + extent.end,
        ..extent
    };
    let head = Head {
        next_offset: extent.end,
        ..head
    };
    decision.writes.push(Write {
        key: Key::Head(tp),
        value: Some(head.encode()),
        version: None,
    });
    decision.writes.push(Write {
        key: Key::Extent(tp, base),
        value: Some(extent.encode()),
        version: Some(row.version + 1),
    });
}

pub fn partition(n: i32) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(9)), n)
}

/// A batch of these values, one millisecond apart.
pub fn batch(timestamp: i64, values: &[&str]) -> Batch {
    batch_in(Codec::None, timestamp, values)
}

pub fn batch_in(codec: Codec, timestamp: i64, values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for (i, value) in values.iter().enumerate() {
        builder.push(timestamp + i as i64, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

/// Offsets and values of an answer's records.
pub fn records(answer: &ReadAnswer) -> Vec<(Offset, String)> {
    let of_batch = |stored: &sh_log::StoredBatch| {
        let batch = Batch::parse(stored.bytes.clone()).expect("a whole batch with a good CRC");
        let base = stored.base_offset;
        let records = batch.records().unwrap().map(move |record| {
            let record = record.unwrap();
            let value = record.value.unwrap_or_default();
            let value = String::from_utf8(value.to_vec()).unwrap();
            (base + Offset::from(record.offset_delta), value)
        });
        records.collect::<Vec<_>>()
    };
    answer.batches.iter().flat_map(of_batch).collect()
}

pub fn values(answer: &ReadAnswer) -> Vec<String> {
    records(answer)
        .into_iter()
        .map(|(_, value)| value)
        .collect()
}

pub fn bases(answer: &ReadAnswer) -> Vec<Offset> {
    answer.batches.iter().map(|b| b.base_offset).collect()
}
