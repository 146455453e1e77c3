//! Groups while the metadata store is away, or does not say what it did.
use std::{collections::BTreeMap, time::Duration};

use sh_coord::GroupError;
use tokio::time::sleep;

use super::{
    coordinators::split_brain,
    member::{Member, code, commit, committed, offset_of},
    one_agent,
};
use crate::{
    troubled::Trouble,
    world::{Agent, caller},
};

#[tokio::test]
async fn a_commit_outlasts_a_store_that_is_away_and_heartbeats_do_not_wait_for_it() {
    let (world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    assert_eq!(member.commit(&agent, 1).await, None);
    world.trouble(Trouble::Away);
    assert_eq!(
        member.commit(&agent, 2).await,
        Some(GroupError::CoordinatorNotAvailable)
    );
    for _ in 0..20 {
        sleep(Duration::from_secs(2)).await;
        assert_eq!(member.beat(&agent).await, None);
    }
    world.trouble(Trouble::None);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(member.beat(&agent).await, None);
    assert_eq!(
        offset_of(&agent, "g").await,
        Some(2),
        "it was stored at last"
    );
}

#[tokio::test]
async fn members_that_wait_for_a_store_that_is_away_are_not_put_out() {
    let (world, agent) = one_agent(&[]).await;
    let (a, b) = tokio::join!(Member::join(&agent, "g"), Member::join(&agent, "g"));
    let (leader, follower) = if a.leads() { (a, b) } else { (b, a) };
    world.trouble(Trouble::Away);
    let shares = [(&leader.id, "zero"), (&follower.id, "one")];
    let synced = async { tokio::join!(leader.sync(&agent, &shares), follower.sync(&agent, &[])) };
    let back = async {
        sleep(Duration::from_secs(300)).await;
        world.trouble(Trouble::None);
    };
    let ((zero, one), ()) = tokio::join!(synced, back);
    assert_eq!((&zero[..], &one[..]), (&b"zero"[..], &b"one"[..]));
    assert_eq!(leader.beat(&agent).await, None);
    assert_eq!(follower.beat(&agent).await, None);
}

/// Two thousand members are too many for one update.
#[test]
fn an_agent_that_dies_while_it_stores_a_large_group_leaves_the_former_group_or_the_new_one() {
    let states: Vec<&str> = (1..6).map(dies_after).collect();
    assert!(
        states.contains(&"Empty") && states.contains(&"Stable"),
        "{states:?}"
    );
}

/// The state of the group after an agent died that had made so many updates of a large change.
fn dies_after(updates: u64) -> &'static str {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let (world, first) = one_agent(&[]).await;
        let second = split_brain(&world).await;
        let joins = (0..2_000).map(|_| Member::join(&first, "g"));
        let members = futures::future::join_all(joins).await;
        let leader = members.iter().find(|m| m.leads()).unwrap();
        world.trouble(Trouble::AwayAfter { updates });
        let shares: Vec<(&String, &str)> = members.iter().map(|m| (&m.id, "share")).collect();
        let soon = Duration::from_secs(1);
        let synced = tokio::time::timeout(soon, leader.sync(&first, &shares)).await;
        world.trouble(Trouble::None);
        let filter = Default::default();
        let known = second.node.list_groups(&caller(), &filter).await.unwrap();
        let beats = futures::future::join_all(members.iter().map(|m| m.beat(&second))).await;
        let living = beats.iter().filter(|code| code.is_none()).count();
        let whole = if living == 0 { "Empty" } else { "Stable" };
        assert!(living == 0 || living == 2_000, "{living} after {updates}");
        assert_eq!(known[0].state.name(), whole, "after {updates} updates");
        assert!(
            synced.is_err() || living > 0,
            "it was told of what is not stored"
        );
        whole
    })
}

#[tokio::test]
async fn a_quiet_group_does_not_notice_that_the_store_is_away() {
    let (world, agent) = one_agent(&[]).await;
    let member = Member::alone(&agent, "g").await;
    world.trouble(Trouble::Away);
    for _ in 0..20 {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(member.beat(&agent).await, None);
    }
}

#[tokio::test]
async fn a_group_that_cannot_be_read_is_asked_for_again_later() {
    let (world, agent) = one_agent(&[]).await;
    assert_eq!(offset_of(&agent, "other").await, None);
    world.trouble(Trouble::Away);
    let beat = Member::ghost("g").beat(&agent).await;
    assert_eq!(beat, Some(GroupError::CoordinatorNotAvailable));
    world.trouble(Trouble::None);
    let beat = Member::ghost("g").beat(&agent).await;
    assert_eq!(beat, Some(GroupError::UnknownMemberId));
}

#[tokio::test]
async fn lost_answers_of_the_store_are_asked_for_again() {
    let (world, agent) = one_agent(&[]).await;
    world.trouble(Trouble::LosesAnswers { one_in: 2 });
    let member = Member::alone(&agent, "g").await;
    for offset in 1..50 {
        assert_eq!(member.commit(&agent, offset).await, None);
        assert_eq!(offset_of(&agent, "g").await, Some(offset));
    }
}

/// Commits of rising offsets for many groups, each at an agent drawn by chance; what was acknowledged is never lost and no
/// offset goes back, whoever takes whose groups over.
#[tokio::test]
async fn offsets_never_go_back_while_two_agents_fight_for_the_groups() {
    let (world, first) = one_agent(&[]).await;
    let second = split_brain(&world).await;
    world.trouble(Trouble::LosesAnswers { one_in: 5 });
    let agents = [&first, &second];
    let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
    let draw = || world.env().next_u64() as usize >> 16;
    for offset in 1..400 {
        let group = format!("g{}", draw() % 5);
        let pair = [agents[draw() % 2], agents[draw() % 2]];
        let (one, two) = tokio::join!(
            try_commit(pair[0], &group, offset),
            try_commit(pair[1], &group, offset)
        );
        if one.is_none() || two.is_none() {
            acknowledged.insert(group.clone(), offset);
        }
        if draw() % 7 == 0 {
            agents[draw() % 2].listen(&world).await;
        }
        let read = loop {
            let reader = agents[draw() % 2];
            match super::member::try_offset_of(reader, &group).await {
                Ok(read) => break read.unwrap_or(0),
                Err(code) => assert_eq!(code, GroupError::NotCoordinator),
            }
        };
        let least = acknowledged.get(&group).copied().unwrap_or(0);
        assert!(
            (least..=offset).contains(&read),
            "{group}: {read}, not {least} to {offset}"
        );
    }
    assert!(acknowledged.len() == 5, "{acknowledged:?}");
}

async fn try_commit(agent: &Agent, group: &str, offset: i64) -> Option<GroupError> {
    code(&committed(agent, group, commit("", -1, &[("t", 0, offset)])).await)
}
