//! Groups as administrators see them: ListGroups, DescribeGroups, DeleteGroups.
use anyhow::Result;
use kafka_protocol::{
    messages::{DeleteGroupsRequest, GroupId, ListGroupsRequest},
    protocol::StrBytes,
};

use super::{
    group_requests::{
        begin_join, commit, describe, describe_consumer, fetch, group, introduce, join_beat,
        member, rebalance, sync,
    },
    requests::text,
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    groups_listed: "ListGroups, with filters of states and types",
    groups_described: "DescribeGroups: groups that are, groups that are not",
    groups_deleted: "DeleteGroups",
}

fn listing(states: &[&str], types: &[&str]) -> ListGroupsRequest {
    let texts = |words: &[&str]| words.iter().map(|w| text(w)).collect::<Vec<StrBytes>>();
    ListGroupsRequest::default()
        .with_states_filter(texts(states))
        .with_types_filter(texts(types))
}

/// The groups of this story, of all that the server lists.
async fn list(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: &ListGroupsRequest,
) -> Result<()> {
    let ours = peer.name("").0;
    let suffix = ours.trim_start_matches("groups_listed.");
    let mut answer = peer.quietly(version, request).await?;
    answer
        .groups
        .retain(|g| g.group_id.starts_with("groups_listed.") && g.group_id.ends_with(suffix));
    peer.write_down(what, version, &answer);
    Ok(())
}

async fn groups_listed(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let offsets = group(peer, "offsets").await?;
    peer.quietly(8, &commit(8, &offsets, &topic, &[(0, 1, -1, None)]))
        .await?;
    let stable = group(peer, "stable").await?;
    let mut a = member(0, &stable);
    introduce(peer, "a member", &mut a).await?;
    rebalance(peer, "it joins", 9, &mut [&mut a]).await?;
    let id = a.id.clone();
    sync(peer, "it assigns", 5, &a, &[(&id, "all")]).await?;
    let completing = group(peer, "completing").await?;
    let mut b = member(1, &completing).of_type("connect");
    introduce(peer, "a worker", &mut b).await?;
    rebalance(peer, "the worker joins", 9, &mut [&mut b]).await?;
    let left = group(peer, "left").await?;
    let mut c = member(2, &left);
    introduce(peer, "another", &mut c).await?;
    rebalance(peer, "another joins", 9, &mut [&mut c]).await?;
    peer.ask("another leaves", 5, &c.leave(5)).await?;
    let consumer = group(peer, "consumer").await?;
    peer.ask("a consumer joins", 1, &join_beat(&consumer, "m", &[&topic]))
        .await?;
    for version in 0..=5 {
        list(peer, "all", version, &listing(&[], &[])).await?;
        if version >= 4 {
            for states in [
                vec!["Stable"],
                vec!["stable"],
                vec!["Empty", "CompletingRebalance"],
                vec!["Assigning", "Reconciling", "Dead", "PreparingRebalance"],
                vec!["Nonsense"],
                vec!["Nonsense", "Stable"],
                vec![""],
            ] {
                list(
                    peer,
                    &format!("in {states:?}"),
                    version,
                    &listing(&states, &[]),
                )
                .await?;
            }
        }
        if version >= 5 {
            for types in [
                vec!["classic"],
                vec!["Classic"],
                vec!["CONSUMER"],
                vec!["consumer", "classic"],
                vec!["share"],
                vec!["nonsense"],
                vec![""],
            ] {
                list(
                    peer,
                    &format!("of {types:?}"),
                    version,
                    &listing(&[], &types),
                )
                .await?;
            }
            let both = listing(&["Stable"], &["classic"]);
            list(peer, "stable classic ones", version, &both).await?;
        }
    }
    let beat = super::group_requests::beat(&consumer, "m", -1);
    peer.ask("the consumer leaves", 1, &beat).await?;
    list(peer, "all, in the end", 5, &listing(&[], &[])).await
}

