//! The house's own client, against the reference.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use sh_client::{
    Acks, Admin, Client, Codec, ConfigResource, Consumer, ConsumerOptions, ConsumerRecord,
    NewTopic, OffsetSpec, Options, Producer, ProducerOptions, ProducerRecord, partition_for_key,
};
use sh_testkit::oracle::Run;

use crate::servers::reference;

async fn client() -> Client {
    Client::connect(&reference(), Options::default())
        .await
        .expect("the reference answers")
}

async fn topic(client: &Client, name: &str, partitions: i32) -> Arc<str> {
    let name = format!("client.{name}{}", Run::start().suffix);
    let admin = Admin::new(client.clone());
    admin
        .create_topic(&NewTopic::new(&name, partitions), false)
        .await
        .expect("a new topic");
    for partition in 0..partitions {
        admin
            .list_offset(&name, partition, OffsetSpec::Latest)
            .await
            .expect("a led partition");
    }
    name.into()
}

fn keyed(topic: &Arc<str>, n: usize) -> ProducerRecord {
    ProducerRecord {
        topic: topic.clone(),
        partition: None,
        timestamp: 1_700_000_000_000 + n as i64,
        key: Some(Bytes::from(format!("key {}", n % 17))),
        value: Some(Bytes::from(format!("value {n}"))),
        headers: vec![(Bytes::from_static(b"n"), Some(Bytes::from(n.to_string())))],
    }
}

async fn read_all(
    client: &Client,
    topic: &Arc<str>,
    partitions: i32,
    count: usize,
) -> Vec<ConsumerRecord> {
    let options = ConsumerOptions {
        max_wait: Duration::from_millis(100),
        ..ConsumerOptions::default()
    };
    let mut consumer = Consumer::new(client.clone(), options);
    (0..partitions).for_each(|p| consumer.assign(topic, p, 0));
    let mut records = Vec::new();
    let reading = async {
        while records.len() < count {
            records.extend(consumer.poll().await.expect("records"));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("all records in time");
    records
}

#[tokio::test]
async fn what_is_written_is_read_back_in_order() {
    let client = client().await;
    for (name, codec, acks, idempotent) in [
        ("plain", Codec::None, Acks::All, true),
        ("zstd", Codec::Zstd, Acks::Leader, false),
        ("lz4", Codec::Lz4, Acks::None, false),
    ] {
        let topic = topic(&client, name, 3).await;
        let options = ProducerOptions {
            codec,
            acks,
            idempotent,
            batch_bytes: 4096,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(client.clone(), options);
        let mut deliveries = Vec::new();
        for n in 0..5000 {
            deliveries.push(
                producer
                    .send(keyed(&topic, n))
                    .await
                    .expect("room for a record"),
            );
        }
        producer.flush().await.expect("all records are written");
        let mut places = Vec::new();
        for delivery in deliveries {
            places.push(delivery.wait().await.expect("a place"));
        }
        let records = read_all(&client, &topic, 3, 5000).await;
        let by_place: BTreeMap<_, _> = records
            .iter()
            .map(|r| ((r.partition, r.offset), r))
            .collect();
        assert_eq!(
            by_place.len(),
            5000,
            "{name}: every record has a place of its own"
        );
        for (n, place) in places.iter().enumerate().filter(|_| acks != Acks::None) {
            let wanted = keyed(&topic, n);
            let record = by_place[&(place.partition, place.offset)];
            let key = wanted.key.clone().unwrap_or_default();
            assert_eq!(place.partition, partition_for_key(&key, 3));
            assert_eq!((&record.key, &record.value), (&wanted.key, &wanted.value));
            assert_eq!(
                (record.timestamp, &record.headers),
                (wanted.timestamp, &wanted.headers)
            );
        }
    }
}

#[tokio::test]
async fn admin_calls_do_what_they_say() {
    let client = client().await;
    let admin = Admin::new(client.clone());
    let topic = topic(&client, "admin", 1).await;
    admin
        .create_partitions(&topic, 3, false)
        .await
        .expect("more partitions");
    let resource = ConfigResource::Topic(topic.to_string());
    admin
        .alter_configs(
            &resource,
            &[("retention.ms".into(), Some("12345".into()))],
            false,
        )
        .await
        .expect("a config is set");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let configs = admin.describe_configs(&resource).await.expect("configs");
    assert!(
        configs.iter().any(|c| c.name == "retention.ms"
            && c.value.as_deref() == Some("12345")
            && c.source == 1)
    );
    let producer = Producer::new(client.clone(), ProducerOptions::default());
    let mut last = None;
    for n in 0..10 {
        let record = ProducerRecord {
            partition: Some(0),
            ..keyed(&topic, n)
        };
        last = Some(producer.send(record).await.expect("room"));
    }
    producer.flush().await.expect("written");
    assert_eq!(
        last.expect("ten were sent")
            .wait()
            .await
            .expect("a place")
            .offset,
        9
    );
    assert_eq!(
        admin
            .delete_records(&topic, 0, 4)
            .await
            .expect("records are deleted"),
        4
    );
    for (spec, offset) in [
        (OffsetSpec::Earliest, Some(4)),
        (OffsetSpec::Latest, Some(10)),
        (OffsetSpec::AtOrAfter(1_700_000_000_006), Some(6)),
        (OffsetSpec::AtOrAfter(1_800_000_000_000), None),
    ] {
        let found = admin.list_offset(&topic, 0, spec).await.expect("an offset");
        assert_eq!(found.map(|(offset, _)| offset), offset, "{spec:?}");
    }
    assert_eq!(
        admin
            .describe_producers(&topic, 0)
            .await
            .expect("producers")
            .len(),
        1
    );
    assert_eq!(
        admin
            .describe_cluster()
            .await
            .expect("the cluster")
            .brokers
            .len(),
        1
    );
    assert!(
        !admin
            .describe_log_dirs(None)
            .await
            .expect("log dirs")
            .results
            .is_empty()
    );
    admin
        .delete_topic(&topic)
        .await
        .expect("the topic is deleted");
    let gone = admin.delete_topic(&topic).await.expect_err("it is gone");
    assert_eq!(
        gone.code(),
        Some(sh_client::ErrorCode::UnknownTopicOrPartition),
        "{gone}"
    );
}

#[tokio::test]
async fn a_wrong_address_says_what_to_look_at() {
    let options = Options {
        retry_for: Duration::from_millis(200),
        ..Options::default()
    };
    let error = Client::connect("127.0.0.1:1", options)
        .await
        .err()
        .expect("nobody listens there")
        .to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("is the server running"),
        "{error}"
    );
}
