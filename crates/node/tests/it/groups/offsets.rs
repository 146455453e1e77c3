//! Committed offsets: many in few updates, their topics, and their end.
use std::time::Duration;

use futures::future::join_all;
use sh_coord::{Command, GroupError, Reply, command::OffsetDelete};
use sh_log::agent::GROUP_LANE;
use sh_meta::{Family, LaneId, MetaStore};
use sh_node::TopicChoice;

use super::{
    member::{Member, ask, code, commit, commit_alone, committed, fetch, offset_of},
    one_agent,
};
use crate::world::{Agent, World, caller, topic};

/// Updates that changed groups so far.
async fn updates(world: &World, agent: &Agent) -> u64 {
    let lane = LaneId {
        by: agent.me,
        lane: GROUP_LANE,
    };
    world
        .store
        .feed_end()
        .await
        .unwrap()
        .get(&lane)
        .copied()
        .unwrap_or(0)
}

#[tokio::test]
async fn what_was_committed_is_read_back() {
    let (_world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    assert_eq!(offset_of(&agent, "g").await, None);
    assert_eq!(member.commit(&agent, 7).await, None);
    assert_eq!(offset_of(&agent, "g").await, Some(7));
    let all = fetch(&agent, "g", None).await.unwrap();
    assert_eq!(
        (all.len(), all[0].topic.as_str(), all[0].partitions.len()),
        (1, "t", 1)
    );

    let stale = commit(&member.id, 9, &[("t", 0, 8)]);
    assert_eq!(
        code(&committed(&agent, "g", stale).await),
        Some(GroupError::IllegalGeneration)
    );
    assert_eq!(offset_of(&agent, "g").await, Some(7));
}

#[tokio::test]
async fn unknown_groups_and_topics_have_no_offsets() {
    let (_world, agent) = one_agent(&[]).await;
    assert_eq!(offset_of(&agent, "nobody").await, None);
    let topics = vec![("no-topic".to_owned(), vec![3])];
    let read = fetch(&agent, "nobody", Some(topics)).await.unwrap();
    assert_eq!(read[0].partitions[0].committed, Ok(None));
    assert_eq!(fetch(&agent, "nobody", None).await, Ok(vec![]));
}

#[tokio::test]
async fn topics_that_do_not_exist_are_refused_one_by_one() {
    let (_world, agent) = one_agent(&[]).await;
    let mixed = commit("", -1, &[("t", 0, 1), ("none", 0, 1)]);
    let reply = committed(&agent, "g", mixed).await;
    let unknown = Some(GroupError::UnknownTopicOrPartition);
    let expected = [
        ("t".to_owned(), vec![(0, None)]),
        ("none".to_owned(), vec![(0, unknown)]),
    ];
    assert_eq!(reply.topics, expected);
}

#[tokio::test]
async fn the_commits_of_many_groups_share_updates() {
    let (world, agent) = one_agent(&[]).await;
    let groups: Vec<String> = (0..500).map(|n| format!("g{n}")).collect();
    join_all(groups.iter().map(|group| commit_alone(&agent, group, 1))).await;
    let before = updates(&world, &agent).await;
    join_all(groups.iter().map(|group| commit_alone(&agent, group, 2))).await;
    let made = updates(&world, &agent).await - before;
    assert!(made <= 5, "{made} updates for 500 groups");
    assert_eq!(offset_of(&agent, "g321").await, Some(2));
}

#[tokio::test]
async fn a_commit_that_is_too_large_for_one_update_is_stored_whole_and_deleted_whole() {
    let (world, agent) = one_agent(&[]).await;
    agent.create(topic("wide", 5_000)).await;
    let offsets: Vec<(&str, i32, i64)> = (0..5_000).map(|p| ("wide", p, 9)).collect();
    let reply = committed(&agent, "g", commit("", -1, &offsets)).await;
    assert!(reply.topics.iter().all(|(_, codes)| codes[0].1.is_none()));
    assert_eq!(world.rows(Family::GroupOffset).await, 5_000);
    let reply = ask(&agent, "g", Command::DeleteGroup).await;
    assert_eq!(reply, Reply::DeleteGroup(None));
    assert_eq!(world.rows(Family::GroupOffset).await, 0);
    assert_eq!(world.rows(Family::GroupCoordinator).await, 0);
}

#[tokio::test]
async fn single_offsets_can_be_deleted() {
    let (_world, agent) = one_agent(&[]).await;
    commit_alone(&agent, "g", 4).await;
    let delete = OffsetDelete {
        topics: vec![("t".into(), vec![0, 1]), ("none".into(), vec![0])],
    };
    let Reply::OffsetDelete(reply) = ask(&agent, "g", Command::OffsetDelete(delete)).await else {
        panic!("another answer")
    };
    assert_eq!(reply.topics[0].1, [(0, None), (1, None)]);
    assert_eq!(
        reply.topics[1].1,
        [(0, Some(GroupError::UnknownTopicOrPartition))]
    );
    assert_eq!(offset_of(&agent, "g").await, None);
}

#[tokio::test]
async fn offsets_of_an_empty_group_expire_and_the_group_with_them() {
    let (world, agent) = one_agent(&[("offsets.retention.minutes", "60")]).await;
    commit_alone(&agent, "g", 4).await;
    let member = Member::alone(&agent, "used").await;
    assert_eq!(member.commit(&agent, 5).await, None);
    assert_eq!(agent.node.expire_group_offsets().await.unwrap(), 0);

    for _ in 0..(3_600 / 5) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(member.beat(&agent).await, None);
    }
    assert_eq!(agent.node.expire_group_offsets().await.unwrap(), 1);
    assert_eq!(offset_of(&agent, "g").await, None);
    assert_eq!(offset_of(&agent, "used").await, Some(5));
    assert_eq!(world.rows(Family::Group).await, 1);
}

#[tokio::test]
async fn the_offsets_of_a_deleted_topic_go_with_it() {
    let (world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    assert_eq!(member.commit(&agent, 7).await, None);
    let choice = vec![TopicChoice::Name("t".into())];
    agent
        .node
        .delete_topics(&caller(), choice)
        .await
        .pop()
        .unwrap()
        .result
        .unwrap();
    assert_eq!(offset_of(&agent, "g").await, None);
    assert_eq!(fetch(&agent, "g", None).await, Ok(vec![]));

    agent.create(topic("t", 4)).await;
    assert_eq!(
        offset_of(&agent, "g").await,
        None,
        "another topic of the same name"
    );
    assert_eq!(
        agent.node.expire_group_offsets().await.unwrap(),
        0,
        "it may be brought back"
    );

    world.pass(Duration::from_secs(3_700));
    agent.node.purge_deleted(world.now_ms()).await.unwrap();
    assert_eq!(agent.node.expire_group_offsets().await.unwrap(), 1);
    assert_eq!(world.rows(Family::GroupOffset).await, 0);
}
