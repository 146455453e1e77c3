//! What tools and operators ask, at every version.
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    ListPartitionReassignmentsRequest, MetadataRequest,
    alter_configs_request::{AlterConfigsResource, AlterableConfig},
    create_partitions_request::CreatePartitionsTopic,
    create_topics_request::CreatableTopic,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    delete_topics_request::DeleteTopicState,
    describe_configs_request::DescribeConfigsResource,
    describe_quorum_request,
    describe_topic_partitions_request::TopicRequest,
    incremental_alter_configs_request as incremental,
    metadata_request::MetadataRequestTopic,
};
use sh_client::Connection;

use crate::world::{World, batch, produce, text, topic_name};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn creatable(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

/// The value of one config of a topic, and where it comes from.
async fn config(client: &Connection, topic: &str, name: &str) -> (Option<String>, i8) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text(name)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(&request, 4).await.unwrap();
    let entry = &answer.results[0].configs[0];
    (
        entry.value.as_ref().map(|v| v.to_string()),
        entry.config_source,
    )
}

#[tokio::test]
async fn a_topic_is_created_described_grown_and_deleted_at_every_version() {
    let world = World::start().await;
    let client = world.connect().await;
    for version in 2..=7 {
        let name = format!("t{version}");
        let request = CreateTopicsRequest::default().with_topics(vec![creatable(&name, 2)]);
        let dry = request.clone().with_validate_only(true);
        for request in [&dry, &dry, &request] {
            let created = client.call(request, version).await.unwrap();
            assert_eq!(created.topics[0].error_code, 0, "v{version}");
            let configs = created.topics[0].configs.as_ref().unwrap();
            assert_eq!(
                configs.len(),
                if version >= 5 { 33 } else { 0 },
                "v{version}"
            );
            assert_eq!(created.topics[0].topic_id.is_nil(), version < 7);
        }
        let again = client.call(&request, version).await.unwrap();
        assert_eq!(again.topics[0].error_code, 36, "v{version}");
    }
    for version in 0..=3 {
        let more = CreatePartitionsTopic::default()
            .with_name(topic_name("t2"))
            .with_count(3 + i32::from(version))
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![more]);
        let grown = client.call(&request, version).await.unwrap();
        assert_eq!(grown.results[0].error_code, 0, "v{version}");
        let again = client.call(&request, version).await.unwrap();
        assert_eq!(again.results[0].error_code, 37, "v{version}");
    }
    for version in 1..=5 {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![
            topic_name(&format!("t{}", version + 1)),
            topic_name("nope"),
        ]);
        let deleted = client.call(&request, version).await.unwrap();
        let mut codes: Vec<i16> = deleted.responses.iter().map(|r| r.error_code).collect();
        codes.sort();
        assert_eq!(codes, [0, 3], "v{version}");
    }
    let id = world.node.topics().list(&Default::default()).await.unwrap()[0]
        .id
        .0;
    let by_id = DeleteTopicState::default()
        .with_name(None)
        .with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![by_id]);
    let deleted = client.call(&request, 6).await.unwrap();
    assert_eq!(
        (
            deleted.responses[0].error_code,
            deleted.responses[0].topic_id
        ),
        (0, id)
    );
    assert_eq!(deleted.responses[0].name, Some(topic_name("t7")));
}

#[tokio::test]
async fn metadata_tells_of_topics_at_every_version() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let client = world.connect().await;
    for version in 0..=13 {
        let named = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![named("t"), named("nope"), named("a b")]))
            .with_allow_auto_topic_creation(false);
        // Before version 4 nobody can say that nothing shall be created.
        let request = if version < 4 {
            MetadataRequest::default()
        } else {
            request
        };
        let request = match version {
            0 => request.with_topics(Some(Vec::new())),
            1..4 => request.with_topics(None),
            _ => request,
        };
        let answer = client.call(&request, version).await.unwrap();
        assert_eq!(answer.brokers[0].node_id, BrokerId(0));
        let codes: Vec<i16> = answer.topics.iter().map(|t| t.error_code).collect();
        assert_eq!(
            codes,
            if version < 4 { vec![0] } else { vec![0, 3, 17] },
            "v{version}"
        );
        assert_eq!(answer.topics[0].partitions.len(), 2);
        let partition = &answer.topics[0].partitions[1];
        assert_eq!(partition.leader_id, BrokerId(0));
        assert_eq!(partition.replica_nodes, [BrokerId(0)]);
        assert_eq!(
            answer.topics[0].topic_id.is_nil(),
            version < 10,
            "v{version}"
        );
        if version < 4 {
            continue;
        }
        let new = format!("new{version}");
        let request = MetadataRequest::default().with_topics(Some(vec![named(&new)]));
        let created = client.call(&request, version).await.unwrap();
        assert_eq!(created.topics[0].error_code, 0, "v{version}");
        assert_eq!(created.topics[0].partitions.len(), 1, "v{version}");
    }
}

