//! From the classic protocol to KIP-848 and back, with members of both in one group.
use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    GroupId, SyncGroupRequest, TopicName, consumer_group_heartbeat_request::TopicPartitions,
    sync_group_request::SyncGroupRequestAssignment,
};

use super::{
    group_requests::{
        Member, beat, begin_join, describe, describe_consumer, end_join, group, introduce,
        join_beat, member, rebalance, subscription, sync,
    },
    scenarios,
};
use crate::oracle::{Peer, Topic};

scenarios! {
    migrate_empty: "an empty group changes its protocol",
    migrate_up: "a consumer of KIP-848 joins a classic group",
    migrate_down: "the last consumer of KIP-848 leaves",
    migrate_refused: "classic groups that cannot change",
}

/// An assignment as consumers write it (version 1).
fn assignment(topic: &TopicName, partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_i16(topic.len() as i16);
    out.put_slice(topic.as_bytes());
    out.put_i32(partitions.len() as i32);
    partitions.iter().for_each(|p| out.put_i32(*p));
    out.put_i32(-1);
    out.freeze()
}

fn assigning(member: &Member, topic: &TopicName, partitions: &[i32]) -> SyncGroupRequest {
    member.sync(5, &[]).with_assignments(vec![
        SyncGroupRequestAssignment::default()
            .with_member_id(member.id.clone())
            .with_assignment(assignment(topic, partitions)),
    ])
}

/// One classic consumer that owns the whole topic.
async fn classic(peer: &mut Peer, group: &GroupId, topic: &Topic) -> Result<Member> {
    let mut a = member(0, group);
    a.protocols = vec![("range", subscription(&[&topic.name]))];
    introduce(peer, "a classic consumer", &mut a).await?;
    rebalance(peer, "it joins", 9, &mut [&mut a]).await?;
    peer.ask("it assigns", 5, &assigning(&a, &topic.name, &[0, 1]))
        .await?;
    Ok(a)
}

async fn migrate_empty(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let a = classic(peer, &group, &topic).await?;
    peer.ask("it leaves", 5, &a.leave(5)).await?;
    peer.ask(
        "a new consumer joins",
        1,
        &join_beat(&group, "m", &[&topic.name]),
    )
    .await?;
    peer.ask("a consumer group now", 1, &describe_consumer(&[&group]))
        .await?;
    peer.ask("the new one leaves", 1, &beat(&group, "m", -1))
        .await?;
    let mut b = member(1, &group);
    introduce(peer, "a classic one again", &mut b).await?;
    rebalance(peer, "it joins again", 9, &mut [&mut b]).await?;
    peer.ask("a classic group again", 6, &describe(6, &[&group]))
        .await
        .map(drop)
}

async fn migrate_up(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    let mut a = classic(peer, &group, &topic).await?;
    peer.ask(
        "a new consumer joins",
        1,
        &join_beat(&group, "m", &[&topic.name]),
    )
    .await?;
    peer.ask("both are in", 1, &describe_consumer(&[&group]))
        .await?;
    peer.ask("what the classic API sees", 6, &describe(6, &[&group]))
        .await?;
    peer.ask("the classic one must give up", 4, &a.heartbeat(4))
        .await?;
    let again = begin_join(peer, 9, &a).await?;
    end_join(peer, "it joins again", again, &mut a).await?;
    sync(peer, "it is told what it keeps", 5, &a, &[]).await?;
    peer.ask("it lives", 4, &a.heartbeat(4)).await?;
    peer.ask("the new one waits", 1, &beat(&group, "m", 2))
        .await?;
    a.protocols = vec![("range", subscription(&[&topic.name]))];
    let again = begin_join(peer, 9, &a).await?;
    end_join(peer, "it has given up", again, &mut a).await?;
    sync(peer, "it keeps the rest", 5, &a, &[]).await?;
    peer.ask("the new one goes on", 1, &beat(&group, "m", 2))
        .await?;
    peer.ask("in the end", 1, &describe_consumer(&[&group]))
        .await
        .map(drop)
}

async fn migrate_down(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let group = group(peer, "g").await?;
    peer.ask(
        "a new consumer joins",
        1,
        &join_beat(&group, "m", &[&topic.name]),
    )
    .await?;
    let owned = beat(&group, "m", 2).with_topic_partitions(Some(vec![
        TopicPartitions::default()
            .with_topic_id(topic.id)
            .with_partitions(vec![0, 1]),
    ]));
    peer.ask("it owns all", 1, &owned).await?;
    let mut a = member(0, &group);
    a.protocols = vec![("range", subscription(&[&topic.name]))];
    introduce(peer, "a classic one", &mut a).await?;
    let join = begin_join(peer, 9, &a).await?;
    end_join(peer, "the classic one is in", join, &mut a).await?;
    sync(peer, "it is told what it has", 5, &a, &[]).await?;
    peer.ask("both are in", 1, &describe_consumer(&[&group]))
        .await?;
    peer.ask("the new one leaves", 1, &beat(&group, "m", -1))
        .await?;
    peer.ask("the classic one must join", 4, &a.heartbeat(4))
        .await?;
    peer.ask("a classic group", 6, &describe(6, &[&group]))
        .await?;
    rebalance(peer, "it joins again", 9, &mut [&mut a]).await?;
    peer.ask("it assigns", 5, &assigning(&a, &topic.name, &[0, 1]))
        .await?;
    peer.ask("in the end", 6, &describe(6, &[&group]))
        .await
        .map(drop)
}

async fn migrate_refused(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let workers = group(peer, "workers").await?;
    let mut worker = member(0, &workers).of_type("connect");
    introduce(peer, "a worker", &mut worker).await?;
    rebalance(peer, "it joins", 9, &mut [&mut worker]).await?;
    peer.ask(
        "a group of workers",
        1,
        &join_beat(&workers, "m", &[&topic.name]),
    )
    .await?;
    let odd = group(peer, "odd").await?;
    let mut other = member(1, &odd).protocols(&["range"]);
    introduce(peer, "a consumer with odd bytes", &mut other).await?;
    rebalance(peer, "it joins too", 9, &mut [&mut other]).await?;
    peer.ask(
        "metadata that cannot be read",
        1,
        &join_beat(&odd, "m", &[&topic.name]),
    )
    .await?;
    let new = group(peer, "new").await?;
    peer.ask(
        "a new consumer joins",
        1,
        &join_beat(&new, "m", &[&topic.name]),
    )
    .await?;
    for (what, stranger) in [
        ("a worker", member(2, &new).of_type("connect")),
        ("without protocols", member(2, &new).protocols(&[])),
        (
            "with bytes that cannot be read",
            member(2, &new).protocols(&["range"]),
        ),
    ] {
        let mut stranger = stranger;
        let join = begin_join(peer, 9, &stranger).await?;
        end_join(peer, what, join, &mut stranger).await?;
    }
    Ok(())
}
