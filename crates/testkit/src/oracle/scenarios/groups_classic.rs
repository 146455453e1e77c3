//! The classic protocol as sequences: who got what, in which generation.
use std::time::Duration;

use anyhow::Result;
use kafka_protocol::{messages::GroupId, protocol::StrBytes};

use super::{
    group_requests::{
        Member, begin_join, describe, end_join, group, introduce, meet, member, moment, rebalance,
        sync,
    },
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    groups_alone: "one member, at every version",
    groups_two: "a second member comes, and goes again",
    groups_protocols: "the protocol that most members like is chosen",
    groups_follower_waits: "a follower waits for the leader's assignment",
    groups_leader_rejoins: "the leader joins again, a follower joins again",
    groups_without_assignment: "members that the leader assigns nothing",
    groups_timeouts: "members that are not heard of any more",
    groups_slow_rebalance: "a member that does not join again in time",
    groups_pending: "a member that learned its id and never came",
}

async fn groups_alone(peer: &mut Peer) -> Result<()> {
    for version in 0..=9 {
        let group = group(peer, &format!("v{version}")).await?;
        let mut only = member(0, &group);
        let mut join = begin_join(peer, version, &only).await?;
        if version >= 4 {
            end_join(peer, "the first word", join, &mut only).await?;
            peer.ask("it is expected", 4, &describe(4, &[&group]))
                .await?;
            join = begin_join(peer, version, &only).await?;
        }
        end_join(peer, "it joins", join, &mut only).await?;
        peer.ask("before the sync", 5, &describe(5, &[&group]))
            .await?;
        let id = only.id.clone();
        let of = |max: i16| version.min(max);
        sync(peer, "it assigns", of(5), &only, &[(&id, "everything")]).await?;
        peer.ask("it lives", of(4), &only.heartbeat(of(4))).await?;
        peer.ask("in full", 5, &describe(5, &[&group])).await?;
        peer.ask("it leaves", of(5), &only.leave(of(5))).await?;
        peer.ask("it has left", of(4), &only.heartbeat(of(4)))
            .await?;
        peer.ask("it is empty", 5, &describe(5, &[&group])).await?;
    }
    Ok(())
}

/// Two members that know their ids.
async fn pair(peer: &mut Peer, group: &GroupId) -> Result<[Member; 2]> {
    let mut pair = [member(0, group), member(1, group)];
    for (name, member) in ["the first", "the second"].into_iter().zip(&mut pair) {
        introduce(peer, name, member).await?;
    }
    Ok(pair)
}

/// The leader assigns, the follower hears.
async fn assign(peer: &mut Peer, leader: &Member, follower: &Member) -> Result<()> {
    let (a, b) = (leader.id.clone(), follower.id.clone());
    let gifts: [(&StrBytes, _); 2] = [(&a, "the first half"), (&b, "the second half")];
    sync(peer, "the leader assigns", 5, leader, &gifts).await?;
    sync(peer, "the follower hears", 5, follower, &[]).await
}

async fn groups_two(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, mut b] = pair(peer, &group).await?;
    rebalance(peer, "alone", 9, &mut [&mut a]).await?;
    let id = a.id.clone();
    sync(peer, "the first assigns", 5, &a, &[(&id, "all")]).await?;
    peer.ask("alone", 5, &describe(5, &[&group])).await?;
    let second = begin_join(peer, 9, &b).await?;
    peer.ask("a rebalance began", 4, &a.heartbeat(4)).await?;
    peer.ask("a rebalance began", 5, &a.sync(5, &[])).await?;
    peer.ask("preparing", 5, &describe(5, &[&group])).await?;
    let first = begin_join(peer, 9, &a).await?;
    end_join(peer, "the second is in", second, &mut b).await?;
    end_join(peer, "the first is in", first, &mut a).await?;
    peer.ask("both are in", 5, &describe(5, &[&group])).await?;
    assign(peer, &a, &b).await?;
    for member in [&a, &b] {
        peer.ask("both live", 4, &member.heartbeat(4)).await?;
    }
    peer.ask("both are assigned", 5, &describe(5, &[&group]))
        .await?;
    peer.ask("the first leaves", 5, &a.leave(5)).await?;
    peer.ask("the second hears of it", 4, &b.heartbeat(4))
        .await?;
    rebalance(peer, "the second joins again", 9, &mut [&mut b]).await?;
    let id = b.id.clone();
    sync(peer, "the second leads", 5, &b, &[(&id, "all")]).await?;
    peer.ask("the second is alone", 5, &describe(5, &[&group]))
        .await
        .map(drop)
}

async fn groups_protocols(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [a, b] = pair(peer, &group).await?;
    let mut c = member(2, &group);
    introduce(peer, "the third", &mut c).await?;
    let [mut a, mut b, mut c] = [
        a.protocols(&["x", "y", "z"]),
        b.protocols(&["y", "x"]),
        c.protocols(&["y", "x", "w"]),
    ];
    meet(peer, "three meet", &mut a, &mut [&mut b, &mut c]).await?;
    let mut a = a.protocols(&["x"]);
    rebalance(
        peer,
        "the first likes x only",
        9,
        &mut [&mut a, &mut b, &mut c],
    )
    .await
}

