//! CreatePartitions, ElectLeaders, ListPartitionReassignments, DescribeTopicPartitions.
use anyhow::Result;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest,
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
    describe_topic_partitions_request::{Cursor, TopicRequest},
    elect_leaders_request::TopicPartitions,
    list_partition_reassignments_request::ListPartitionReassignmentsTopics,
};

use super::{
    requests::{metadata, named},
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    create_partitions: "more, as many, fewer",
    create_partitions_assignments: "where the new ones go",
    elect_leaders: "an election that nobody needs",
    list_partition_reassignments: "nothing is ever moved",
    describe_topic_partitions: "page by page",
}

fn wanted(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(named(name))
        .with_count(count)
        .with_assignments(None)
}

fn request(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(10_000)
}

async fn create_partitions(peer: &mut Peer) -> Result<()> {
    for version in 0..=3 {
        let topic = peer.topic(&format!("v{version}"), 2, &[]).await?;
        let name = topic.name.0.to_string();
        for count in [2, 1, 0, -1] {
            peer.ask(
                &format!("from 2 to {count}"),
                version,
                &request(vec![wanted(&name, count)]),
            )
            .await?;
        }
        peer.ask(
            "to 5, only checked",
            version,
            &request(vec![wanted(&name, 5)]).with_validate_only(true),
        )
        .await?;
        peer.ask(
            "to 2, only checked",
            version,
            &request(vec![wanted(&name, 2)]).with_validate_only(true),
        )
        .await?;
        peer.ask("to 4", version, &request(vec![wanted(&name, 4)]))
            .await?;
        peer.wait_for(&topic.name, 4).await?;
        peer.ask("four now", 12, &metadata(std::slice::from_ref(&topic.name)))
            .await?;
        peer.ask(
            "an unknown topic",
            version,
            &request(vec![wanted("nobody.made.this", 4)]),
        )
        .await?;
        peer.ask(
            "an impossible name",
            version,
            &request(vec![wanted("a b", 4)]),
        )
        .await?;
        peer.ask(
            "a topic twice",
            version,
            &request(vec![wanted(&name, 5), wanted(&name, 6)]),
        )
        .await?;
        peer.ask(
            "one good, one bad",
            version,
            &request(vec![wanted("a b", 4), wanted(&name, 5)]),
        )
        .await?;
        peer.ask("nothing", version, &request(vec![])).await?;
    }
    Ok(())
}

async fn create_partitions_assignments(peer: &mut Peer) -> Result<()> {
    let node = peer.node();
    let brokers = |lists: &[&[i32]]| -> Option<Vec<CreatePartitionsAssignment>> {
        let one = |ids: &&[i32]| {
            CreatePartitionsAssignment::default()
                .with_broker_ids(ids.iter().map(|b| BrokerId(*b)).collect())
        };
        Some(lists.iter().map(one).collect())
    };
    for version in 0..=3 {
        let topic = peer.topic(&format!("v{version}"), 1, &[]).await?;
        for (what, count, lists) in [
            ("too few assignments", 3, brokers(&[&[node]])),
            ("too many assignments", 2, brokers(&[&[node], &[node]])),
            ("a broker that is not", 2, brokers(&[&[99]])),
            ("a broker twice", 2, brokers(&[&[node, node]])),
            ("no brokers", 2, brokers(&[&[]])),
            ("an empty list", 2, brokers(&[])),
            ("good ones", 3, brokers(&[&[node], &[node]])),
        ] {
            let topic = wanted(&topic.name.0, count).with_assignments(lists);
            peer.ask(what, version, &request(vec![topic])).await?;
        }
    }
    Ok(())
}

