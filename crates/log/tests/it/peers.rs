//! What agents do for each other, and that nothing depends on it.
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use parking_lot::Mutex;
use sh_base::{AgentId, ObjectId, TopicPartition};
use sh_log::{
    Reader,
    agent::AgentRow,
    peers::{BadNews, LOAN_MAX, Link, Loan, Part, Peer, PeerError, Peers},
};
use sh_meta::{
    Cursor, Decision, FeedEntry, Identity, Key, KeyRange, MemoryStore, MetaError, MetaStore, Plan,
    Row, Update, View, Write,
};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{Agent, PATIENCE, World, batch, partition, values};

/// Requests between agents of one process, which can go wrong.
#[derive(Clone, Default)]
struct Wire(Arc<Faults>);

#[derive(Default)]
struct Faults {
    readers: Mutex<HashMap<AgentId, Reader>>,
    /// Agents that nobody reaches.
    dead: Mutex<HashSet<AgentId>>,
    /// Pushes get lost, though their sender hears that all is well.
    loses_news: AtomicBool,
    /// Agents that take requests and never answer.
    hung: Mutex<HashSet<AgentId>>,
    /// Pushes take 50 ms.
    is_slow: AtomicBool,
    /// What is lent is a byte too short.
    cuts_loans: AtomicBool,
    loans: AtomicUsize,
}

impl Wire {
    fn reader(&self, of: &Peer) -> Result<Reader, PeerError> {
        let agent = of.by.agent;
        if self.0.dead.lock().contains(&agent) {
            return Err(PeerError::Away("it is dead".into()));
        }
        let readers = self.0.readers.lock();
        let reader = readers.get(&agent).cloned();
        reader.ok_or_else(|| PeerError::Away("there is none".into()))
    }

    fn loans(&self) -> usize {
        self.0.loans.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Link for Wire {
    async fn push(&self, to: &Peer, news: Bytes) -> Result<(), PeerError> {
        let reader = self.reader(to)?;
        if self.0.loses_news.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.0.is_slow.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(50)).await;
        }
        let refused = |e: BadNews| PeerError::Refused(e.to_string());
        reader.hear_news(news).map_err(refused)
    }
    async fn borrow(&self, from: &Peer, object: ObjectId, part: Part) -> Result<Loan, PeerError> {
        let reader = self.reader(from)?;
        if self.0.hung.lock().contains(&from.by.agent) {
            std::future::pending::<()>().await;
        }
        let lent = reader.lend(object, part).await;
        let (start, pieces) = lent.map_err(|e| PeerError::Refused(e.to_string()))?;
        self.0.loans.fetch_add(1, Ordering::Relaxed);
        let mut bytes: BytesMut = pieces.iter().flat_map(|p| p.to_vec()).collect();
        if self.0.cuts_loans.load(Ordering::Relaxed) {
            bytes.truncate(bytes.len() - 1);
        }
        let bytes = bytes.freeze();
        Ok(Loan { start, bytes })
    }
}

/// Agents of these zones that know of each other, push and listen.
async fn company(world: &World, zones: &[Option<&str>]) -> (Wire, Vec<Agent>) {
    let wire = Wire::default();
    let agents: Vec<Agent> = (0..zones.len()).map(|id| world.agent(id as u32)).collect();
    let rows: Vec<(AgentId, AgentRow)> = agents
        .iter()
        .zip(zones)
        .map(|(a, zone)| (a.me.agent, row(world, a, *zone)))
        .collect();
    for (agent, zone) in agents.iter().zip(zones) {
        let link = Arc::new(wire.clone());
        let zone = zone.map(str::to_owned);
        let peers = Peers::new(world.env.clone(), agent.me, zone, link);
        peers.learn(&rows, world.env.wall_ms());
        agent.reader.join(peers.clone());
        agent.tells(peers.clone());
        let reader = agent.reader.clone();
        wire.0.readers.lock().insert(agent.me.agent, reader.clone());
        tokio::spawn(async move { peers.run().await });
        tokio::spawn(async move { reader.run_follower().await });
    }
    (wire, agents)
}

