//! CreateTopics.
use anyhow::Result;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest,
    create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
};

use super::{
    requests::{metadata, named, text},
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    create_topics: "ordinary topics, and the same ones again",
    create_topics_names: "names that are not allowed, and internal ones",
    create_topics_numbers: "partition counts and replication factors",
    create_topics_assignments: "manual assignments",
    create_topics_configs: "configs, good and bad",
    create_topics_validate: "validate_only creates nothing",
    create_topics_together: "several topics, duplicates, none",
}

/// A key and its value.
type Config<'a> = (&'a str, Option<&'a str>);

fn wanted(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(10_000)
}

async fn one(peer: &mut Peer, what: &str, version: i16, topic: CreatableTopic) -> Result<()> {
    peer.ask(what, version, &request(vec![topic]))
        .await
        .map(drop)
}

async fn create_topics(peer: &mut Peer) -> Result<()> {
    for version in 2..=7 {
        let name = peer.name(&format!("v{version}")).0.to_string();
        one(peer, "a topic", version, wanted(&name, 3)).await?;
        one(peer, "the topic again", version, wanted(&name, 3)).await?;
        peer.wait_for(&named(&name), 3).await?;
        peer.ask("the topic that was created", 12, &metadata(&[named(&name)]))
            .await?;
        let other = peer.name(&format!("defaults.v{version}")).0.to_string();
        if version >= 4 {
            one(
                peer,
                "the broker's defaults",
                version,
                wanted(&other, -1).with_replication_factor(-1),
            )
            .await?;
        }
        let other = peer.name(&format!("quick.v{version}")).0.to_string();
        peer.ask(
            "a timeout of 0",
            version,
            &request(vec![wanted(&other, 1)]).with_timeout_ms(0),
        )
        .await?;
    }
    Ok(())
}

async fn create_topics_names(peer: &mut Peer) -> Result<()> {
    let long = "x".repeat(250);
    for version in 2..=7 {
        for name in ["", ".", "..", "a b", "ä", "a/b", "a:b"] {
            one(
                peer,
                &format!("the name {name:?}"),
                version,
                wanted(name, 1),
            )
            .await?;
        }
        one(peer, "a name of 250 letters", version, wanted(&long, 1)).await?;
        one(
            peer,
            "the log of the cluster",
            version,
            wanted("__cluster_metadata", 1),
        )
        .await?;
    }
    let dots = peer.name("a.b_c").0.to_string();
    one(
        peer,
        "a name with a dot and an underscore",
        7,
        wanted(&dots, 1),
    )
    .await?;
    peer.wait_for(&named(&dots), 1).await?;
    one(
        peer,
        "a name that collides with it",
        7,
        wanted(&dots.replace("a.b_c", "a_b.c"), 1),
    )
    .await?;
    Ok(())
}

async fn create_topics_numbers(peer: &mut Peer) -> Result<()> {
    for version in 2..=7 {
        for (partitions, replicas) in [
            (0, 1),
            (-1, 1),
            (-2, 1),
            (1, 0),
            (1, -1),
            (1, -2),
            (1, 2),
            (1, 32767),
            (0, 0),
            (-1, -1),
            (i32::MAX, 1),
        ] {
            let name = peer
                .name(&format!("p{partitions}.r{replicas}.v{version}"))
                .0
                .to_string();
            let topic = wanted(&name, partitions).with_replication_factor(replicas);
            let what = format!("{partitions} partitions, {replicas} replicas");
            let request = request(vec![topic]).with_validate_only(true);
            peer.ask(&what, version, &request).await?;
        }
    }
    Ok(())
}

async fn create_topics_assignments(peer: &mut Peer) -> Result<()> {
    let node = peer.node();
    let assign = |parts: &[(i32, &[i32])]| -> Vec<CreatableReplicaAssignment> {
        let one = |(index, brokers): &(i32, &[i32])| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
        };
        parts.iter().map(one).collect()
    };
    for version in 2..=7 {
        for (what, partitions, replicas, assignments) in [
            (
                "two partitions",
                -1,
                -1,
                assign(&[(0, &[node]), (1, &[node])]),
            ),
            (
                "with a partition count",
                2,
                -1,
                assign(&[(0, &[node]), (1, &[node])]),
            ),
            ("with a replication factor", -1, 1, assign(&[(0, &[node])])),
            (
                "a gap in the partitions",
                -1,
                -1,
                assign(&[(0, &[node]), (2, &[node])]),
            ),
            ("not from 0", -1, -1, assign(&[(1, &[node])])),
            (
                "a partition twice",
                -1,
                -1,
                assign(&[(0, &[node]), (0, &[node])]),
            ),
            ("a broker that is not", -1, -1, assign(&[(0, &[99])])),
            ("a broker twice", -1, -1, assign(&[(0, &[node, node])])),
            ("no brokers", -1, -1, assign(&[(0, &[])])),
            (
                "different replica counts",
                -1,
                -1,
                assign(&[(0, &[node]), (1, &[node, 99])]),
            ),
            ("a negative broker", -1, -1, assign(&[(0, &[-1])])),
        ] {
            let name = peer
                .name(&format!("{}.v{version}", what.replace(' ', "-")))
                .0
                .to_string();
            let topic = wanted(&name, partitions)
                .with_replication_factor(replicas)
                .with_assignments(assignments);
            one(peer, what, version, topic).await?;
        }
    }
    Ok(())
}