async fn groups_follower_waits(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, mut b] = pair(peer, &group).await?;
    meet(peer, "both meet", &mut a, &mut [&mut b]).await?;
    let waiting = peer.begin(b.lane, 5, &b.sync(5, &[])).await?;
    moment().await;
    peer.ask("in between", 5, &describe(5, &[&group])).await?;
    peer.ask("the leader lives", 4, &a.heartbeat(4)).await?;
    let (id, other) = (a.id.clone(), b.id.clone());
    sync(
        peer,
        "the leader assigns",
        5,
        &a,
        &[(&id, "1"), (&other, "2")],
    )
    .await?;
    peer.end("the follower hears", waiting).await?;
    rebalance(peer, "they meet again", 9, &mut [&mut a, &mut b]).await?;
    let waiting = peer.begin(b.lane, 5, &b.sync(5, &[])).await?;
    moment().await;
    let mut a = a.protocols(&["range", "other"]);
    let again = begin_join(peer, 9, &a).await?;
    peer.end("the leader joins with other protocols instead", waiting)
        .await?;
    rebalance(peer, "the follower joins too", 9, &mut [&mut b]).await?;
    end_join(peer, "the leader is in", again, &mut a)
        .await
        .map(drop)
}

async fn groups_leader_rejoins(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, mut b] = pair(peer, &group).await?;
    meet(peer, "both meet", &mut a, &mut [&mut b]).await?;
    for (what, version) in [("the follower asks again", 9), ("and again", 2)] {
        let again = begin_join(peer, version, &b).await?;
        end_join(peer, what, again, &mut b).await?;
    }
    assign(peer, &a, &b).await?;
    let again = begin_join(peer, 9, &b).await?;
    end_join(peer, "the follower asks in a stable group", again, &mut b).await?;
    let mut changed = b.clone().protocols(&["range", "sticky"]);
    let again = begin_join(peer, 9, &changed).await?;
    peer.ask("the follower changed its protocols", 4, &a.heartbeat(4))
        .await?;
    rebalance(peer, "so the leader joins", 9, &mut [&mut a]).await?;
    end_join(peer, "the follower is in", again, &mut changed).await?;
    assign(peer, &a, &changed).await?;
    let again = begin_join(peer, 9, &a).await?;
    peer.ask("the leader joined again", 4, &changed.heartbeat(4))
        .await?;
    rebalance(peer, "so the follower joins", 9, &mut [&mut changed]).await?;
    end_join(peer, "the leader is in", again, &mut a)
        .await
        .map(drop)
}

async fn groups_without_assignment(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, mut b] = pair(peer, &group).await?;
    meet(peer, "both meet", &mut a, &mut [&mut b]).await?;
    sync(peer, "the leader assigns nothing", 5, &a, &[]).await?;
    sync(peer, "the follower hears", 5, &b, &[]).await?;
    let stranger = StrBytes::from_static_str("a stranger");
    rebalance(peer, "they meet again", 9, &mut [&mut a, &mut b]).await?;
    sync(
        peer,
        "the leader assigns to a stranger",
        5,
        &a,
        &[(&stranger, "all")],
    )
    .await?;
    sync(peer, "the follower hears again", 5, &b, &[]).await?;
    peer.ask("in the end", 5, &describe(5, &[&group]))
        .await
        .map(drop)
}

async fn groups_timeouts(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [a, b] = pair(peer, &group).await?;
    let [mut a, mut b] = [a, b.times(600, 5_000)];
    meet(peer, "both meet", &mut a, &mut [&mut b]).await?;
    assign(peer, &a, &b).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    peer.ask("the second was silent for too long", 4, &a.heartbeat(4))
        .await?;
    peer.ask("it is out", 4, &b.heartbeat(4)).await?;
    rebalance(peer, "the first goes on", 9, &mut [&mut a]).await?;
    let id = a.id.clone();
    sync(peer, "the first assigns", 5, &a, &[(&id, "all")]).await?;
    peer.ask("in the end", 5, &describe(5, &[&group]))
        .await
        .map(drop)
}

async fn groups_slow_rebalance(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [a, b] = pair(peer, &group).await?;
    let [mut a, mut b] = [a.times(20_000, 1_000), b.times(20_000, 1_000)];
    meet(peer, "both meet", &mut a, &mut [&mut b]).await?;
    assign(peer, &a, &b).await?;
    rebalance(peer, "only the leader joins again", 9, &mut [&mut a]).await?;
    peer.ask("the other is out", 4, &b.heartbeat(4)).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    peer.ask("nobody assigned in time", 4, &a.heartbeat(4))
        .await?;
    peer.ask("in the end", 5, &describe(5, &[&group]))
        .await
        .map(drop)
}

async fn groups_pending(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let mut a = member(0, &group).times(20_000, 20_000);
    introduce(peer, "the first", &mut a).await?;
    let mut b = member(1, &group).times(700, 20_000);
    introduce(peer, "the second", &mut b).await?;
    rebalance(peer, "the second never came", 9, &mut [&mut a]).await?;
    peer.ask("the second is no member", 4, &b.heartbeat(4))
        .await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let late = begin_join(peer, 9, &b).await?;
    end_join(peer, "the second comes too late", late, &mut b).await?;
    let mut c = member(2, &group);
    introduce(peer, "the third", &mut c).await?;
    peer.ask("the third leaves before it came", 5, &c.leave(5))
        .await?;
    let late = begin_join(peer, 9, &c).await?;
    end_join(peer, "the third comes all the same", late, &mut c)
        .await
        .map(drop)
}
