//! Somebody removes an object that the log needs.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sh_client::{
    Admin, Client, Consumer, ConsumerOptions, NewTopic, Options, Producer, ProducerOptions,
    ProducerRecord,
};
use sh_testkit::torture::agent::Agent;

use super::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_is_named_in_the_log_and_harms_no_other_topic() -> Result<()> {
    let stage = Stage::set(11).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let mut objects = Vec::new();
    for topic in ["gone", "cut", "kept"] {
        write(&agent, topic).await?;
        let before = std::mem::take(&mut objects);
        objects = objects_in(&stage.folder.path().join("agent/data/bucket/l0"))?;
        ensure!(objects.len() > before.len(), "{topic} is in no object");
    }
    agent.kill()?;
    fs::remove_file(&objects[0])?;
    fs::File::options()
        .write(true)
        .open(&objects[1])?
        .set_len(10)?;
    agent.start().await?;
    for topic in ["gone", "cut"] {
        let refused = read(&agent, topic).await.err().context("it was read")?;
        let refused = refused.to_string();
        ensure!(refused.contains("KafkaStorageError"), "{refused}");
    }
    ensure!(read(&agent, "kept").await? == 1, "the other topic is read");
    let told = agent.log_lines("0001 is named by the metadata store and is not in the bucket")?;
    ensure!(told > 0, "the log names the object:\n{}", agent.log_tail());
    let failures = agent.metric("streamhouse_read_failures_total", "").await?;
    ensure!(failures >= 2.0, "{failures} failures are counted");
    agent.kill()
}

fn client(agent: &Agent) -> Client {
    let options = Options {
        retry_for: Duration::from_secs(2),
        ..Options::default()
    };
    Client::new(&agent.address(), options)
}

async fn write(agent: &Agent, topic: &str) -> Result<()> {
    let client = client(agent);
    Admin::new(client.clone())
        .create_topic(&NewTopic::new(topic, 1), false)
        .await?;
    let producer = Producer::new(client, ProducerOptions::default());
    let record = ProducerRecord {
        topic: topic.into(),
        partition: Some(0),
        timestamp: 0,
        key: None,
        value: Some("v".into()),
        headers: Vec::new(),
    };
    producer.send(record).await?.wait().await?;
    Ok(())
}

async fn read(agent: &Agent, topic: &str) -> Result<usize> {
    let mut consumer = Consumer::new(client(agent), ConsumerOptions::default());
    consumer.assign(topic, 0, 0);
    Ok(consumer.poll().await?.len())
}

/// All files below the folder, oldest name first.
fn objects_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(objects_in(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}