async fn create_topics_configs(peer: &mut Peer) -> Result<()> {
    let cases: [(&str, &[Config]); 34] = [
        (
            "good ones",
            &[
                ("retention.ms", Some("1000")),
                ("cleanup.policy", Some("compact")),
            ],
        ),
        ("an unknown key", &[("no.such.config", Some("1"))]),
        ("an empty key", &[("", Some("1"))]),
        ("not a number", &[("retention.ms", Some("soon"))]),
        ("an empty number", &[("retention.ms", Some(""))]),
        ("too small", &[("retention.ms", Some("-2"))]),
        ("max.message.bytes -1", &[("max.message.bytes", Some("-1"))]),
        (
            "max.message.bytes too large",
            &[("max.message.bytes", Some("99999999999"))],
        ),
        ("a null value", &[("retention.ms", None)]),
        ("an unknown policy", &[("cleanup.policy", Some("forget"))]),
        ("an empty policy", &[("cleanup.policy", Some(""))]),
        (
            "both policies",
            &[("cleanup.policy", Some("delete, compact"))],
        ),
        (
            "a policy twice",
            &[("cleanup.policy", Some("delete,delete"))],
        ),
        ("an unknown codec", &[("compression.type", Some("rar"))]),
        ("a codec in capitals", &[("compression.type", Some("GZIP"))]),
        (
            "not a boolean",
            &[("unclean.leader.election.enable", Some("perhaps"))],
        ),
        ("a boolean in capitals", &[("preallocate", Some("TRUE"))]),
        (
            "a ratio above 1",
            &[("min.cleanable.dirty.ratio", Some("1.5"))],
        ),
        (
            "a ratio below 0",
            &[("min.cleanable.dirty.ratio", Some("-0.1"))],
        ),
        ("segment.bytes 13", &[("segment.bytes", Some("13"))]),
        ("segment.bytes 2 MiB", &[("segment.bytes", Some("2097152"))]),
        ("segment.ms 0", &[("segment.ms", Some("0"))]),
        (
            "an unknown timestamp type",
            &[("message.timestamp.type", Some("Never"))],
        ),
        (
            "min.insync.replicas 0",
            &[("min.insync.replicas", Some("0"))],
        ),
        (
            "min.insync.replicas 3",
            &[("min.insync.replicas", Some("3"))],
        ),
        ("gzip level 10", &[("compression.gzip.level", Some("10"))]),
        (
            "a key twice",
            &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
        ),
        (
            "two bad ones",
            &[("retention.ms", Some("x")), ("segment.ms", Some("y"))],
        ),
        (
            "good and bad",
            &[("retention.ms", Some("1")), ("segment.ms", Some("y"))],
        ),
        (
            "lags that contradict",
            &[
                ("min.compaction.lag.ms", Some("10")),
                ("max.compaction.lag.ms", Some("5")),
            ],
        ),
        (
            "throttled replicas",
            &[("leader.replication.throttled.replicas", Some("0:1,1:1"))],
        ),
        (
            "bad throttled replicas",
            &[("leader.replication.throttled.replicas", Some("x"))],
        ),
        ("spaces around a value", &[("retention.ms", Some(" 1000 "))]),
        (
            "a removed config",
            &[("message.format.version", Some("2.8"))],
        ),
    ];
    for version in [2, 4, 5, 7] {
        for (n, (what, configs)) in cases.iter().enumerate() {
            let config = |(k, v): &(&str, Option<&str>)| {
                CreatableTopicConfig::default()
                    .with_name(text(k))
                    .with_value(v.map(text))
            };
            let name = peer.name(&format!("c{n}.v{version}")).0.to_string();
            one(
                peer,
                what,
                version,
                wanted(&name, 1).with_configs(configs.iter().map(config).collect()),
            )
            .await?;
        }
    }
    Ok(())
}

async fn create_topics_validate(peer: &mut Peer) -> Result<()> {
    for version in 2..=7 {
        let name = peer.name(&format!("v{version}")).0.to_string();
        let bad = CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("x")));
        for (what, topic) in [
            ("a good topic", wanted(&name, 3)),
            ("a bad name", wanted("a b", 3)),
            ("a bad config", wanted(&name, 3).with_configs(vec![bad])),
        ] {
            peer.ask(
                what,
                version,
                &request(vec![topic]).with_validate_only(true),
            )
            .await?;
        }
        let looking = metadata(&[named(&name)]).with_allow_auto_topic_creation(false);
        peer.ask("it was not created", 12, &looking).await?;
    }
    let there = peer.topic("there", 1, &[]).await?;
    peer.ask(
        "a topic that is there",
        7,
        &request(vec![wanted(&there.name.0, 1)]).with_validate_only(true),
    )
    .await?;
    Ok(())
}

async fn create_topics_together(peer: &mut Peer) -> Result<()> {
    for version in 2..=7 {
        let name = |n: &str| peer.name(&format!("{n}.v{version}")).0.to_string();
        let (a, b) = (wanted(&name("a"), 1), wanted(&name("b"), 2));
        peer.ask(
            "two, one of them bad",
            version,
            &request(vec![a.clone(), wanted("a b", 1)]),
        )
        .await?;
        peer.ask(
            "a name twice",
            version,
            &request(vec![b.clone(), b.clone()]),
        )
        .await?;
        peer.ask(
            "a name twice and a good one",
            version,
            &request(vec![
                b.clone(),
                b.clone(),
                wanted(&format!("c{}", a.name.0.as_str()), 1),
            ]),
        )
        .await?;
        peer.ask(
            "the bad name twice",
            version,
            &request(vec![wanted("a b", 1), wanted("a b", 1)]),
        )
        .await?;
        peer.ask("nothing", version, &request(vec![])).await?;
    }
    Ok(())
}