fn row(world: &World, agent: &Agent, zone: Option<&str>) -> AgentRow {
    AgentRow {
        epoch: agent.me.epoch,
        nonce: format!("{:016x}", agent.me.nonce),
        host: "h".into(),
        port: 9092,
        zone: zone.map(str::to_owned),
        http: Some(format!("h{}:8080", agent.me.agent.0)),
        heartbeat_ms: world.env.wall_ms(),
        serving: true,
        needs_from: (0, 0),
    }
}

/// A store whose feed can be blocked: nobody hears anything from it.
struct Feedless {
    store: MemoryStore,
    blocked: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
}

#[async_trait]
impl MetaStore for Feedless {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.store.get(keys).await
    }
    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.store.scan(range, limit, reverse).await
    }
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        self.store.update(update).await
    }
    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if self.blocked.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.store.feed(cursor, limit).await
    }
    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.store.feed_end().await
    }
    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.store.snapshot(page, sink).await
    }
    async fn identity(&self) -> Result<Identity, MetaError> {
        self.store.identity().await
    }
}

/// A world whose feed can be blocked, and how often it was polled.
fn feedless() -> (World, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (blocked, polls) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let store = Feedless {
        store: MemoryStore::default(),
        blocked: blocked.clone(),
        polls: Arc::clone(&polls),
    };
    (World::on(Arc::new(store)), blocked, polls)
}

#[tokio::test]
async fn a_commit_is_seen_at_another_agent_by_the_push_alone_within_milliseconds() {
    let (world, blocked, _) = feedless();
    let (_, agents) = company(&world, &[None, None]).await;
    let (a, b) = (&agents[0], &agents[1]);
    let tp = partition(0);
    let mut next = b.read(tp, 0).await.unwrap().ends.next;
    blocked.store(true, Ordering::Relaxed);
    for n in 0..20 {
        let waiter = b.reader.waiter(&[(tp, next)]);
        a.write(&[(tp, vec![batch(1, &[&n.to_string()])])]).await;
        let committed = Instant::now();
        let woken = timeout(Duration::from_millis(500), waiter.wait()).await;
        woken.expect("the push wakes who waits");
        let answer = b.read(tp, next).await.unwrap();
        assert_eq!(values(&answer), [n.to_string()]);
        assert!(committed.elapsed() < Duration::from_millis(100));
        next = answer.ends.next;
    }
    assert_eq!(
        world.bucket.gets(),
        0,
        "what is new lies in its writer's memory, and is lent from there"
    );
}

#[tokio::test]
async fn who_waits_for_the_others_waits_until_they_have_heard_and_not_for_the_dead() {
    let (world, blocked, _) = feedless();
    let (wire, agents) = company(&world, &[None, None]).await;
    let (a, b) = (&agents[0], &agents[1]);
    let tp = partition(0);
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    assert_eq!(b.read(tp, 0).await.unwrap().ends.next, 1);
    blocked.store(true, Ordering::Relaxed);
    wire.0.is_slow.store(true, Ordering::Relaxed);
    let long = Duration::from_secs(5);
    for end in 2..5 {
        a.write(&[(tp, vec![batch(1, &["1"])])]).await;
        a.reader.heard_by_peers(long).await;
        assert_eq!(b.read(tp, 0).await.unwrap().ends.next, end);
    }
    wire.0.dead.lock().insert(b.me.agent);
    a.write(&[(tp, vec![batch(1, &["2"])])]).await;
    let since = Instant::now();
    a.reader.heard_by_peers(long).await;
    assert!(since.elapsed() < long);
}

#[tokio::test]
async fn lost_news_are_found_in_the_feed() {
    let (world, _, _) = feedless();
    let (wire, agents) = company(&world, &[None, None]).await;
    let (a, b) = (&agents[0], &agents[1]);
    let tp = partition(0);
    b.read(tp, 0).await.unwrap();
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    wire.0.loses_news.store(true, Ordering::Relaxed);
    let waiter = b.reader.waiter(&[(tp, 1)]);
    a.write(&[(tp, vec![batch(1, &["1"])])]).await;
    // While news seem to come, the feed is polled once a second.
    let woken = timeout(Duration::from_secs(3), waiter.wait()).await;
    woken.expect("the feed has it");
    assert_eq!(values(&b.read(tp, 0).await.unwrap()), ["0", "1"]);
}

