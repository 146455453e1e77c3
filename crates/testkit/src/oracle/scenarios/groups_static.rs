//! Static members (KIP-345): who comes back under its instance id is who it was.
use anyhow::Result;
use kafka_protocol::{
    messages::{GroupId, LeaveGroupRequest, leave_group_request::MemberIdentity},
    protocol::StrBytes,
};

use super::{
    group_requests::{Member, begin_join, describe, end_join, group, member, rebalance, sync},
    requests::text,
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    static_follower: "a static follower comes back, and its former life is fenced",
    static_leader: "a static leader comes back: at version 9 it need not assign",
    static_protocols: "a static member comes back with other protocols",
    static_removed: "an administrator removes static members",
    static_replaced_while_joining: "a static member joins twice at the same time",
}

/// Two static members in a stable group; the first leads.
async fn settled(peer: &mut Peer, group: &GroupId) -> Result<[Member; 2]> {
    let mut a = member(0, group).instance("one");
    rebalance(peer, "the first", 9, &mut [&mut a]).await?;
    let id = a.id.clone();
    sync(peer, "the first assigns", 5, &a, &[(&id, "all")]).await?;
    let mut b = member(1, group).instance("two");
    let second = begin_join(peer, 9, &b).await?;
    let again = begin_join(peer, 9, &a).await?;
    end_join(peer, "the second is in", second, &mut b).await?;
    end_join(peer, "the first is in again", again, &mut a).await?;
    let (id, other): (StrBytes, StrBytes) = (a.id.clone(), b.id.clone());
    sync(
        peer,
        "the leader assigns",
        5,
        &a,
        &[(&id, "1"), (&other, "2")],
    )
    .await?;
    sync(peer, "the follower hears", 5, &b, &[]).await?;
    Ok([a, b])
}

/// The same instance in a new life.
fn reborn(member: &Member) -> Member {
    Member {
        lane: member.lane + 10,
        id: text(""),
        generation: -1,
        ..member.clone()
    }
}

async fn static_follower(peer: &mut Peer) -> Result<()> {
    for version in 5..=9 {
        let group = group(peer, &format!("v{version}")).await?;
        let [a, b] = settled(peer, &group).await?;
        let mut again = reborn(&b);
        let join = begin_join(peer, version, &again).await?;
        end_join(peer, "it comes back", join, &mut again).await?;
        peer.ask("nothing else changed", 4, &a.heartbeat(4)).await?;
        sync(peer, "it has what it had", 5, &again, &[]).await?;
        peer.ask("its former life", 4, &b.heartbeat(4)).await?;
        peer.ask("its former life", 5, &b.sync(5, &[])).await?;
        peer.ask("its former life", 5, &b.leave(5)).await?;
        let join = begin_join(peer, version, &b).await?;
        end_join(peer, "its former life", join, &mut b.clone()).await?;
        peer.ask("in the end", 5, &describe(5, &[&group])).await?;
    }
    Ok(())
}

async fn static_leader(peer: &mut Peer) -> Result<()> {
    for version in 5..=9 {
        let group = group(peer, &format!("v{version}")).await?;
        let [a, b] = settled(peer, &group).await?;
        let mut again = reborn(&a);
        let join = begin_join(peer, version, &again).await?;
        end_join(peer, "it comes back", join, &mut again).await?;
        peer.ask("nothing else changed", 4, &b.heartbeat(4)).await?;
        sync(peer, "it has what it had", 5, &again, &[]).await?;
        peer.ask("its former life", 4, &a.heartbeat(4)).await?;
        peer.ask("in the end", 5, &describe(5, &[&group])).await?;
    }
    Ok(())
}

async fn static_protocols(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [a, b] = settled(peer, &group).await?;
    let mut again = reborn(&b).protocols(&["range"]);
    let join = begin_join(peer, 9, &again).await?;
    end_join(peer, "it comes back with other metadata", join, &mut again).await?;
    peer.ask("the leader does not notice", 4, &a.heartbeat(4))
        .await?;
    peer.ask("what is known of it", 5, &describe(5, &[&group]))
        .await?;
    let odd = reborn(&again).protocols(&["other"]);
    let join = begin_join(peer, 9, &odd).await?;
    end_join(
        peer,
        "with a protocol that nobody has",
        join,
        &mut odd.clone(),
    )
    .await
    .map(drop)
}

/// Instances that an administrator removes.
fn removal(group: &GroupId, members: &[(&str, &str)]) -> LeaveGroupRequest {
    let member = |(id, instance): &(&str, &str)| {
        MemberIdentity::default()
            .with_member_id(text(id))
            .with_group_instance_id(Some(text(instance)))
    };
    LeaveGroupRequest::default()
        .with_group_id(group.clone())
        .with_members(members.iter().map(member).collect())
}

async fn static_removed(peer: &mut Peer) -> Result<()> {
    for version in 3..=5 {
        let group = group(peer, &format!("v{version}")).await?;
        let [a, b] = settled(peer, &group).await?;
        let wrong = removal(&group, &[(&a.id, "two")]);
        peer.ask("another's instance", version, &wrong).await?;
        let one = removal(&group, &[("", "two"), ("", "nobody")]);
        peer.ask("one that is and one that is not", version, &one)
            .await?;
        peer.ask("it is out", 4, &b.heartbeat(4)).await?;
        peer.ask("the leader hears of it", 4, &a.heartbeat(4))
            .await?;
        let last = removal(&group, &[("", "one")]);
        peer.ask("the last one", version, &last).await?;
        peer.ask("in the end", 5, &describe(5, &[&group])).await?;
    }
    Ok(())
}

async fn static_replaced_while_joining(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let [mut a, b] = settled(peer, &group).await?;
    let waiting = begin_join(peer, 9, &a).await?;
    let mut again = reborn(&a);
    let join = begin_join(peer, 9, &again).await?;
    end_join(peer, "its former life", waiting, &mut a).await?;
    let mut b = b;
    rebalance(peer, "the other joins", 9, &mut [&mut b]).await?;
    end_join(peer, "the new life", join, &mut again).await?;
    peer.ask("in the end", 5, &describe(5, &[&group]))
        .await
        .map(drop)
}
