//! Consumer groups through a node: what clients see, and what the store sees of it.
mod coordinators;
mod member;
mod offsets;
mod trouble;

use sh_coord::{Command, GroupError, Reply};
use sh_node::{
    ConfigResource, ResourceKind,
    config::{AlterOp, Changes, ConfigOp},
};

use crate::world::{Agent, World, caller, topic};
use member::{Member, client, joining, subscribing};

/// One agent, and a topic of four partitions.
async fn one_agent(settings: &[(&str, &str)]) -> (World, Agent) {
    let world = World::new();
    let agent = world.agent(settings).await;
    agent.says(true, 0).await;
    agent.create(topic("t", 4)).await;
    world.tick();
    (world, agent)
}

#[tokio::test]
async fn members_join_share_the_work_and_leave() {
    let (_world, agent) = one_agent(&[]).await;
    let (a, b) = tokio::join!(Member::join(&agent, "g"), Member::join(&agent, "g"));
    let (leader, follower) = if a.leads() { (a, b) } else { (b, a) };
    assert_eq!((leader.generation, follower.generation), (1, 1));
    let shares = [(&leader.id, "zero"), (&follower.id, "one")];
    let (first, second) = tokio::join!(leader.sync(&agent, &shares), follower.sync(&agent, &[]));
    assert_eq!((&first[..], &second[..]), (&b"zero"[..], &b"one"[..]));
    assert_eq!(leader.beat(&agent).await, None);

    follower.leave(&agent).await;
    assert_eq!(
        leader.beat(&agent).await,
        Some(GroupError::RebalanceInProgress)
    );
}

#[tokio::test]
async fn a_silent_member_is_removed() {
    let (world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(member.beat(&agent).await, Some(GroupError::UnknownMemberId));
    assert_eq!(world.rows(sh_meta::Family::GroupMember).await, 0);
}

#[tokio::test]
async fn a_group_nobody_has_made_leaves_no_trace() {
    let (world, agent) = one_agent(&[]).await;
    let ghost = Member::ghost("g");
    assert_eq!(ghost.beat(&agent).await, Some(GroupError::UnknownMemberId));
    let reply = agent
        .node
        .group(&caller(), "g", client(), Command::DeleteGroup)
        .await;
    assert_eq!(reply, Reply::DeleteGroup(Some(GroupError::GroupIdNotFound)));
    assert_eq!(world.rows(sh_meta::Family::GroupCoordinator).await, 0);
}

#[tokio::test]
async fn requests_that_wait_for_the_same_unknown_group_are_all_answered() {
    let (_world, agent) = one_agent(&[]).await;
    let ghost = Member::ghost("g");
    let (a, b, c) = tokio::join!(ghost.beat(&agent), ghost.beat(&agent), ghost.beat(&agent));
    assert_eq!([a, b, c], [Some(GroupError::UnknownMemberId); 3]);
}

#[tokio::test]
async fn a_consumer_group_follows_topics_that_its_pattern_matches() {
    let (_world, agent) = one_agent(&[]).await;
    let mut beat = subscribing("m");
    beat.subscribed_topic_regex = Some("t.*".into());
    let first = joining(&agent, "g", beat).await.unwrap();
    let topics = first.assignment.unwrap();
    assert_eq!(topics.values().map(Vec::len).sum::<usize>(), 4);

    agent.create(topic("t-too", 2)).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut beat = subscribing("m");
    beat.member_epoch = first.member_epoch;
    beat.topic_partitions = Some(topics);
    let second = joining(&agent, "g", beat).await.unwrap();
    let topics = second.assignment.unwrap();
    assert_eq!(topics.values().map(Vec::len).sum::<usize>(), 6);
    assert!(second.member_epoch > first.member_epoch);
}

#[tokio::test]
async fn group_settings_change_while_it_runs() {
    let (_world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    let all = ConfigResource {
        kind: ResourceKind::Broker,
        name: String::new(),
    };
    let op = ConfigOp {
        name: "group.max.size".into(),
        op: AlterOp::Set,
        value: Some("1".into()),
    };
    let changes = vec![(all, Changes::Ops(vec![op]))];
    agent
        .node
        .alter_configs(&caller(), changes, false)
        .await
        .pop()
        .unwrap()
        .1
        .unwrap();
    let refused = Member::try_join(&agent, "g").await;
    assert_eq!(refused.error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(member.beat(&agent).await, None);
}

#[tokio::test]
async fn one_group_may_have_settings_of_its_own() {
    let (world, agent) = one_agent(&[]).await;
    let heartbeat_ms = async |agent: &Agent| {
        let mut beat = subscribing("m");
        beat.subscribed_topic_names = Some(vec!["t".into()]);
        joining(agent, "g", beat)
            .await
            .unwrap()
            .heartbeat_interval_ms
    };
    assert_eq!(heartbeat_ms(&agent).await, 5_000);
    let of_g = ConfigResource {
        kind: ResourceKind::Group,
        name: "g".into(),
    };
    let op = ConfigOp {
        name: "consumer.heartbeat.interval.ms".into(),
        op: AlterOp::Set,
        value: Some("7000".into()),
    };
    let changes = vec![(of_g, Changes::Ops(vec![op]))];
    let mut altered = agent.node.alter_configs(&caller(), changes, false).await;
    altered.pop().unwrap().1.unwrap();
    assert_eq!(heartbeat_ms(&agent).await, 7_000);
    let kind = ResourceKind::Group;
    let listed = agent.node.list_config_resources(&caller(), kind).await;
    assert_eq!(listed.unwrap().len(), 1);

    let second = coordinators::successor(&world, &agent).await;
    assert_eq!(heartbeat_ms(&second).await, 7_000);
}

#[tokio::test]
async fn a_deleted_group_is_gone_and_may_begin_anew() {
    let (world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    let delete = || member::ask(&agent, "g", Command::DeleteGroup);
    assert_eq!(
        delete().await,
        Reply::DeleteGroup(Some(GroupError::NonEmptyGroup))
    );
    member.leave(&agent).await;
    assert_eq!(delete().await, Reply::DeleteGroup(None));
    for family in [
        sh_meta::Family::GroupCoordinator,
        sh_meta::Family::Group,
        sh_meta::Family::GroupMember,
    ] {
        assert_eq!(world.rows(family).await, 0, "{family:?}");
    }
    let again = Member::alone(&agent, "g").await;
    assert_eq!(again.generation, 1);
}

#[tokio::test]
async fn listings_show_groups_in_memory_and_those_that_are_only_stored() {
    let (world, agent) = one_agent(&[]).await;
    let _member = Member::alone(&agent, "g").await;
    member::commit_alone(&agent, "offsets-only", 5).await;
    let shown = async |agent: &Agent| {
        let all = agent
            .node
            .list_groups(&caller(), &Default::default())
            .await
            .unwrap();
        Vec::from_iter(
            all.into_iter()
                .map(|g| (g.group_id, g.state.name(), g.protocol_type)),
        )
    };
    let expected = [
        ("g".to_owned(), "Stable", "consumer".to_owned()),
        ("offsets-only".to_owned(), "Empty", String::new()),
    ];
    assert_eq!(shown(&agent).await, expected);

    let other = coordinators::successor(&world, &agent).await;
    assert_eq!(shown(&other).await, expected);
    let filter = sh_node::GroupFilter {
        states: vec!["stable".into()],
        types: vec!["Classic".into()],
    };
    let stable = other.node.list_groups(&caller(), &filter).await.unwrap();
    assert_eq!(stable.len(), 1);
}
