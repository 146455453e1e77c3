//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete.
use anyhow::Result;
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, TopicName,
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
};

use super::{
    group_requests::{
        Member, commit, fetch, fetch_of, group, introduce, member, rebalance, subscription, sync,
    },
    requests::{named, text},
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    offsets_committed: "offsets are committed and read, at every version",
    offsets_fetched: "which offsets an OffsetFetch shows",
    offsets_refused: "commits that are refused",
    offsets_of_members: "generation and member are checked on every commit",
    offsets_deleted: "offsets are deleted",
}

async fn offsets_committed(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 3, &[]).await?.name;
    for version in 2..=9 {
        let group = group(peer, &format!("v{version}")).await?;
        for (what, parts) in [
            ("plain", vec![(0, 5, -1, Some(""))]),
            (
                "with words",
                vec![(0, 6, 0, Some("läuft")), (1, 0, 3, Some("x"))],
            ),
            ("without words", vec![(2, i64::MAX, 2, None)]),
            ("back", vec![(0, 2, -1, Some("back"))]),
            (
                "a negative offset",
                vec![(0, -1, -1, Some("")), (1, -2, -1, Some(""))],
            ),
            (
                "a partition twice",
                vec![(1, 7, -1, Some("")), (1, 8, -1, Some(""))],
            ),
        ] {
            let request = commit(version, &group, &topic, &parts);
            peer.ask(what, version, &request).await?;
            for read in [1, 2, 5, 7, 8, 9] {
                let asked = fetch(read, &group, Some(&[(&topic, &[0, 1, 2])]));
                peer.ask(&format!("after {what}"), read, &asked).await?;
            }
        }
        if version < 5 {
            for retention in [0, -2, 60_000] {
                let request = commit(version, &group, &topic, &[(0, 9, -1, Some(""))])
                    .with_retention_time_ms(retention);
                peer.ask(&format!("to be kept for {retention}"), version, &request)
                    .await?;
            }
        }
    }
    Ok(())
}

/// A topic, and the partitions of it that are asked for.
type Wish<'a> = (&'a TopicName, &'a [i32]);

async fn offsets_fetched(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?.name;
    let other = peer.topic("u", 1, &[]).await?.name;
    let group = group(peer, "g").await?;
    for (topic, at) in [(&topic, 4), (&other, 8)] {
        peer.quietly(8, &commit(8, &group, topic, &[(0, at, -1, Some("w"))]))
            .await?;
    }
    let none = GroupId(peer.name("none").0);
    let empty = GroupId(text(""));
    let nobody = named("nobody.made.this");
    let asked: [(&str, Vec<Wish>); 6] = [
        ("one", vec![(&topic, &[0])]),
        ("one without a commit", vec![(&topic, &[1])]),
        ("partitions that are not", vec![(&topic, &[2, -1])]),
        ("an unknown topic", vec![(&nobody, &[0])]),
        ("two topics", vec![(&topic, &[0, 1]), (&other, &[0])]),
        ("a topic without partitions", vec![(&topic, &[])]),
    ];
    for version in 1..=9 {
        for (what, topics) in &asked {
            for (of, group) in [
                ("", &group),
                ("no group: ", &none),
                ("empty group: ", &empty),
            ] {
                let request = fetch(version, group, Some(topics));
                peer.ask(&format!("{of}{what}"), version, &request).await?;
            }
        }
        peer.ask("no topics", version, &fetch(version, &group, Some(&[])))
            .await?;
        if version >= 2 {
            for (of, group) in [("", &group), ("no group: ", &none)] {
                let request = fetch(version, group, None);
                peer.ask(&format!("{of}all"), version, &request).await?;
            }
        }
        if version >= 7 {
            let request = fetch(version, &group, None).with_require_stable(true);
            peer.ask("all that is stable", version, &request).await?;
        }
    }
    for version in 8..=9 {
        let several = [
            fetch_of(&group, Some(&[(&topic, &[0])])),
            fetch_of(&none, None),
            fetch_of(&group, None),
        ];
        let request = OffsetFetchRequest::default().with_groups(several.to_vec());
        peer.ask("several groups", version, &request).await?;
        peer.ask("no groups", version, &OffsetFetchRequest::default())
            .await?;
    }
    for epoch in [-1, 0, 3] {
        for id in [None, Some(text("")), Some(text("m"))] {
            let of = fetch_of(&group, None)
                .with_member_id(id.clone())
                .with_member_epoch(epoch);
            let request = OffsetFetchRequest::default().with_groups(vec![of]);
            peer.ask(&format!("as member {id:?} of epoch {epoch}"), 9, &request)
                .await?;
        }
    }
    Ok(())
}

async fn offsets_refused(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let group = group(peer, "g").await?;
    let empty = GroupId(text(""));
    let nobody = named("nobody.made.this");
    let long: &'static str = "x".repeat(4_097).leak();
    for version in 2..=9 {
        for (what, request) in [
            (
                "an unknown topic",
                commit(version, &group, &nobody, &[(0, 1, -1, None)]),
            ),
            (
                "an impossible name",
                commit(version, &group, &named("a b"), &[(0, 1, -1, None)]),
            ),
            (
                "partitions that are not",
                commit(
                    version,
                    &group,
                    &topic,
                    &[(1, 1, -1, None), (-1, 1, -1, None)],
                ),
            ),
            (
                "too many words",
                commit(
                    version,
                    &group,
                    &topic,
                    &[(0, 1, -1, Some(long)), (0, 2, -1, None)],
                ),
            ),
            (
                "the empty group",
                commit(version, &empty, &topic, &[(0, 1, -1, None)]),
            ),
            ("no partitions", commit(version, &group, &topic, &[])),
            (
                "a generation",
                of_member(&commit(version, &group, &topic, &[(0, 1, -1, None)]), "", 1),
            ),
            (
                "a member",
                of_member(
                    &commit(version, &group, &topic, &[(0, 1, -1, None)]),
                    "m",
                    -1,
                ),
            ),
            (
                "both",
                of_member(
                    &commit(version, &group, &topic, &[(0, 1, -1, None)]),
                    "m",
                    1,
                ),
            ),
        ] {
            peer.ask(what, version, &request).await?;
        }
        let nothing = OffsetCommitRequest::default().with_group_id(group.clone());
        peer.ask("nothing", version, &nothing).await?;
    }
    Ok(())
}