#[tokio::test]
async fn configs_are_replaced_and_changed_at_every_version() {
    let world = World::start().await;
    world.topic("t", 1, &[("preallocate", "true")]).await;
    let client = world.connect().await;
    for version in 0..=2 {
        let pair = AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("5")));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("t"))
            .with_configs(vec![pair]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]);
        let altered = client.call(&request, version).await.unwrap();
        assert_eq!(altered.responses[0].error_code, 0, "v{version}");
    }
    assert_eq!(
        config(&client, "t", "preallocate").await,
        (Some("false".into()), 5)
    );
    assert_eq!(
        config(&client, "t", "retention.ms").await,
        (Some("5".into()), 1)
    );
    for version in 0..=1 {
        let change = |op, value: Option<&str>| {
            let pair = incremental::AlterableConfig::default()
                .with_name(text("cleanup.policy"))
                .with_config_operation(op)
                .with_value(value.map(text));
            let resource = incremental::AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text("t"))
                .with_configs(vec![pair]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
        };
        let steps = [
            (0, Some("compact"), "compact"),
            (2, Some("delete"), "compact,delete"),
            (3, Some("compact"), "delete"),
            (1, None, "delete"),
        ];
        for (op, value, then) in steps {
            let altered = client.call(&change(op, value), version).await.unwrap();
            assert_eq!(altered.responses[0].error_code, 0, "v{version}");
            assert_eq!(
                config(&client, "t", "cleanup.policy").await.0,
                Some(then.into())
            );
        }
        let bad = client
            .call(&change(0, Some("both")), version)
            .await
            .unwrap();
        assert_eq!(bad.responses[0].error_code, 40);
        let unknown = client.call(&change(9, Some("x")), version).await.unwrap();
        assert_eq!(unknown.responses[0].error_code, 42);
    }
}

#[tokio::test]
async fn a_description_has_as_much_as_its_version_can_hold() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    for version in 1..=4 {
        let resource = |kind, name: &str| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource(TOPIC, "t"), resource(BROKER, "0")])
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3);
        let answer = client.call(&request, version).await.unwrap();
        let segment = answer.results[0]
            .configs
            .iter()
            .find(|c| &*c.name == "segment.bytes");
        let segment = segment.unwrap();
        assert_eq!(&*segment.synonyms[0].name, "log.segment.bytes");
        assert_eq!(segment.config_type, if version >= 3 { 3 } else { 0 });
        let documented = segment
            .documentation
            .as_ref()
            .is_some_and(|d| !d.is_empty());
        assert_eq!(documented, version >= 3, "v{version}");
        let node = answer.results[1]
            .configs
            .iter()
            .find(|c| &*c.name == "node.id")
            .unwrap();
        assert_eq!(node.value, Some(text("0")));
        assert!(node.read_only);
    }
    for version in 0..=1 {
        let request = ListConfigResourcesRequest::default();
        let listed = client.call(&request, version).await.unwrap();
        assert_eq!(
            listed.config_resources.len(),
            if version == 0 { 0 } else { 3 }
        );
    }
}

#[tokio::test]
async fn records_are_deleted_at_every_version() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let records = produce("t", -1, &[(0, &batch(&["a", "b", "c", "d"]))]);
    client.call(&records, 9).await.unwrap();
    for version in 0..=2 {
        let ask = |offset| {
            let partition = DeleteRecordsPartition::default().with_offset(offset);
            let topic = DeleteRecordsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_topics(vec![topic])
        };
        let before = 1 + i64::from(version);
        for (offset, code, low_watermark) in [(before, 0, before), (5, 1, -1), (-2, 1, -1)] {
            let answer = client.call(&ask(offset), version).await.unwrap();
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.low_watermark),
                (code, low_watermark),
                "v{version}, before {offset}"
            );
        }
    }
}

#[tokio::test]
async fn the_cluster_is_shown_at_every_version() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let client = world.connect().await;
    for version in 0..=2 {
        let request = DescribeClusterRequest::default();
        let answer = client.call(&request, version).await.unwrap();
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
        assert_eq!(answer.controller_id, BrokerId(0));
        let elections = ElectLeadersRequest::default().with_topic_partitions(None);
        let answer = client.call(&elections, version).await.unwrap();
        assert_eq!(answer.error_code, 0, "v{version}");
        let partition = describe_quorum_request::PartitionData::default();
        let quorum = describe_quorum_request::TopicData::default()
            .with_topic_name(topic_name("__cluster_metadata"))
            .with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![quorum]);
        let answer = client.call(&request, version).await.unwrap();
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(
            (partition.error_code, partition.leader_id),
            (0, BrokerId(0))
        );
        assert_eq!(answer.nodes.len(), if version >= 2 { 1 } else { 0 });
    }
    for version in 1..=4 {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let answer = client.call(&request, version).await.unwrap();
        assert_eq!(
            answer.results[0].topics[0].partitions.len(),
            2,
            "v{version}"
        );
    }
    let moved = ListPartitionReassignmentsRequest::default().with_topics(None);
    assert!(client.call(&moved, 0).await.unwrap().topics.is_empty());
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let world = World::start().await;
    world.topic("a", 3, &[]).await;
    world.topic("b", 2, &[]).await;
    let client = world.connect().await;
    let named = |name| TopicRequest::default().with_name(topic_name(name));
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![named("b"), named("a"), named("nope")])
        .with_response_partition_limit(2);
    let mut told = Vec::new();
    loop {
        let page = client.call(&request, 0).await.unwrap();
        for topic in &page.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            told.extend(
                topic
                    .partitions
                    .iter()
                    .map(|p| format!("{name}{}", p.partition_index)),
            );
            assert_eq!(topic.error_code, if name == "nope" { 3 } else { 0 });
        }
        let Some(next) = page.next_cursor else {
            break;
        };
        request.cursor = Some(
            kafka_protocol::messages::describe_topic_partitions_request::Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    assert_eq!(told, ["a0", "a1", "a2", "b0", "b1"]);
}
