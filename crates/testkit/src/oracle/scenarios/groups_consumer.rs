//! Groups of KIP-848: epochs and assignments, member by member.
use std::time::Duration;

use anyhow::Result;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, OffsetFetchRequest,
    consumer_group_heartbeat_request::TopicPartitions,
};
use uuid::Uuid;

use super::{
    group_requests::{beat, commit, describe, describe_consumer, fetch_of, group, join_beat},
    requests::{named, text},
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    consumer_refused: "heartbeats that are refused",
    consumer_alone: "one member, at both versions",
    consumer_of_nothing: "subscriptions that match no topic",
    consumer_two: "a second member comes, and takes its share when the first has given it up",
    consumer_fenced: "epochs that do not fit",
    consumer_static: "static members of KIP-848",
    consumer_subscription: "subscriptions change, topics come and grow",
    consumer_regex: "subscriptions by regular expression",
    consumer_range: "the range assignor",
    consumer_offsets: "commits with member epochs",
    consumer_silent: "members that are not heard of any more",
}

fn owning(
    request: ConsumerGroupHeartbeatRequest,
    owned: &[(Uuid, &[i32])],
) -> ConsumerGroupHeartbeatRequest {
    let topic = |(id, partitions): &(Uuid, &[i32])| {
        TopicPartitions::default()
            .with_topic_id(*id)
            .with_partitions(partitions.to_vec())
    };
    request.with_topic_partitions(Some(owned.iter().map(topic).collect()))
}

