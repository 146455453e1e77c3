//! Two agents of one zone, each asked directly: how soon the one shows what the other committed, and what both ask of the bucket.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        FetchRequest, ProduceRequest, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};
use sh_base::batch::{BatchBuilder, Codec};
use sh_client::{Admin, Client, Connection, NewTopic, Options};
use sh_testkit::torture::agent::{Agent, free_port};
use tokio::time::sleep;

use super::{Stage, number, pair::Pair};

const TOPIC: &str = "told";
/// Topics go by name up to version 12.
const VERSION: i16 = 12;
const LONG_POLL_MS: i32 = 5_000;

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

async fn connect(agent: &Agent) -> Result<Connection> {
    let patience = Duration::from_secs(10);
    Ok(Connection::open(&agent.address(), "peers", patience).await?)
}

fn produce() -> Result<ProduceRequest> {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(1, None, Some(&[7; 100]), &[]);
    let data = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(batch.build()?.bytes().clone()));
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![data]);
    Ok(ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]))
}

fn fetch(offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1024 * 1024);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1024 * 1024)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Writes so many records through `writer`; each is waited for at `reader` before the next. From the answer of the one to the
/// answer of the other, shortest first.
async fn relay(writer: &Agent, reader: &Agent, records: i64) -> Result<Vec<Duration>> {
    let (writer, reader) = (connect(writer).await?, connect(reader).await?);
    let mut times = Vec::new();
    for offset in 0..records {
        let polled = reader.start(&fetch(offset, LONG_POLL_MS), VERSION)?;
        // The poll waits before there is anything to wait for.
        sleep(Duration::from_millis(20)).await;
        let polled = tokio::spawn(async move { (polled.await, Instant::now()) });
        let answer = writer.call(&produce()?, VERSION).await?;
        let committed = Instant::now();
        let written = &answer.responses[0].partition_responses[0];
        ensure!(
            written.error_code == 0 && written.base_offset == offset,
            "{written:?}"
        );
        let (polled, seen) = polled.await?;
        let polled = polled?;
        let part = &polled.responses[0].partitions[0];
        ensure!(part.error_code == 0, "{part:?}");
        let empty = part.records.as_ref().is_none_or(Bytes::is_empty);
        ensure!(
            !empty,
            "offset {offset} was not seen within {LONG_POLL_MS} ms"
        );
        times.push(seen.saturating_duration_since(committed));
    }
    times.sort();
    Ok(times)
}

/// Reads from the beginning to this offset.
async fn read_all(agent: &Agent, end: i64) -> Result<()> {
    let reader = connect(agent).await?;
    let mut offset = 0;
    while offset < end {
        let answer = reader.call(&fetch(offset, 100), VERSION).await?;
        let part = &answer.responses[0].partitions[0];
        ensure!(part.error_code == 0, "{part:?}");
        let records = part.records.clone().unwrap_or_default();
        // One record in each batch, all of one size.
        let size = u64::from(
            produce()?.topic_data[0].partition_data[0]
                .records
                .as_ref()
                .context("no batch")?
                .len() as u32,
        );
        offset += (records.len() as u64 / size) as i64;
    }
    Ok(())
}

/// GETs of the bucket by both.
async fn gets(agents: &[Agent; 2]) -> Result<f64> {
    let mut sum = 0.0;
    for agent in agents {
        sum += agent
            .metric("streamhouse_bucket_requests_total", "op=\"get")
            .await?;
    }
    Ok(sum)
}

async fn topic(pair: &Pair) -> Result<()> {
    let client = Client::connect(&pair.agents[0].address(), Options::default()).await?;
    let admin = Admin::new(client);
    Ok(admin.create_topic(&NewTopic::new(TOPIC, 1), false).await?)
}

fn told(what: &str, times: &[Duration]) -> Duration {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:?}, p99 {:?}, of {}",
        at(50),
        at(99),
        times.len()
    );
    at(50)
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_tell_each_other_of_commits_and_read_each_object_once() -> Result<()> {
    let stage = Stage::set(11).await?;
    let records = number("STREAMHOUSE_TEST_RECORDS", 100);
    let mut pair = Pair::start(&stage).await?;
    topic(&pair).await?;
    let before = gets(&pair.agents).await?;
    let times = relay(&pair.agents[0], &pair.agents[1], records).await?;
    let median = told(
        "from the commit at one agent to the consumer of the other",
        &times,
    );
    let tail = gets(&pair.agents).await? - before;
    println!("{tail} GETs for {records} objects while they were new");
    for agent in &mut pair.agents {
        agent.kill()?;
        agent.start().await?;
    }
    // Until both know of the other's new life.
    sleep(Duration::from_secs(4)).await;
    let before = gets(&pair.agents).await?;
    let [a, b] = &pair.agents;
    tokio::try_join!(read_all(a, records), read_all(b, records))?;
    let history = gets(&pair.agents).await? - before;
    println!("{history} GETs for {records} objects that both read after their restart");
    // Each agent looks at cluster.json from time to time.
    let slack = records as f64 / 10.0 + 4.0;
    ensure!(median < Duration::from_millis(25), "news came late");
    ensure!(tail <= slack, "new objects were read from the bucket");
    ensure!(history <= records as f64 + slack, "objects were read twice");
    Ok(())
}

/// The same where no agent reaches the other: nothing is wrong, it only takes the feed's time and a GET at each agent.
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_do_not_reach_each_other_read_the_feed_and_the_bucket() -> Result<()> {
    let stage = Stage::set(12).await?;
    let records = 50;
    let nobody = format!("127.0.0.1:{}", free_port()?);
    let pair = Pair::start_with(&stage, &["--http-advertised".to_owned(), nobody]).await?;
    topic(&pair).await?;
    let before = gets(&pair.agents).await?;
    let times = relay(&pair.agents[0], &pair.agents[1], records).await?;
    told("without a way between agents", &times);
    println!("{} GETs", gets(&pair.agents).await? - before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_show_the_secret_is_not_let_in() -> Result<()> {
    let stage = Stage::set(13).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let object = "/internal/objects/0/1-0000000000000001/00000000000000000001?part=whole";
    for path in [object, "/internal/objects/x?part=whole"] {
        let refused = agent.get(path).await.unwrap_err();
        ensure!(refused.to_string().starts_with("HTTP/1.1 401"), "{refused}");
    }
    let refused = agent
        .metric("streamhouse_peer_requests_refused_total", "")
        .await?;
    ensure!(refused == 2.0, "{refused}");
    Ok(())
}