async fn elect_leaders(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    for version in 0..=2 {
        for kind in [0, 1, 2].into_iter().filter(|k| version >= 1 || *k == 0) {
            let ask = |name: &str, partitions: Vec<i32>| {
                let wanted = TopicPartitions::default()
                    .with_topic(named(name))
                    .with_partitions(partitions);
                let request = ElectLeadersRequest::default()
                    .with_topic_partitions(Some(vec![wanted]))
                    .with_timeout_ms(5000);
                if version >= 1 {
                    request.with_election_type(kind)
                } else {
                    request
                }
            };
            peer.ask(
                &format!("type {kind}, both partitions"),
                version,
                &ask(&topic.name.0, vec![0, 1]),
            )
            .await?;
            peer.ask(
                &format!("type {kind}, partitions that are not"),
                version,
                &ask(&topic.name.0, vec![2, -1]),
            )
            .await?;
            peer.ask(
                &format!("type {kind}, an unknown topic"),
                version,
                &ask("nobody.made.this", vec![0]),
            )
            .await?;
            peer.ask(
                &format!("type {kind}, no partitions"),
                version,
                &ask(&topic.name.0, vec![]),
            )
            .await?;
            let all = ask("", vec![]).with_topic_partitions(None);
            let mut answer = peer.quietly(version, &all).await?;
            answer
                .replica_election_results
                .retain(|r| r.topic == topic.name);
            peer.write_down(
                &format!("ElectLeaders: type {kind}, everything, the topic of this story"),
                version,
                &answer,
            );
            let none = ask("", vec![]).with_topic_partitions(Some(vec![]));
            peer.ask(&format!("type {kind}, nothing"), version, &none)
                .await?;
        }
    }
    Ok(())
}

async fn list_partition_reassignments(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let ask = |topics| {
        ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(5000)
            .with_topics(topics)
    };
    let wanted = |name: &str, partitions: Vec<i32>| {
        Some(vec![
            ListPartitionReassignmentsTopics::default()
                .with_name(named(name))
                .with_partition_indexes(partitions),
        ])
    };
    peer.ask("everything", 0, &ask(None)).await?;
    peer.ask("no topics", 0, &ask(Some(vec![]))).await?;
    peer.ask("a topic", 0, &ask(wanted(&topic.name.0, vec![0, 1])))
        .await?;
    peer.ask(
        "partitions that are not",
        0,
        &ask(wanted(&topic.name.0, vec![7, -1])),
    )
    .await?;
    peer.ask(
        "an unknown topic",
        0,
        &ask(wanted("nobody.made.this", vec![0])),
    )
    .await
    .map(drop)
}

async fn describe_topic_partitions(peer: &mut Peer) -> Result<()> {
    let a = peer.topic("a", 3, &[]).await?;
    let b = peer.topic("b", 2, &[]).await?;
    let names = |names: &[&str]| -> Vec<TopicRequest> {
        names
            .iter()
            .map(|n| TopicRequest::default().with_name(named(n)))
            .collect()
    };
    let ask = |topics: &[&str], limit| {
        DescribeTopicPartitionsRequest::default()
            .with_topics(names(topics))
            .with_response_partition_limit(limit)
    };
    let from = |name: &str, index| {
        Some(
            Cursor::default()
                .with_topic_name(named(name))
                .with_partition_index(index),
        )
    };
    let (a, b) = (a.name.0.to_string(), b.name.0.to_string());
    for (what, request) in [
        ("both", ask(&[&a, &b], 2000)),
        ("both, the other way round", ask(&[&b, &a], 2000)),
        ("two partitions at most", ask(&[&a, &b], 2)),
        ("four partitions at most", ask(&[&a, &b], 4)),
        (
            "from the second partition on",
            ask(&[&a, &b], 2).with_cursor(from(&a, 1)),
        ),
        (
            "from the second topic on",
            ask(&[&a, &b], 9).with_cursor(from(&b, 0)),
        ),
        (
            "from beyond the first topic",
            ask(&[&a, &b], 9).with_cursor(from(&a, 3)),
        ),
        (
            "a cursor at a topic that is not",
            ask(&[&a, &b], 9).with_cursor(from(&format!("{a}x"), 0)),
        ),
        (
            "a negative cursor",
            ask(&[&a, &b], 9).with_cursor(from(&a, -1)),
        ),
        ("a limit of 0", ask(&[&a], 0)),
        ("a limit of -1", ask(&[&a], -1)),
        ("an unknown topic", ask(&["nobody.made.this"], 9)),
        ("an impossible name", ask(&["a b"], 9)),
        ("known and unknown", ask(&["nobody.made.this", &b], 9)),
        ("a topic twice", ask(&[&b, &b], 9)),
    ] {
        peer.ask(what, 0, &request).await?;
    }
    Ok(())
}