/// A heartbeat that is written down. What it assigned, if it did.
async fn ask(
    peer: &mut Peer,
    what: &str,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse> {
    let begun = peer.begin(0, 1, request).await?;
    peer.end(what, begun).await
}

async fn consumer_refused(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?.name;
    let group = group(peer, "g").await?;
    let none = GroupId(text(""));
    let join = |group: &GroupId, id: &str| join_beat(group, id, &[&topic]);
    let cases: Vec<(&str, ConsumerGroupHeartbeatRequest)> = vec![
        ("the empty group", join(&none, "m")),
        (
            "an empty instance",
            join(&group, "m").with_instance_id(Some(text(""))),
        ),
        (
            "an empty rack",
            join(&group, "m").with_rack_id(Some(text(""))),
        ),
        (
            "no rebalance timeout",
            join(&group, "m").with_rebalance_timeout_ms(-1),
        ),
        (
            "no owned partitions",
            join(&group, "m").with_topic_partitions(None),
        ),
        (
            "owned partitions",
            owning(join(&group, "m"), &[(Uuid::from_u128(7), &[0])]),
        ),
        (
            "no subscription",
            join(&group, "m").with_subscribed_topic_names(None),
        ),
        (
            "an unknown assignor",
            join(&group, "m").with_server_assignor(Some(text("best"))),
        ),
        (
            "an empty assignor",
            join(&group, "m").with_server_assignor(Some(text(""))),
        ),
        ("an epoch of an unknown group", beat(&group, "m", 1)),
        ("epoch -1 of an unknown group", beat(&group, "m", -1)),
        ("epoch -2 without an instance", beat(&group, "m", -2)),
        (
            "epoch -2",
            beat(&group, "m", -2).with_instance_id(Some(text("i"))),
        ),
        ("epoch -3", beat(&group, "m", -3)),
    ];
    for version in 0..=1 {
        for (what, request) in &cases {
            peer.ask(what, version, request).await?;
        }
    }
    peer.ask("no member id", 1, &join(&group, "")).await?;
    for epoch in [-1, 1] {
        for version in 0..=1 {
            let what = format!("no member id, epoch {epoch}");
            peer.ask(&what, version, &beat(&group, "", epoch)).await?;
        }
    }
    peer.ask("nothing came of it", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_alone(peer: &mut Peer) -> Result<()> {
    for version in 0..=1 {
        let topic = peer.topic(&format!("t.v{version}"), 3, &[]).await?;
        let group = group(peer, &format!("g.v{version}")).await?;
        let id = if version == 0 { "" } else { "m" };
        let join = join_beat(&group, id, &[&topic.name]).with_rack_id(Some(text("r")));
        let Some(answer) = peer.ask("it joins", version, &join).await? else {
            continue;
        };
        let id = answer.member_id.unwrap_or_default();
        let epoch = answer.member_epoch;
        let owned = owning(beat(&group, &id, epoch), &[(topic.id, &[0, 1, 2])]);
        peer.ask("it has them", version, &owned).await?;
        peer.ask("nothing new", version, &beat(&group, &id, epoch))
            .await?;
        peer.ask("in full", version, &describe_consumer(&[&group]))
            .await?;
        let full = owning(
            join_beat(&group, &id, &[&topic.name]),
            &[(topic.id, &[0, 1, 2])],
        );
        peer.ask("it tells all", version, &full.with_member_epoch(epoch))
            .await?;
        peer.ask(
            "it joins again",
            version,
            &join.clone().with_member_id(id.clone()),
        )
        .await?;
        peer.ask("it leaves", version, &beat(&group, &id, -1))
            .await?;
        peer.ask("it leaves again", version, &beat(&group, &id, -1))
            .await?;
        peer.ask("it is gone", version, &beat(&group, &id, epoch))
            .await?;
        peer.ask("in the end", version, &describe_consumer(&[&group]))
            .await?;
    }
    Ok(())
}

async fn consumer_of_nothing(peer: &mut Peer) -> Result<()> {
    let unknown = peer.name("unknown");
    let names = [
        ("no names", vec![]),
        ("a name without a topic", vec![&unknown]),
    ];
    for (what, names) in names {
        let group = group(peer, what).await?;
        ask(peer, what, &join_beat(&group, "a", &names)).await?;
        peer.ask(what, 1, &describe_consumer(&[&group])).await?;
        ask(peer, "again", &beat(&group, "a", 1)).await?;
    }
    let group = group(peer, "pattern").await?;
    let empty = join_beat(&group, "a", &[])
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(Some(text("")));
    ask(peer, "an empty pattern", &empty).await?;
    peer.ask("an empty pattern", 1, &describe_consumer(&[&group]))
        .await?;
    ask(
        peer,
        "no names beside it",
        &beat(&group, "a", 1).with_subscribed_topic_names(Some(vec![])),
    )
    .await?;
    assignment_interval().await;
    let pattern = beat(&group, "a", 1).with_subscribed_topic_regex(Some(text("nothing.*")));
    ask(peer, "a pattern that matches nothing", &pattern).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    ask(peer, "it was resolved", &beat(&group, "a", 1)).await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

/// The assignments of a group come at most once a second.
async fn assignment_interval() {
    tokio::time::sleep(Duration::from_millis(1_300)).await;
}

async fn consumer_two(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 4, &[]).await?;
    let group = group(peer, "g").await?;
    let join = |id: &str| join_beat(&group, id, &[&topic.name]);
    let own =
        |id: &str, epoch, owned: &[i32]| owning(beat(&group, id, epoch), &[(topic.id, owned)]);
    ask(peer, "a joins", &join("a")).await?;
    ask(peer, "a owns all", &own("a", 2, &[0, 1, 2, 3])).await?;
    assignment_interval().await;
    ask(peer, "b joins", &join("b")).await?;
    peer.ask("b waits", 1, &describe_consumer(&[&group]))
        .await?;
    ask(peer, "b owns nothing yet", &own("b", 3, &[])).await?;
    ask(peer, "a is told to give up", &beat(&group, "a", 2)).await?;
    peer.ask("a is to give up", 1, &describe_consumer(&[&group]))
        .await?;
    ask(peer, "b still waits", &beat(&group, "b", 3)).await?;
    ask(peer, "a still owns all", &own("a", 2, &[0, 1, 2, 3])).await?;
    let kept = ask(peer, "a asks again", &beat(&group, "a", 2)).await?;
    let kept: Vec<i32> = match kept.assignment {
        Some(told) => told
            .topic_partitions
            .into_iter()
            .flat_map(|t| t.partitions)
            .collect(),
        None => vec![0, 1],
    };
    ask(peer, "a has given up", &own("a", 2, &kept)).await?;
    ask(peer, "b gets them", &beat(&group, "b", 3)).await?;
    ask(peer, "nothing new for a", &beat(&group, "a", 3)).await?;
    peer.ask("both are settled", 1, &describe_consumer(&[&group]))
        .await?;
    ask(peer, "b leaves", &beat(&group, "b", -1)).await?;
    assignment_interval().await;
    ask(peer, "a takes all", &beat(&group, "a", 3)).await?;
    ask(peer, "a owns all again", &own("a", 4, &[0, 1, 2, 3])).await?;
    peer.ask("a is alone", 1, &describe_consumer(&[&group]))
        .await?;
    peer.ask("what the classic API sees", 6, &describe(6, &[&group]))
        .await
        .map(drop)
}

async fn consumer_fenced(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    ask(peer, "a joins", &join_beat(&group, "a", &[&topic.name])).await?;
    ask(peer, "an epoch from the future", &beat(&group, "a", 3)).await?;
    ask(peer, "the epoch", &beat(&group, "a", 2)).await?;
    ask(peer, "a stranger", &beat(&group, "b", 2)).await?;
    ask(peer, "a stranger leaves", &beat(&group, "b", -1)).await?;
    assignment_interval().await;
    ask(peer, "b joins", &join_beat(&group, "b", &[&topic.name])).await?;
    ask(peer, "a gives up", &beat(&group, "a", 2)).await?;
    let half = owning(beat(&group, "a", 2), &[(topic.id, &[0])]);
    ask(peer, "a has given up", &half).await?;
    ask(peer, "a repeats that", &half).await?;
    ask(
        peer,
        "an older epoch without partitions",
        &beat(&group, "a", 2),
    )
    .await?;
    let too_much = owning(beat(&group, "a", 2), &[(topic.id, &[0, 1])]);
    ask(peer, "an older epoch with too many", &too_much).await?;
    ask(peer, "epoch 0 of a member", &beat(&group, "a", 0)).await?;
    ask(
        peer,
        "a joins again",
        &join_beat(&group, "a", &[&topic.name]),
    )
    .await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_static(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let join = |id: &str| join_beat(&group, id, &[&topic.name]).with_instance_id(Some(text("i")));
    let of = |id: &str, epoch| beat(&group, id, epoch).with_instance_id(Some(text("i")));
    ask(peer, "a joins", &join("a")).await?;
    ask(peer, "b wants its place", &join("b")).await?;
    ask(peer, "b beats all the same", &of("b", 2)).await?;
    ask(
        peer,
        "a beats under another instance",
        &beat(&group, "a", 2).with_instance_id(Some(text("j"))),
    )
    .await?;
    ask(peer, "a beats without its instance", &beat(&group, "a", 2)).await?;
    ask(peer, "a goes for a while", &of("a", -2)).await?;
    peer.ask("nobody took over", 1, &describe_consumer(&[&group]))
        .await?;
    ask(peer, "a beats after it went", &of("a", 2)).await?;
    ask(peer, "b takes over", &join("b")).await?;
    ask(peer, "a is fenced", &of("a", 2)).await?;
    ask(peer, "a goes again", &of("a", -2)).await?;
    ask(peer, "b lives", &of("b", 2)).await?;
    ask(peer, "a joins again", &join("a")).await?;
    ask(peer, "b leaves for good", &of("b", -1)).await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_subscription(peer: &mut Peer) -> Result<()> {
    let one = peer.topic("one", 1, &[]).await?;
    let two = peer.topic("two", 1, &[]).await?;
    let late = peer.name("late");
    let group = group(peer, "g").await?;
    let names = |names: &[&kafka_protocol::messages::TopicName]| {
        Some(names.iter().map(|n| (*n).clone()).collect::<Vec<_>>())
    };
    ask(peer, "a joins", &join_beat(&group, "a", &[&one.name])).await?;
    assignment_interval().await;
    let both = beat(&group, "a", 2).with_subscribed_topic_names(names(&[&one.name, &two.name]));
    ask(peer, "two as well", &both).await?;
    ask(
        peer,
        "the same again",
        &beat(&group, "a", 3).with_subscribed_topic_names(names(&[&two.name, &one.name])),
    )
    .await?;
    assignment_interval().await;
    let other = beat(&group, "a", 3).with_subscribed_topic_names(names(&[&late, &two.name]));
    ask(peer, "one no more, and one that comes late", &other).await?;
    ask(
        peer,
        "it has given it up",
        &owning(beat(&group, "a", 3), &[(two.id, &[0])]),
    )
    .await?;
    peer.topic("late", 2, &[]).await?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    ask(peer, "the late one is there", &beat(&group, "a", 4)).await?;
    ask(peer, "it is told once", &beat(&group, "a", 5)).await?;
    assignment_interval().await;
    let nothing = beat(&group, "a", 5).with_subscribed_topic_names(Some(Vec::new()));
    ask(peer, "nothing any more", &nothing).await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_regex(peer: &mut Peer) -> Result<()> {
    let one = peer.topic("x.one", 1, &[]).await?;
    peer.topic("y", 1, &[]).await?;
    let group = group(peer, "g").await?;
    let by = |id: &str, pattern: &str| {
        join_beat(&group, id, &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(pattern)))
    };
    for bad in ["[", "(", "a)(b", "*", "(?<=a)b", "\\"] {
        ask(peer, &format!("the pattern {bad}"), &by("a", bad)).await?;
    }
    ask(peer, "an empty pattern", &by("a", "")).await?;
    let pattern = format!("{}.*", one.name.replace('.', "\\."));
    ask(peer, "a joins", &by("a", &pattern)).await?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    ask(peer, "the pattern was resolved", &beat(&group, "a", 1)).await?;
    ask(
        peer,
        "a goes on",
        &owning(beat(&group, "a", 2), &[(one.id, &[0])]),
    )
    .await?;
    peer.ask("by pattern", 1, &describe_consumer(&[&group]))
        .await?;
    let removed = beat(&group, "a", 2).with_subscribed_topic_regex(Some(text("")));
    assignment_interval().await;
    ask(peer, "the pattern is taken back", &removed).await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_range(peer: &mut Peer) -> Result<()> {
    let one = peer.topic("one", 3, &[]).await?;
    let two = peer.topic("two", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let join = |id: &str| {
        join_beat(&group, id, &[&one.name, &two.name]).with_server_assignor(Some(text("range")))
    };
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        ask(peer, &format!("{id} joins"), &join(id)).await?;
        assignment_interval().await;
        ask(
            peer,
            &format!("{id} goes on"),
            &beat(&group, id, n as i32 + 2),
        )
        .await?;
    }
    peer.ask("three", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn consumer_offsets(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    ask(peer, "a joins", &join_beat(&group, "a", &[&topic.name])).await?;
    for version in 2..=9 {
        let plain = commit(version, &group, &topic.name, &[(0, 3, -1, None)]);
        for (id, epoch) in [
            ("a", 1),
            ("a", 0),
            ("a", 2),
            ("a", 3),
            ("a", -1),
            ("b", 1),
            ("", -1),
            ("", 1),
        ] {
            let request = plain
                .clone()
                .with_member_id(text(id))
                .with_generation_id_or_member_epoch(epoch);
            peer.ask(&format!("by {id:?} of epoch {epoch}"), version, &request)
                .await?;
        }
    }
    for (id, epoch) in [
        (Some("a"), 1),
        (Some("a"), 3),
        (Some("a"), 0),
        (Some("a"), 2),
        (Some("a"), -1),
        (Some("b"), 1),
        (Some(""), 1),
        (None, -1),
        (None, 1),
    ] {
        let of = fetch_of(&group, Some(&[(&topic.name, &[0])]))
            .with_member_id(id.map(text))
            .with_member_epoch(epoch);
        let request = OffsetFetchRequest::default().with_groups(vec![of]);
        peer.ask(&format!("read by {id:?} of epoch {epoch}"), 9, &request)
            .await?;
    }
    ask(peer, "a leaves", &beat(&group, "a", -1)).await?;
    let alone = commit(9, &group, &topic.name, &[(0, 4, -1, None)]);
    peer.ask("by nobody, when it is empty", 9, &alone).await?;
    let nobody = named("nobody.made.this");
    let unknown = commit(9, &group, &nobody, &[(0, 4, -1, None)]);
    peer.ask("an unknown topic", 9, &unknown).await.map(drop)
}

async fn consumer_silent(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let slow = join_beat(&group, "a", &[&topic.name]).with_rebalance_timeout_ms(1_200);
    ask(peer, "a joins", &slow).await?;
    ask(
        peer,
        "a owns all",
        &owning(beat(&group, "a", 2), &[(topic.id, &[0, 1])]),
    )
    .await?;
    assignment_interval().await;
    ask(peer, "b joins", &join_beat(&group, "b", &[&topic.name])).await?;
    ask(peer, "a is told to give up", &beat(&group, "a", 2)).await?;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    ask(peer, "a was too slow", &beat(&group, "a", 2)).await?;
    ask(peer, "b has all of it in the end", &beat(&group, "b", 3))
        .await
        .map(drop)
}
