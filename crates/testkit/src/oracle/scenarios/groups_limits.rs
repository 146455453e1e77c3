//! Groups that are full. Both servers take twelve members (`group.max.size`, `group.consumer.max.size`).
use anyhow::Result;

use super::{
    group_requests::{
        Member, beat, begin_join, describe, describe_consumer, end_join, group, join_beat, member,
        sync,
    },
    requests::text,
    scenarios,
};
use crate::oracle::Peer;

/// What the servers are started with.
const MEMBERS_MAX: usize = 12;

scenarios! {
    groups_full_while_preparing: "more members than a classic group takes, while it prepares a rebalance",
    groups_full_and_stable: "a classic group that is full and at rest",
    consumer_full: "a group of KIP-848 that is full",
    migrate_full: "a full group of one protocol, and a member of the other",
}

/// The first is in; the others wait for it to join again.
async fn waiting(
    peer: &mut Peer,
    name: &str,
) -> Result<(
    Member,
    Vec<crate::oracle::Begun<kafka_protocol::messages::JoinGroupRequest>>,
)> {
    let group = group(peer, name).await?;
    let mut first = member(0, &group).times(20_000, 4_000);
    let join = begin_join(peer, 3, &first).await?;
    end_join(peer, "the first", join, &mut first).await?;
    let mut joins = Vec::new();
    for lane in 1..MEMBERS_MAX {
        let other = member(lane, &group).times(20_000, 4_000);
        joins.push(begin_join(peer, 3, &other).await?);
    }
    Ok((first, joins))
}

async fn groups_full_while_preparing(peer: &mut Peer) -> Result<()> {
    let (mut first, mut joins) = waiting(peer, "g").await?;
    // Eleven wait and the first has not joined again: one more may wait, in its stead.
    joins.push(begin_join(peer, 3, &member(MEMBERS_MAX, &first.group)).await?);
    for version in 0..=3 {
        let mut late = member(20, &first.group);
        let join = begin_join(peer, version, &late).await?;
        end_join(peer, "one too many", join, &mut late).await?;
    }
    for version in 4..=9 {
        let mut late = member(20, &first.group);
        let join = begin_join(peer, version, &late).await?;
        end_join(peer, "one too many, without an id", join, &mut late).await?;
    }
    let again = begin_join(peer, 3, &first).await?;
    end_join(peer, "the first comes too late", again, &mut first).await?;
    // Kafka takes any of them for the leader, who alone is told of all.
    let mut told = Vec::new();
    for join in joins {
        let answer = peer.end_quietly(join).await?;
        let leads = answer.leader == answer.member_id;
        told.push((
            answer.error_code,
            answer.generation_id,
            leads,
            answer.members.len(),
        ));
    }
    told.sort_unstable();
    peer.write_down("the twelve", 3, &told);
    Ok(())
}

async fn groups_full_and_stable(peer: &mut Peer) -> Result<()> {
    let (mut first, joins) = waiting(peer, "g").await?;
    let again = begin_join(peer, 3, &first).await?;
    end_join(peer, "the first again", again, &mut first).await?;
    let mut others = Vec::new();
    for (at, join) in joins.into_iter().enumerate() {
        let mut other = member(at + 1, &first.group);
        end_join(peer, "one of twelve", join, &mut other).await?;
        others.push(other);
    }
    for when in ["before the sync", "at rest"] {
        for version in 0..=9 {
            let mut late = member(20, &first.group);
            let join = begin_join(peer, version, &late).await?;
            end_join(peer, &format!("{when}: one too many"), join, &mut late).await?;
        }
        let mut fixed = member(21, &first.group).instance("one");
        let join = begin_join(peer, 9, &fixed).await?;
        end_join(
            peer,
            &format!("{when}: a static one too many"),
            join,
            &mut fixed,
        )
        .await?;
        let mut stranger = Member {
            id: text("stranger"),
            ..member(22, &first.group)
        };
        let join = begin_join(peer, 9, &stranger).await?;
        end_join(peer, &format!("{when}: with an id"), join, &mut stranger).await?;
        sync(peer, when, 5, &first, &[]).await?;
    }
    peer.ask("one leaves", 5, &others[0].leave(5)).await?;
    peer.ask("the first hears", 4, &first.heartbeat(4)).await?;
    peer.ask("in the end", 4, &others[0].heartbeat(4)).await?;
    Ok(())
}

async fn consumer_full(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?.name;
    let group = group(peer, "g").await?;
    for n in 0..MEMBERS_MAX {
        peer.quietly(1, &join_beat(&group, &format!("m{n}"), &[&topic]))
            .await?;
    }
    for version in 0..=1 {
        peer.ask(
            "one too many",
            version,
            &join_beat(&group, "late", &[&topic]),
        )
        .await?;
        let fixed = join_beat(&group, "late", &[&topic]).with_instance_id(Some(text("i")));
        peer.ask("a static one too many", version, &fixed).await?;
        peer.ask("a stranger's epoch", version, &beat(&group, "late", 3))
            .await?;
        peer.ask("a stranger leaves", version, &beat(&group, "late", -1))
            .await?;
    }
    let mut classic = member(0, &group);
    classic.protocols = vec![("range", super::group_requests::subscription(&[&topic]))];
    let join = begin_join(peer, 9, &classic).await?;
    end_join(peer, "a classic one too many", join, &mut classic).await?;
    peer.ask("one leaves", 1, &beat(&group, "m0", -1)).await?;
    peer.ask(
        "there is room",
        1,
        &join_beat(&group, "late", &[&topic]).with_topic_partitions(Some(vec![])),
    )
    .await
    .map(drop)
}

async fn migrate_full(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?.name;
    let (first, joins) = waiting(peer, "g").await?;
    peer.ask(
        "a new one comes while they wait",
        1,
        &join_beat(&first.group, "late", &[&topic]),
    )
    .await?;
    peer.ask("what it is", 6, &describe(6, &[&first.group]))
        .await?;
    peer.ask("what it is", 1, &describe_consumer(&[&first.group]))
        .await?;
    drop(joins);
    Ok(())
}