fn of_member(request: &OffsetCommitRequest, id: &str, generation: i32) -> OffsetCommitRequest {
    request
        .clone()
        .with_member_id(text(id))
        .with_generation_id_or_member_epoch(generation)
}

async fn offsets_of_members(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let group = group(peer, "g").await?;
    let mut a = member(0, &group).instance("one");
    let check = async |peer: &mut Peer, when: &str, a: &Member| -> Result<()> {
        for version in 2..=9 {
            let plain = commit(version, &group, &topic, &[(0, 3, -1, None)]);
            for (what, id, generation) in [
                ("by the member", a.id.as_str(), a.generation),
                ("by nobody", "", -1),
                ("by a stranger", "stranger", a.generation),
                ("of an older generation", a.id.as_str(), a.generation - 1),
                ("of no generation", a.id.as_str(), -1),
                ("of no member", "", a.generation),
            ] {
                let request = of_member(&plain, id, generation);
                peer.ask(&format!("{when}: {what}"), version, &request)
                    .await?;
                if version >= 7 {
                    for instance in ["one", "two"] {
                        let request = request.clone().with_group_instance_id(Some(text(instance)));
                        let what = format!("{when}: {what}, instance {instance}");
                        peer.ask(&what, version, &request).await?;
                    }
                }
            }
        }
        Ok(())
    };
    rebalance(peer, "it joins", 9, &mut [&mut a]).await?;
    check(peer, "before the sync", &a).await?;
    let id = a.id.clone();
    sync(peer, "it assigns", 5, &a, &[(&id, "all")]).await?;
    check(peer, "stable", &a).await?;
    let mut b = member(1, &group);
    introduce(peer, "another", &mut b).await?;
    let _joining = super::group_requests::begin_join(peer, 9, &b).await?;
    check(peer, "while preparing", &a).await
}

fn deletion(group: &GroupId, topics: &[(&TopicName, &[i32])]) -> OffsetDeleteRequest {
    let part = |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
    let topic = |(name, parts): &(&TopicName, &[i32])| {
        OffsetDeleteRequestTopic::default()
            .with_name((*name).clone())
            .with_partitions(parts.iter().map(part).collect())
    };
    OffsetDeleteRequest::default()
        .with_group_id(group.clone())
        .with_topics(topics.iter().map(topic).collect())
}

async fn offsets_deleted(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?.name;
    let group = group(peer, "g").await?;
    let nobody = named("nobody.made.this");
    let delete = |topics: &[(&TopicName, &[i32])]| deletion(&group, topics);
    peer.ask("no such group", 0, &delete(&[(&topic, &[0])]))
        .await?;
    let none = GroupId(text(""));
    peer.ask("the empty group", 0, &deletion(&none, &[(&topic, &[0])]))
        .await?;
    peer.quietly(
        8,
        &commit(8, &group, &topic, &[(0, 4, -1, None), (1, 5, -1, None)]),
    )
    .await?;
    for (what, request) in [
        ("an unknown topic", delete(&[(&nobody, &[0])])),
        ("partitions that are not", delete(&[(&topic, &[2, -1])])),
        ("nothing", delete(&[])),
        ("no partitions", delete(&[(&topic, &[])])),
        ("one", delete(&[(&topic, &[0])])),
        ("one again", delete(&[(&topic, &[0])])),
    ] {
        peer.ask(what, 0, &request).await?;
        peer.ask(&format!("after {what}"), 7, &fetch(7, &group, None))
            .await?;
    }
    let mut a = member(0, &group);
    a.protocols = vec![("range", subscription(&[&topic]))];
    introduce(peer, "a member", &mut a).await?;
    rebalance(peer, "it subscribes", 9, &mut [&mut a]).await?;
    peer.ask("a topic in use, unassigned", 0, &delete(&[(&topic, &[1])]))
        .await?;
    let id = a.id.clone();
    sync(peer, "it assigns", 5, &a, &[(&id, "all")]).await?;
    let other = peer.topic("u", 1, &[]).await?.name;
    peer.ask(
        "a topic in use",
        0,
        &delete(&[(&topic, &[1]), (&other, &[0])]),
    )
    .await?;
    peer.ask("it leaves", 5, &a.leave(5)).await?;
    peer.ask("a topic not in use any more", 0, &delete(&[(&topic, &[1])]))
        .await?;
    peer.ask("after that", 7, &fetch(7, &group, None)).await?;
    let mut c = member(2, &group).of_type("connect");
    introduce(peer, "a worker", &mut c).await?;
    rebalance(peer, "a worker joins", 9, &mut [&mut c]).await?;
    peer.ask("a group of workers", 0, &delete(&[(&topic, &[1])]))
        .await
        .map(drop)
}
