//! Configs of topics, brokers and loggers.
use sh_base::ErrorCode;
use sh_node::{
    ConfigResource, ResourceKind, TopicChoice,
    config::{AlterOp, Changes, ConfigEntry, ConfigOp, Source},
};

use crate::world::{Agent, World, caller, topic};

fn resource(kind: ResourceKind, name: &str) -> ConfigResource {
    ConfigResource {
        kind,
        name: name.into(),
    }
}

fn set(name: &str, value: &str) -> ConfigOp {
    ConfigOp {
        name: name.into(),
        op: AlterOp::Set,
        value: Some(value.into()),
    }
}

async fn alter(agent: &Agent, r: ConfigResource, ops: Vec<ConfigOp>) -> Result<(), ErrorCode> {
    let changes = vec![(r, Changes::Ops(ops))];
    let altered = agent.node.alter_configs(&caller(), changes, false).await;
    altered.into_iter().next().unwrap().1.map_err(|e| e.code)
}

async fn config(agent: &Agent, r: &ConfigResource, name: &str) -> ConfigEntry {
    let names = [name.to_owned()];
    let found = agent
        .node
        .describe_configs(&caller(), r, Some(&names))
        .await
        .unwrap();
    found.into_iter().next().unwrap()
}

fn sources(entry: &ConfigEntry) -> Vec<(&str, Option<&str>, Source)> {
    entry
        .synonyms
        .iter()
        .map(|s| (s.name.as_str(), s.value.as_deref(), s.source))
        .collect()
}

#[tokio::test]
async fn a_topic_config_shows_where_it_comes_from() {
    let world = World::new();
    let agent = world.agent(&[("log.segment.bytes", "2000000")]).await;
    agent.create(topic("t", 1)).await;
    let t = resource(ResourceKind::Topic, "t");
    alter(&agent, t.clone(), vec![set("segment.bytes", "3000000")])
        .await
        .unwrap();
    let entry = config(&agent, &t, "segment.bytes").await;
    assert_eq!(
        (entry.value.as_deref(), entry.source),
        (Some("3000000"), Source::DynamicTopic)
    );
    assert_eq!(
        sources(&entry),
        [
            ("segment.bytes", Some("3000000"), Source::DynamicTopic),
            ("log.segment.bytes", Some("2000000"), Source::StaticBroker),
            ("log.segment.bytes", Some("1073741824"), Source::Default),
        ]
    );
    let all = agent
        .node
        .describe_configs(&caller(), &t, None)
        .await
        .unwrap();
    assert_eq!(all.len(), 33);
}

#[tokio::test]
async fn a_changed_topic_config_takes_effect_at_every_agent() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    a.create(topic("t", 1)).await;
    let choice = TopicChoice::Name("t".into());
    assert!(
        !b.node
            .topic(&caller(), &choice)
            .await
            .unwrap()
            .settings
            .compacted
    );
    let compact = vec![
        set("cleanup.policy", "compact"),
        set("max.message.bytes", "100"),
    ];
    alter(&a, resource(ResourceKind::Topic, "t"), compact)
        .await
        .unwrap();
    b.listen(&world).await;
    let settings = b
        .node
        .topic(&caller(), &choice)
        .await
        .unwrap()
        .settings
        .clone();
    assert!(settings.compacted && !settings.deletes);
    assert_eq!(settings.max_message_bytes, 100);
}

#[tokio::test]
async fn broker_configs_are_kept_and_reach_the_topics() {
    let world = World::new();
    let a = world.agent(&[("log.retention.hours", "2")]).await;
    a.create(topic("t", 1)).await;
    let choice = TopicChoice::Name("t".into());
    let t = resource(ResourceKind::Topic, "t");
    let retention = config(&a, &t, "retention.ms").await;
    assert_eq!(retention.value.as_deref(), Some("7200000"), "from hours");
    assert!(retention.synonyms.is_empty());

    let everywhere = resource(ResourceKind::Broker, "");
    let ops = vec![
        set("log.retention.ms", "5000"),
        set("message.max.bytes", "77"),
    ];
    alter(&a, everywhere.clone(), ops).await.unwrap();
    let own = resource(ResourceKind::Broker, "0");
    alter(&a, own.clone(), vec![set("log.retention.ms", "6000")])
        .await
        .unwrap();
    let entry = config(&a, &own, "log.retention.ms").await;
    let [own_value, cluster_value, ..] = &sources(&entry)[..] else {
        panic!("{entry:?}")
    };
    assert_eq!(
        *own_value,
        ("log.retention.ms", Some("6000"), Source::DynamicBroker)
    );
    assert_eq!(
        *cluster_value,
        (
            "log.retention.ms",
            Some("5000"),
            Source::DynamicDefaultBroker
        )
    );
    let settings = a
        .node
        .topic(&caller(), &choice)
        .await
        .unwrap()
        .settings
        .clone();
    assert_eq!(
        (settings.retention_ms, settings.max_message_bytes),
        (6000, 77)
    );

    let late = world.agent(&[]).await;
    let settings = late
        .node
        .topic(&caller(), &choice)
        .await
        .unwrap()
        .settings
        .clone();
    assert_eq!(
        settings.retention_ms, 5000,
        "read at the start; the other broker's own is not its own"
    );
    let entries = late
        .node
        .describe_configs(&caller(), &everywhere, None)
        .await
        .unwrap();
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    agent.create(topic("t", 1)).await;
    let t = |name| resource(ResourceKind::Topic, name);
    let broker = |name| resource(ResourceKind::Broker, name);
    let retention = || vec![set("retention.ms", "1")];
    let cases = [
        (t("nope"), retention(), ErrorCode::UnknownTopicOrPartition),
        (t(""), retention(), ErrorCode::InvalidRequest),
        (t("a b"), retention(), ErrorCode::InvalidTopic),
        (
            t("t"),
            vec![set("retention.ms", "x")],
            ErrorCode::InvalidConfig,
        ),
        (broker("7"), vec![], ErrorCode::InvalidRequest),
        (broker("x"), vec![], ErrorCode::InvalidRequest),
        (
            broker("0"),
            vec![set("num.partitions", "2")],
            ErrorCode::InvalidRequest,
        ),
        (
            resource(ResourceKind::BrokerLogger, "0"),
            vec![set("root", "LOUD")],
            ErrorCode::InvalidConfig,
        ),
    ];
    for (r, ops, code) in cases {
        assert_eq!(alter(&agent, r.clone(), ops).await, Err(code), "{r:?}");
    }
    let twice = vec![
        (t("t"), Changes::Ops(retention())),
        (t("t"), Changes::Ops(vec![])),
    ];
    let refused = agent.node.alter_configs(&caller(), twice, false).await;
    assert!(refused.iter().all(|(_, r)| r.is_err()));
}

#[tokio::test]
async fn validating_changes_nothing() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    agent.create(topic("t", 1)).await;
    let t = resource(ResourceKind::Topic, "t");
    let changes = vec![(t.clone(), Changes::Ops(vec![set("retention.ms", "1")]))];
    agent
        .node
        .alter_configs(&caller(), changes, true)
        .await
        .pop()
        .unwrap()
        .1
        .unwrap();
    assert_eq!(
        config(&agent, &t, "retention.ms").await.source,
        Source::Default
    );
}
