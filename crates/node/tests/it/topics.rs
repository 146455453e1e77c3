//! Topics are created, found, grown, deleted, brought back and purged.
use std::time::Duration;

use sh_base::{ErrorCode, TopicPartition};
use sh_log::Head;
use sh_meta::Family;
use sh_node::{
    TopicChoice,
    topics::{NewPartitions, NewTopic},
};

use crate::world::{World, caller, topic};

fn named(name: &str) -> TopicChoice {
    TopicChoice::Name(name.into())
}

#[tokio::test]
async fn a_topic_is_two_rows_however_many_partitions_it_has() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    let created = agent.create(topic("big", 10_000)).await;
    assert_eq!(created.partitions, 10_000);
    for (family, rows) in [
        (Family::Topic, 1),
        (Family::TopicName, 1),
        (Family::Head, 0),
    ] {
        assert_eq!(world.rows(family).await, rows, "{family:?}");
    }
    let view = agent
        .node
        .view_topics(&caller(), &[named("big")], false)
        .await
        .pop()
        .unwrap();
    assert_eq!(view.unwrap().leader_epochs.len(), 10_000);
}

#[tokio::test]
async fn large_and_small_topics_show_the_epoch_of_each_partition_in_the_order_asked() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    let mut choices = Vec::new();
    for (name, partitions) in [("s1", 2), ("large", 100), ("s2", 1), ("s3", 3)] {
        let created = agent.create(topic(name, partitions)).await;
        let last = TopicPartition::new(created.id, partitions - 1);
        agent.raise_epoch(last, partitions).await;
        choices.push(named(name));
    }
    let views = agent.node.view_topics(&caller(), &choices, false).await;
    for (view, partitions) in views.into_iter().zip([2, 100, 1, 3]) {
        let mut epochs = vec![0; partitions - 1];
        epochs.push(partitions as i32);
        assert_eq!(view.unwrap().leader_epochs, epochs);
    }
}

#[tokio::test]
async fn another_agent_finds_a_topic_before_it_has_heard_of_it() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    let unknown = b.node.topic(&caller(), &named("t")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownTopicOrPartition);
    let created = a.create(topic("t", 3)).await;
    assert_eq!(
        b.node.topic(&caller(), &named("t")).await.unwrap().id,
        created.id
    );
    let by_id = b
        .node
        .topic(&caller(), &TopicChoice::Id(created.id))
        .await
        .unwrap();
    assert_eq!((by_id.name.as_str(), by_id.partitions), ("t", 3));
}

#[tokio::test]
async fn two_agents_that_create_one_name_agree_on_one_topic() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    let me = caller();
    let (x, y) = tokio::join!(
        a.node.create_topics(&me, vec![topic("t", 1)], false),
        b.node.create_topics(&me, vec![topic("t", 1)], false),
    );
    let outcomes = [&x[0].1, &y[0].1];
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    let late = outcomes.iter().find_map(|o| o.as_ref().err()).unwrap();
    assert_eq!(late.code, ErrorCode::TopicAlreadyExists);
}