#[tokio::test]
async fn who_hears_that_a_lane_went_on_reads_the_feed_at_once() {
    let (world, _, _) = feedless();
    let (wire, agents) = company(&world, &[None, None]).await;
    let (a, b) = (&agents[0], &agents[1]);
    let (tp, other) = (partition(0), partition(1));
    b.read(tp, 0).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    wire.0.loses_news.store(true, Ordering::Relaxed);
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    sleep(Duration::from_millis(20)).await;
    wire.0.loses_news.store(false, Ordering::Relaxed);
    let waiter = b.reader.waiter(&[(tp, 0)]);
    a.write(&[(other, vec![batch(1, &["0"])])]).await;
    let woken = timeout(Duration::from_millis(300), waiter.wait()).await;
    woken.expect("the gap was noticed");
}

#[tokio::test]
async fn the_feed_is_polled_seldom_while_news_come_and_often_when_they_stop() {
    let (world, _, polls) = feedless();
    let (wire, agents) = company(&world, &[None, None]).await;
    let (a, b) = (&agents[0], &agents[1]);
    let tp = partition(0);
    let end = b.read(tp, 0).await.unwrap().ends.next;
    a.write(&[(partition(1), vec![batch(1, &["0"])])]).await;
    sleep(Duration::from_millis(100)).await;
    let _waiter = b.reader.waiter(&[(tp, end)]);
    let polled = async |time| {
        let before = polls.load(Ordering::Relaxed);
        sleep(time).await;
        polls.load(Ordering::Relaxed) - before
    };
    let calm = polled(Duration::from_secs(2)).await;
    assert!(calm <= 8, "{calm} polls of two agents in 2 s");
    wire.0.dead.lock().insert(b.me.agent);
    sleep(Duration::from_secs(4)).await;
    let alarmed = polled(Duration::from_secs(1)).await;
    assert!(alarmed >= 12, "{alarmed} polls in 1 s");
}

#[tokio::test]
async fn each_object_is_read_from_the_bucket_once_for_all_agents_of_a_zone() {
    const AGENTS: usize = 4;
    const OBJECTS: usize = 25;
    let world = World::new();
    let writer = world.agent(99);
    let tp = partition(0);
    for n in 0..OBJECTS {
        let value = n.to_string();
        writer.write(&[(tp, vec![batch(1, &[&value])])]).await;
    }
    let (wire, agents) = company(&world, &[Some("a"); AGENTS]).await;
    let all = join_all(agents.iter().map(|agent| agent.read_all(tp, 0))).await;
    assert!(all.iter().all(|read| read.len() == OBJECTS));
    assert_eq!(world.bucket.gets(), OBJECTS);
    assert_eq!(wire.loans(), OBJECTS * (AGENTS - 1));
}

#[tokio::test]
async fn zones_do_not_lend_to_each_other() {
    let world = World::new();
    let writer = world.agent(99);
    let tp = partition(0);
    for _ in 0..10 {
        writer.write(&[(tp, vec![batch(1, &["v"])])]).await;
    }
    let (wire, agents) = company(&world, &[Some("a"), Some("b")]).await;
    for agent in &agents {
        assert_eq!(agent.read_all(tp, 0).await.len(), 10);
    }
    assert_eq!((world.bucket.gets(), wire.loans()), (20, 0));
}

#[tokio::test]
async fn where_the_owner_is_dead_or_lends_wrong_bytes_the_bucket_is_read() {
    for wrong in [false, true] {
        let world = World::new();
        let writer = world.agent(99);
        let tp = partition(0);
        for n in 0..10 {
            let value = n.to_string();
            writer.write(&[(tp, vec![batch(1, &[&value])])]).await;
        }
        let (wire, agents) = company(&world, &[None, None]).await;
        if wrong {
            wire.0.cuts_loans.store(true, Ordering::Relaxed);
        } else {
            wire.0.dead.lock().insert(agents[1].me.agent);
        }
        let read = agents[0].read_all(tp, 0).await;
        let expected: HashMap<i64, String> = (0..10).map(|n| (n, n.to_string())).collect();
        assert_eq!(read, expected, "wrong: {wrong}");
    }
}