async fn groups_described(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let none = GroupId(peer.name("none").0);
    let empty = GroupId(text(""));
    let offsets = group(peer, "offsets").await?;
    peer.quietly(8, &commit(8, &offsets, &topic, &[(0, 1, -1, None)]))
        .await?;
    let consumer = group(peer, "consumer").await?;
    peer.ask("a consumer joins", 1, &join_beat(&consumer, "m", &[&topic]))
        .await?;
    let workers = group(peer, "workers").await?;
    let mut worker = member(0, &workers).of_type("connect");
    introduce(peer, "a worker", &mut worker).await?;
    peer.ask("a worker is expected", 6, &describe(6, &[&workers]))
        .await?;
    rebalance(peer, "the worker joins", 9, &mut [&mut worker]).await?;
    let asked: [(&str, Vec<&GroupId>); 7] = [
        ("an unknown group", vec![&none]),
        ("the empty group", vec![&empty]),
        ("one with offsets only", vec![&offsets]),
        ("a consumer group", vec![&consumer]),
        ("workers", vec![&workers]),
        (
            "all, and one twice",
            vec![&none, &offsets, &consumer, &workers, &offsets],
        ),
        ("nothing", vec![]),
    ];
    for (what, groups) in &asked {
        for version in 0..=6 {
            peer.ask(what, version, &describe(version, groups)).await?;
        }
        for version in 0..=1 {
            peer.ask(what, version, &describe_consumer(groups)).await?;
        }
    }
    let quiet = describe(6, &[&none, &offsets]).with_include_authorized_operations(false);
    peer.ask("operations are not asked for", 6, &quiet).await?;
    let quiet = describe_consumer(&[&none, &consumer]).with_include_authorized_operations(false);
    peer.ask("operations are not asked for", 1, &quiet)
        .await
        .map(drop)
}

fn deletion(groups: &[&GroupId]) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(groups.iter().map(|g| (*g).clone()).collect())
}

async fn groups_deleted(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let none = GroupId(peer.name("none").0);
    let empty = GroupId(text(""));
    for version in 0..=2 {
        let offsets = group(peer, &format!("offsets.v{version}")).await?;
        peer.quietly(8, &commit(8, &offsets, &topic, &[(0, 1, -1, None)]))
            .await?;
        let alive = group(peer, &format!("alive.v{version}")).await?;
        let mut a = member(0, &alive);
        introduce(peer, "a member", &mut a).await?;
        peer.ask("a group that is expected", version, &deletion(&[&alive]))
            .await?;
        let join = begin_join(peer, 9, &a).await?;
        super::group_requests::end_join(peer, "after that", join, &mut a).await?;
        let mut a = member(0, &alive);
        introduce(peer, "a member again", &mut a).await?;
        rebalance(peer, "it joins", 9, &mut [&mut a]).await?;
        let consumer = group(peer, &format!("consumer.v{version}")).await?;
        peer.ask("a consumer joins", 1, &join_beat(&consumer, "m", &[&topic]))
            .await?;
        for (what, groups) in [
            ("an unknown group", vec![&none]),
            ("the empty group", vec![&empty]),
            ("one with a member", vec![&alive]),
            ("one with a consumer", vec![&consumer]),
            ("nothing", vec![]),
            (
                "one with offsets, twice, and an unknown one",
                vec![&offsets, &none, &offsets],
            ),
            ("it once more", vec![&offsets]),
        ] {
            peer.ask(what, version, &deletion(&groups)).await?;
        }
        peer.ask("its offsets", 7, &fetch(7, &offsets, None))
            .await?;
        peer.ask("it is gone", 6, &describe(6, &[&offsets])).await?;
        peer.ask("the member leaves", 5, &a.leave(5)).await?;
        let beat = super::group_requests::beat(&consumer, "m", -1);
        peer.ask("the consumer leaves", 1, &beat).await?;
        peer.ask(
            "both are empty now",
            version,
            &deletion(&[&alive, &consumer]),
        )
        .await?;
        peer.ask("both are gone", 6, &describe(6, &[&alive, &consumer]))
            .await?;
    }
    Ok(())
}