#[tokio::test]
async fn a_refused_topic_stops_no_other_and_nothing_is_written_by_a_validation() {
    let world = World::new();
    let agent = world.agent(&[("num.partitions", "4")]).await;
    let topics = vec![
        topic("good", -1),
        topic("bad name", 1),
        topic("none", 0),
        NewTopic {
            replication_factor: 0,
            ..topic("unreplicated", 1)
        },
        NewTopic {
            replication_factor: 3,
            ..topic("three", 1)
        },
        NewTopic {
            configs: vec![("retention.ms".into(), Some("x".into()))],
            ..topic("odd", 1)
        },
        topic("twice", 1),
        topic("twice", 1),
        topic("col.a", 1),
        topic("col_a", 1),
    ];
    let validated = agent
        .node
        .create_topics(&caller(), topics.clone(), true)
        .await;
    assert!(
        agent
            .node
            .topics()
            .list(&caller().org)
            .await
            .unwrap()
            .is_empty()
    );
    let created = agent.node.create_topics(&caller(), topics, false).await;
    for outcomes in [validated, created] {
        let told: Vec<_> = outcomes
            .iter()
            .map(|(name, o)| {
                (
                    name.as_str(),
                    o.as_ref().map(|t| t.partitions).map_err(|e| e.code),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("good", Ok(4)),
                ("bad name", Err(ErrorCode::InvalidTopic)),
                ("none", Err(ErrorCode::InvalidPartitions)),
                ("unreplicated", Err(ErrorCode::InvalidReplicationFactor)),
                ("three", Ok(1)),
                ("odd", Err(ErrorCode::InvalidConfig)),
                ("col.a", Ok(1)),
                ("col_a", Err(ErrorCode::InvalidTopic)),
                ("twice", Err(ErrorCode::InvalidRequest)),
            ]
        );
    }
}

#[tokio::test]
async fn topics_that_kafka_keeps_for_itself_exist_as_soon_as_somebody_creates_them() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    let offsets = vec![topic("__consumer_offsets", 1)];
    let mut created = agent.node.create_topics(&caller(), offsets, false).await;
    let refused = created.pop().unwrap().1.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TopicAlreadyExists);
    let all = agent.node.view_all(&caller()).await.unwrap();
    assert_eq!(
        (all.len(), all[0].internal, all[0].topic.partitions),
        (1, true, 50)
    );
    assert!(all[0].topic.settings.compacted);
}

#[tokio::test]
async fn a_topic_is_created_on_first_use_where_that_is_allowed() {
    let world = World::new();
    let agent = world.agent(&[("num.partitions", "3")]).await;
    let first = agent
        .node
        .view_topics(&caller(), &[named("new"), named("a b")], true)
        .await;
    assert_eq!(first[0].as_ref().unwrap().topic.partitions, 3);
    assert_eq!(first[1].as_ref().unwrap_err().code, ErrorCode::InvalidTopic);
    let strict = world.agent(&[("auto.create.topics.enable", "false")]).await;
    let refused = strict
        .node
        .view_topics(&caller(), &[named("newer")], true)
        .await;
    assert_eq!(
        refused[0].as_ref().unwrap_err().code,
        ErrorCode::UnknownTopicOrPartition
    );
}

#[tokio::test]
async fn a_topic_grows_and_other_agents_hear_of_it() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    a.create(topic("t", 2)).await;
    assert_eq!(
        b.node
            .topic(&caller(), &named("t"))
            .await
            .unwrap()
            .partitions,
        2
    );
    let more = NewPartitions {
        name: "t".into(),
        count: 5,
        assignments: None,
    };
    a.node
        .create_partitions(&caller(), vec![more], false)
        .await
        .pop()
        .unwrap()
        .1
        .unwrap();
    b.listen(&world).await;
    assert_eq!(
        b.node
            .topic(&caller(), &named("t"))
            .await
            .unwrap()
            .partitions,
        5
    );
}