#[tokio::test]
async fn what_is_no_news_is_refused_and_changes_nothing() {
    let world = World::new();
    let (_, agents) = company(&world, &[None, None]).await;
    let tp = partition(0);
    agents[0].write(&[(tp, vec![batch(1, &["0"])])]).await;
    let reader = &agents[1].reader;
    let hear = |bytes: &[u8]| reader.hear_news(Bytes::copy_from_slice(bytes));
    assert_eq!(hear(b""), Err(BadNews::Length));
    assert_eq!(hear(&[9; 40]), Err(BadNews::Format(9)));
    assert_eq!(hear(&[1; 20]), Err(BadNews::Length));
    // Format 1, from this very agent, no lanes, no entries.
    let mut echo = vec![1];
    echo.extend(agents[1].me.agent.0.to_be_bytes());
    echo.extend([0; 13]);
    assert_eq!(hear(&echo), Err(BadNews::OwnEcho));
    assert_eq!(values(&agents[1].read(tp, 0).await.unwrap()), ["0"]);
}

#[tokio::test]
async fn a_peer_that_hangs_costs_a_reader_its_patience_once() {
    let world = World::new();
    let writer = world.agent(99);
    let tp = partition(0);
    for _ in 0..20 {
        writer.write(&[(tp, vec![batch(1, &["v"])])]).await;
    }
    let (wire, agents) = company(&world, &[None, None]).await;
    wire.0.hung.lock().insert(agents[1].me.agent);
    let begun = Instant::now();
    assert_eq!(agents[0].read_all(tp, 0).await.len(), 20);
    let took = begun.elapsed();
    assert!((LOAN_MAX..2 * LOAN_MAX).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_little_of_a_large_new_object_is_lent_from_its_writers_memory() {
    let world = World::new();
    let (wire, agents) = company(&world, &[None, None, None]).await;
    let tps: Vec<_> = (0..40).map(partition).collect();
    for reader in &agents[1..] {
        reader.read(tps[0], 0).await.unwrap();
        reader.read(tps[1], 0).await.unwrap();
    }
    // 4 MiB, of which a twentieth is read elsewhere.
    let value = "v".repeat(100 * 1024);
    let run = |tp: &TopicPartition| (*tp, vec![batch(1, &[&value])]);
    let runs: Vec<_> = tps.iter().map(run).collect();
    agents[0].write(&runs).await;
    sleep(Duration::from_millis(100)).await;
    for reader in &agents[1..] {
        for tp in &tps[..2] {
            assert_eq!(values(&reader.read(*tp, 0).await.unwrap()), [&value[..]]);
        }
    }
    assert_eq!((world.bucket.gets(), wire.loans()), (0, 4));
}

#[tokio::test]
async fn agents_that_each_read_a_little_of_an_old_object_make_two_small_gets_and_one_whole() {
    const AGENTS: usize = 8;
    let world = World::new();
    let tps: Vec<_> = (0..AGENTS as i32).map(partition).collect();
    let runs: Vec<_> = tps.iter().map(|tp| (*tp, vec![batch(1, &["v"])])).collect();
    world.agent(99).write(&runs).await;
    let (_, agents) = company(&world, &[None; AGENTS]).await;
    for (agent, tp) in agents.iter().zip(&tps) {
        assert_eq!(values(&agent.read(*tp, 0).await.unwrap()), ["v"]);
    }
    assert_eq!(world.bucket.gets(), 3);
}

/// What `node` and others listen to: topics, configs and groups are heard of as records are.
#[tokio::test]
async fn listeners_hear_of_control_changes_by_the_push_alone() {
    let (world, blocked, _) = feedless();
    let (_, agents) = company(&world, &[None, None]).await;
    let heard: Arc<Mutex<Vec<Key>>> = Arc::default();
    let ears = heard.clone();
    agents[1].reader.on_entry(Arc::new(move |entry| {
        ears.lock()
            .extend(entry.changes.iter().map(|c| c.key.clone()));
    }));
    blocked.store(true, Ordering::Relaxed);
    let key = Key::Counter("n".into());
    let write = Write {
        key: key.clone(),
        value: Some(Bytes::from_static(b"1")),
        version: None,
    };
    let plan = Plan {
        locks: vec![key.clone()],
        ..Plan::default()
    };
    let decide = move |_: &View| Decision {
        writes: vec![write.clone()],
        ..Decision::default()
    };
    agents[0].lane.update(plan, PATIENCE, decide).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(heard.lock()[..], [key]);
}
