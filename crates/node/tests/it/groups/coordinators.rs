//! Two agents and one group: who may change it, and what its members notice.
use std::time::Duration;

use sh_coord::GroupError;

use super::{
    member::{Member, offset_of, subscribing},
    one_agent,
};
use crate::world::{Agent, World};

/// A second agent that takes clients, while the first takes none any more.
pub async fn successor(world: &World, first: &Agent) -> Agent {
    first.says(false, 0).await;
    let second = world.agent(&[]).await;
    second.says(true, i64::MAX / 2).await;
    world.pass(Duration::from_secs(2));
    second
}

/// A second agent; each takes itself for the only one.
pub async fn split_brain(world: &World) -> Agent {
    let second = world.agent(&[]).await;
    second.says(true, 0).await;
    world.pass(Duration::from_secs(2));
    second
}

#[tokio::test]
async fn a_take_over_needs_no_rebalance_and_loses_no_offset() {
    let (world, first) = one_agent(&[]).await;
    let member = Member::alone(&first, "g").await;
    assert_eq!(member.commit(&first, 10).await, None);

    let second = successor(&world, &first).await;
    assert_eq!(member.beat(&first).await, Some(GroupError::NotCoordinator));
    assert_eq!(member.beat(&second).await, None);
    assert_eq!(offset_of(&second, "g").await, Some(10));
    assert_eq!(member.commit(&second, 11).await, None);
    assert_eq!(offset_of(&second, "g").await, Some(11));
}

#[tokio::test]
async fn a_former_coordinator_changes_nothing() {
    let (world, first) = one_agent(&[]).await;
    let member = Member::alone(&first, "g").await;
    assert_eq!(member.commit(&first, 10).await, None);
    let second = split_brain(&world).await;
    assert_eq!(member.commit(&second, 20).await, None);

    assert_eq!(
        member.commit(&first, 15).await,
        Some(GroupError::NotCoordinator)
    );
    assert_eq!(offset_of(&second, "g").await, Some(20));
    // It knows now, and whoever asks it again makes it the coordinator, with everything that the other has stored.
    assert_eq!(member.beat(&first).await, None);
    assert_eq!(offset_of(&first, "g").await, Some(20));
    assert_eq!(
        member.commit(&second, 30).await,
        Some(GroupError::NotCoordinator)
    );
}

#[tokio::test]
async fn who_hears_of_a_take_over_answers_those_who_wait() {
    let (world, first) = one_agent(&[]).await;
    let member = Member::alone(&first, "g").await;
    let waits = Member::try_join(&first, "g");
    let mut waits = std::pin::pin!(waits);
    let soon = tokio::time::timeout(Duration::from_secs(1), waits.as_mut()).await;
    assert!(soon.is_err(), "the first member has not joined again");

    let second = split_brain(&world).await;
    assert_eq!(
        member.beat(&second).await,
        None,
        "the join was never stored"
    );
    first.listen(&world).await;
    assert_eq!(waits.await.error, Some(GroupError::NotCoordinator));
}

#[tokio::test]
async fn two_agents_that_begin_the_same_group_do_not_both_have_it() {
    let (world, first) = one_agent(&[]).await;
    let second = split_brain(&world).await;
    let (a, b) = tokio::join!(
        Member::try_join(&first, "g"),
        Member::try_join(&second, "g")
    );
    let lost = [a, b]
        .into_iter()
        .filter(|r| r.error == Some(GroupError::NotCoordinator));
    assert_eq!(lost.count(), 1);
}

#[tokio::test]
async fn a_take_over_of_a_consumer_group_keeps_its_epochs() {
    let (world, first) = one_agent(&[]).await;
    let mut beat = subscribing("m");
    beat.subscribed_topic_names = Some(vec!["t".into()]);
    let joined = super::joining(&first, "g", beat).await.unwrap();
    let second = successor(&world, &first).await;
    let mut beat = subscribing("m");
    beat.member_epoch = joined.member_epoch;
    beat.topic_partitions = joined.assignment.clone();
    let reply = super::joining(&second, "g", beat).await.unwrap();
    assert_eq!(reply.member_epoch, joined.member_epoch);
}

#[tokio::test]
async fn an_agent_that_drains_sends_its_members_away() {
    let (_world, agent) = one_agent(&[]).await;
    let waits = Member::try_join(&agent, "g");
    let (reply, ()) = tokio::join!(waits, agent.node.drain_groups());
    assert_eq!(reply.error, Some(GroupError::NotCoordinator));
    let late = Member::try_join(&agent, "g").await;
    assert_eq!(late.error, Some(GroupError::NotCoordinator));
}