#[tokio::test]
async fn a_deleted_topic_refuses_writes_and_can_be_brought_back_with_its_id() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    let created = a.create(topic("t", 2)).await;
    let deleted = a.node.delete_topics(&caller(), vec![named("t")]).await;
    assert_eq!(
        (deleted[0].id, &deleted[0].result),
        (Some(created.id), &Ok(()))
    );
    let partition = TopicPartition::new(created.id, 1);
    assert!(world.head(partition).await.deleted);
    b.listen(&world).await;
    for choice in [named("t"), TopicChoice::Id(created.id)] {
        assert!(b.node.topic(&caller(), &choice).await.is_err());
    }
    assert_eq!(b.node.deleted_topics(&caller()).await.unwrap()[0].name, "t");

    assert_eq!(b.node.undelete_topic(&caller(), "t").await, Ok(created.id));
    assert!(!world.head(partition).await.deleted);
    a.listen(&world).await;
    assert_eq!(
        a.node.topic(&caller(), &named("t")).await.unwrap().id,
        created.id
    );
    let nothing = a.node.undelete_topic(&caller(), "t").await.unwrap_err();
    assert_eq!(nothing.code, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn a_topic_named_twice_is_not_deleted() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    let created = agent.create(topic("t", 1)).await;
    for twice in [
        vec![named("t"), named("t")],
        vec![named("t"), TopicChoice::Id(created.id)],
        vec![TopicChoice::Id(created.id), TopicChoice::Id(created.id)],
    ] {
        let outcomes = agent.node.delete_topics(&caller(), twice).await;
        assert_eq!(outcomes.len(), 1);
        let refused = outcomes[0].result.as_ref().unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
    assert!(agent.node.topic(&caller(), &named("t")).await.is_ok());
}

#[tokio::test]
async fn a_topic_is_not_brought_back_under_a_name_that_is_in_use() {
    let world = World::new();
    let agent = world.agent(&[]).await;
    let old = agent.create(topic("t", 1)).await;
    agent
        .node
        .delete_topics(&caller(), vec![TopicChoice::Id(old.id)])
        .await;
    let new = agent.create(topic("t", 1)).await;
    assert_ne!(old.id, new.id);
    let refused = agent.node.undelete_topic(&caller(), "t").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TopicAlreadyExists);
    assert_eq!(
        agent.node.topic(&caller(), &named("t")).await.unwrap().id,
        new.id
    );
    // What was begun is undone: the old one is fenced again, and can be brought back when the name is free.
    world.pass(Duration::from_secs(120));
    agent.node.purge_deleted(world.now_ms()).await.unwrap();
    assert!(world.head(TopicPartition::new(old.id, 0)).await.deleted);
    agent
        .node
        .delete_topics(&caller(), vec![TopicChoice::Id(new.id)])
        .await;
    world.pass(Duration::from_secs(1));
    assert!(agent.node.undelete_topic(&caller(), "t").await.is_ok());
}

#[tokio::test]
async fn a_deleted_topic_is_purged_when_nobody_can_bring_it_back() {
    let world = World::new();
    let agent = world.agent(&[("topic.undelete.ms", "60000")]).await;
    let created = agent.create(topic("t", 3)).await;
    let partition = TopicPartition::new(created.id, 0);
    agent.fill(partition, 10).await;
    agent.node.delete_topics(&caller(), vec![named("t")]).await;
    world.pass(Duration::from_secs(59));
    assert_eq!(agent.node.purge_deleted(world.now_ms()).await, Ok(0));
    world.pass(Duration::from_secs(2));
    assert_eq!(agent.node.purge_deleted(world.now_ms()).await, Ok(1));
    assert!(
        agent
            .node
            .deleted_topics(&caller())
            .await
            .unwrap()
            .is_empty()
    );
    let head = world.head(partition).await;
    assert!(head.deleted, "a late window finds its partition deleted");
    assert_eq!((head.log_start, head.next_offset), (10, 10));
    for family in [Family::Extent, Family::Producer] {
        assert_eq!(world.rows(family).await, 0, "{family:?}");
    }

    world.pass(Duration::from_secs(25 * 3600));
    assert_eq!(agent.node.purge_deleted(world.now_ms()).await, Ok(1));
    assert_eq!(world.head(partition).await, Head::default());
    for family in [Family::Topic, Family::Head] {
        assert_eq!(world.rows(family).await, 0, "{family:?}");
    }
    assert_eq!(agent.node.purge_deleted(world.now_ms()).await, Ok(0));
}

#[tokio::test]
async fn an_agent_that_comes_or_goes_is_known_as_soon_as_it_is_heard_of() {
    let world = World::new();
    let (a, b) = (world.agent(&[]).await, world.agent(&[]).await);
    let now = world.now_ms();
    a.says(true, now).await;
    let shown = async || {
        let cluster = a.node.cluster().await.unwrap();
        Vec::from_iter(cluster.agents.iter().map(|agent| agent.id))
    };
    assert_eq!(shown().await, [a.me.agent]);
    b.says(true, now).await;
    assert_eq!(shown().await, [a.me.agent], "no second has passed");
    a.listen(&world).await;
    assert_eq!(shown().await, [a.me.agent, b.me.agent]);
    b.says(false, now).await;
    a.listen(&world).await;
    assert_eq!(shown().await, [a.me.agent]);
}
