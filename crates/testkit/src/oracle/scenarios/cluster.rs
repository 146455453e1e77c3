//! DescribeCluster, DescribeLogDirs, DescribeQuorum, ListConfigResources.
use anyhow::Result;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest, DescribeQuorumResponse,
    ListConfigResourcesRequest,
    describe_log_dirs_request::DescribableLogDirTopic,
    describe_quorum_request::{PartitionData, TopicData},
};

use super::{
    requests::{named, produce},
    scenarios,
};
use crate::oracle::{
    Peer,
    batch::{RawBatch, record},
};

scenarios! {
    describe_cluster: "the brokers and the controller",
    describe_log_dirs: "where a topic's bytes are",
    describe_quorum: "who keeps the metadata",
    list_config_resources: "what has configs",
}

async fn describe_cluster(peer: &mut Peer) -> Result<()> {
    for version in 0..=2 {
        let plain = DescribeClusterRequest::default();
        peer.ask("plain", version, &plain).await?;
        let operations = plain
            .clone()
            .with_include_cluster_authorized_operations(true);
        peer.ask("with operations", version, &operations).await?;
        for kind in [0, 2, 3].into_iter().filter(|_| version >= 1) {
            peer.ask(
                &format!("endpoint type {kind}"),
                version,
                &plain.clone().with_endpoint_type(kind),
            )
            .await?;
        }
        if version >= 2 {
            peer.ask(
                "with fenced brokers",
                version,
                &plain.with_include_fenced_brokers(true),
            )
            .await?;
        }
    }
    Ok(())
}

async fn describe_log_dirs(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    for _ in 0..2 {
        peer.quietly(9, &produce(9, &topic, 0, batch.clone()))
            .await?;
    }
    let ask = |name: &str, partitions: Vec<i32>| {
        let wanted = DescribableLogDirTopic::default()
            .with_topic(named(name))
            .with_partitions(partitions);
        DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]))
    };
    for version in 1..=4 {
        peer.ask("both partitions", version, &ask(&topic.name.0, vec![0, 1]))
            .await?;
        peer.ask("one partition", version, &ask(&topic.name.0, vec![1]))
            .await?;
        peer.ask(
            "partitions that are not",
            version,
            &ask(&topic.name.0, vec![7, -1]),
        )
        .await?;
        peer.ask(
            "an unknown topic",
            version,
            &ask("nobody.made.this", vec![0]),
        )
        .await?;
        peer.ask(
            "no topics",
            version,
            &DescribeLogDirsRequest::default().with_topics(Some(vec![])),
        )
        .await?;
        let mut all = peer
            .quietly(
                version,
                &DescribeLogDirsRequest::default().with_topics(None),
            )
            .await?;
        for dir in &mut all.results {
            dir.topics.retain(|t| t.name == topic.name);
        }
        peer.write_down(
            "DescribeLogDirs: everything, the topic of this story",
            version,
            &all,
        );
    }
    Ok(())
}

async fn describe_quorum(peer: &mut Peer) -> Result<()> {
    let ask = |name: &str, partition| {
        let wanted = PartitionData::default().with_partition_index(partition);
        let topic = TopicData::default()
            .with_topic_name(named(name))
            .with_partitions(vec![wanted]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    for version in 0..=2 {
        for (what, request) in [
            ("the metadata log", ask("__cluster_metadata", 0)),
            ("partition 1 of it", ask("__cluster_metadata", 1)),
            ("another topic", ask("nobody.made.this", 0)),
            ("nothing", DescribeQuorumRequest::default()),
        ] {
            let mut answer = peer.quietly(version, &request).await?;
            settled(&mut answer);
            peer.write_down(&format!("DescribeQuorum: {what}"), version, &answer);
        }
    }
    Ok(())
}

/// How long the metadata log is, and how often its leader changed, is each cluster's own; that there is one is not.
fn settled(answer: &mut DescribeQuorumResponse) {
    for part in answer.topics.iter_mut().flat_map(|t| &mut t.partitions) {
        part.leader_epoch = part.leader_epoch.min(1);
        part.high_watermark = part.high_watermark.min(1);
        if part.error_code != 0 {
            part.leader_id = (-1).into();
        }
        for replica in part.current_voters.iter_mut().chain(&mut part.observers) {
            replica.log_end_offset = replica.log_end_offset.min(1);
        }
    }
    for listener in answer.nodes.iter_mut().flat_map(|n| &mut n.listeners) {
        listener.port = listener.port.min(1);
    }
}

async fn list_config_resources(peer: &mut Peer) -> Result<()> {
    peer.ask(
        "version 0 knows client metrics only",
        0,
        &ListConfigResourcesRequest::default(),
    )
    .await?;
    let own = peer.topic("t", 1, &[]).await?;
    for types in [
        vec![],
        vec![2],
        vec![4],
        vec![8],
        vec![16],
        vec![32],
        vec![1],
        vec![99],
        vec![4, 8],
        vec![4, 4],
    ] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types.clone());
        let mut answer = peer.quietly(1, &request).await?;
        answer
            .config_resources
            .retain(|r| r.resource_type != 2 || r.resource_name == own.name.0);
        peer.write_down(
            &format!("ListConfigResources: types {types:?}, of topics that of this story"),
            1,
            &answer,
        );
    }
    Ok(())
}
