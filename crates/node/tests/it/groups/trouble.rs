//! Groups while the metadata store is away, or does not say what it did.
use std::{collections::BTreeMap, time::Duration};

use sh_coord::GroupError;
use tokio::time::sleep;

use super::{
    coordinators::split_brain,
    member::{Member, code, commit, committed, offset_of},
    one_agent,
};
use crate::{troubled::Trouble, world::Agent};

#[tokio::test]
async fn a_commit_outlasts_a_store_that_is_away_and_nobody_is_told_of_it_before() {
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
        let held = tokio::time::timeout(Duration::from_secs(4), member.beat(&agent)).await;
        assert!(
            held.is_err(),
            "it would speak of a state that nobody has stored"
        );
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
