//! The topics that Kafka keeps for itself: how they look, and what may be done to them.
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DescribeConfigsRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, ProduceRequest,
    alter_configs_request::{AlterConfigsResource, AlterableConfig as Whole},
    create_partitions_request::CreatePartitionsTopic,
    create_topics_request::CreatableTopic,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    describe_configs_request::DescribeConfigsResource,
    describe_topic_partitions_request::{Cursor, TopicRequest},
    incremental_alter_configs_request::{AlterConfigsResource as Resource, AlterableConfig},
};

use super::{
    requests::{fetch, list_offsets, metadata, named, produce, text, wish},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{RawBatch, record},
};

scenarios! {
    internal_topics_listed: "both internal topics, as they are described",
    internal_topics_refused: "what may be written to them, and what may not",
    internal_topics_changed: "what an administrator may change about them",
}

const NAMES: [&str; 2] = ["__consumer_offsets", "__transaction_state"];
const TOPIC: i8 = 2;

/// Somebody looks for coordinators of both kinds; then the topics appear.
async fn appear(peer: &mut Peer) -> Result<Vec<Topic>> {
    for kind in [0, 1] {
        let find = FindCoordinatorRequest::default().with_key(text("anybody"));
        peer.quietly(2, &find.with_key_type(kind)).await?;
    }
    let names = NAMES.map(named);
    for _ in 0..200 {
        let shown = peer.quietly(12, &metadata(&names)).await?.topics;
        if shown
            .iter()
            .all(|t| t.error_code == 0 && !t.partitions.is_empty())
        {
            let topic = |name: &str| {
                let found = shown
                    .iter()
                    .find(|t| t.name.as_ref().is_some_and(|n| *n.0 == *name));
                Topic {
                    name: named(name),
                    id: found.map(|t| t.topic_id).unwrap_or_default(),
                }
            };
            return Ok(NAMES.map(topic).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the internal topics did not appear within 10 s")
}

async fn internal_topics_listed(peer: &mut Peer) -> Result<()> {
    appear(peer).await?;
    for version in [0, 1, 5, 9, 12, 13] {
        peer.ask("by name", version, &metadata(&NAMES.map(named)))
            .await?;
    }
    let all = MetadataRequest::default().with_topics(None);
    let mut all = peer.quietly(12, &all).await?;
    all.topics.retain(|t| t.is_internal);
    peer.write_down("Metadata: all topics, the internal ones", 12, &all.topics);
    let topics = NAMES.map(|name| TopicRequest::default().with_name(named(name)));
    let first = DescribeTopicPartitionsRequest::default().with_topics(topics.into());
    let first = first.with_response_partition_limit(60);
    peer.ask("the first page", 0, &first).await?;
    let cursor = Cursor::default()
        .with_topic_name(named(NAMES[1]))
        .with_partition_index(48);
    peer.ask(
        "from partition 48 of the second",
        0,
        &first.with_cursor(Some(cursor)),
    )
    .await?;
    for name in NAMES {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true);
        peer.ask(&format!("of {name}"), 4, &request).await?;
    }
    Ok(())
}

async fn internal_topics_refused(peer: &mut Peer) -> Result<()> {
    let topics = appear(peer).await?;
    let plain = peer.topic("plain", 1, &[]).await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    for topic in &topics {
        for version in [3, 9, 13] {
            let what = format!("to {}", &*topic.name.0);
            peer.ask(&what, version, &produce(version, topic, 0, batch.clone()))
                .await?;
            let what = format!("to a partition of {} that is not", &*topic.name.0);
            peer.ask(&what, version, &produce(version, topic, 99, batch.clone()))
                .await?;
        }
        let mut both: ProduceRequest = produce(9, topic, 0, batch.clone());
        both.topic_data
            .extend(produce(9, &plain, 0, batch.clone()).topic_data);
        peer.ask(&format!("to {} and to another", &*topic.name.0), 9, &both)
            .await?;
        let offsets = list_offsets(7, &topic.name, &[(3, -2, -1)]);
        peer.ask("the start of a partition", 7, &offsets).await?;
        let beyond = fetch(12, topic, &[wish(3, 1_000_000_000)]);
        peer.ask("far beyond the end", 12, &beyond).await?;
        for version in [0, 2] {
            let partition = DeleteRecordsPartition::default().with_offset(-1);
            let wanted = DeleteRecordsTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(5_000);
            peer.ask(&format!("of {}", &*topic.name.0), version, &request)
                .await?;
        }
    }
    Ok(())
}

async fn internal_topics_changed(peer: &mut Peer) -> Result<()> {
    appear(peer).await?;
    for name in NAMES {
        let again = CreatableTopic::default()
            .with_name(named(name))
            .with_num_partitions(7)
            .with_replication_factor(1);
        let create = CreateTopicsRequest::default()
            .with_topics(vec![again])
            .with_timeout_ms(5_000);
        peer.ask(&format!("{name} again"), 7, &create).await?;
        for count in [50, 51] {
            let grown = CreatePartitionsTopic::default()
                .with_name(named(name))
                .with_count(count)
                .with_assignments(None);
            let request = CreatePartitionsRequest::default()
                .with_topics(vec![grown])
                .with_timeout_ms(5_000)
                .with_validate_only(true);
            peer.ask(&format!("{name} with {count}, only checked"), 3, &request)
                .await?;
        }
        let config = AlterableConfig::default()
            .with_name(text("segment.bytes"))
            .with_value(Some(text("52428800")));
        let resource = Resource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(true);
        peer.ask(&format!("{name}, only checked"), 1, &request)
            .await?;
        let config = Whole::default()
            .with_name(text("cleanup.policy"))
            .with_value(Some(text("delete")));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(true);
        peer.ask(&format!("{name}, only checked"), 2, &request)
            .await?;
    }
    Ok(())
}
