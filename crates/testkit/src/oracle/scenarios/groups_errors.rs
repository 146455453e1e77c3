//! FindCoordinator, and what the classic protocol refuses.
use anyhow::Result;
use kafka_protocol::{
    messages::{GroupId, LeaveGroupRequest, SyncGroupRequest, leave_group_request::MemberIdentity},
    protocol::StrBytes,
};

use super::{
    group_requests::{Member, find, group, introduce, member, rebalance, sync},
    requests::text,
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    find_coordinator: "who coordinates groups and transactions",
    groups_join_refused: "JoinGroup: what is refused",
    groups_unknown: "requests about groups and members that are not",
    groups_wrong: "generations, members and protocols that do not fit",
}

async fn find_coordinator(peer: &mut Peer) -> Result<()> {
    let [a, b] = [group(peer, "a").await?.0, group(peer, "b").await?.0];
    let empty = text("");
    for version in 0..=6 {
        peer.ask("a group", version, &find(version, 0, &[&a]))
            .await?;
        peer.ask("the empty group", version, &find(version, 0, &[&empty]))
            .await?;
    }
    for version in 1..=6 {
        for key_type in [-1, 3, 99] {
            peer.ask(
                &format!("of type {key_type}"),
                version,
                &find(version, key_type, &[&a]),
            )
            .await?;
        }
    }
    for version in 1..=5 {
        peer.ask("of share groups", version, &find(version, 2, &[&a]))
            .await?;
    }
    for version in 4..=6 {
        peer.ask("several", version, &find(version, 0, &[&a, &b]))
            .await?;
        peer.ask("one twice", version, &find(version, 0, &[&a, &a]))
            .await?;
        peer.ask("none", version, &find(version, 0, &[])).await?;
    }
    Ok(())
}

/// One request on a member's own connection.
async fn ask_join(peer: &mut Peer, what: &str, version: i16, member: &Member) -> Result<()> {
    let begun = peer
        .begin(member.lane, version, &member.join(version))
        .await?;
    peer.end(what, begun).await.map(drop)
}

async fn groups_join_refused(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let new = || member(0, &group);
    let known_to_nobody = Member {
        id: text("nobody"),
        ..new()
    };
    let cases: Vec<(&str, Member)> = vec![
        ("the empty group id", member(0, &GroupId(text("")))),
        ("a session of 99 ms", new().times(99, 1000)),
        ("a session of 0", new().times(0, 1000)),
        ("a negative session", new().times(-1, 1000)),
        ("a session of a day", new().times(86_400_000, 1000)),
        ("a member id that nobody has", known_to_nobody.clone()),
        ("no protocols", new().protocols(&[])),
        ("no protocol type", new().of_type("")),
    ];
    for version in 0..=9 {
        for (what, member) in &cases {
            ask_join(peer, what, version, member).await?;
        }
    }
    for version in 5..=9 {
        for (n, instance) in ["", ".", "a b", "x".repeat(250).as_str()]
            .into_iter()
            .enumerate()
        {
            let what = format!("the instance id {:?}", &instance[..instance.len().min(4)]);
            let alone = GroupId(peer.name(&format!("v{version}.{n}")).0);
            let new = || member(0, &alone);
            ask_join(peer, &what, version, &new().instance(instance)).await?;
        }
        let known_to_nobody = known_to_nobody.clone().instance("i");
        ask_join(
            peer,
            "an instance with an id that nobody has",
            version,
            &known_to_nobody,
        )
        .await?;
    }
    Ok(())
}

/// Members of LeaveGroup as the request names them.
fn leaving(group: &GroupId, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let member = |(id, instance): &(&str, Option<&str>)| {
        MemberIdentity::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
    };
    LeaveGroupRequest::default()
        .with_group_id(group.clone())
        .with_members(members.iter().map(member).collect())
}

async fn groups_unknown(peer: &mut Peer) -> Result<()> {
    let nobody = |group: &GroupId| Member {
        id: text("nobody"),
        generation: 1,
        ..member(0, group)
    };
    let there = group(peer, "there").await?;
    let mut first = member(1, &there);
    introduce(peer, "somebody", &mut first).await?;
    rebalance(peer, "somebody joins", 5, &mut [&mut first]).await?;
    let groups = [
        ("no group", GroupId(text(""))),
        ("an unknown group", GroupId(peer.name("none").0)),
        ("a group that is", there.clone()),
    ];
    for (what, group) in &groups {
        let nobody = nobody(group);
        for version in 0..=5 {
            peer.ask(what, version, &nobody.sync(version, &[])).await?;
        }
        for version in 0..=4 {
            peer.ask(what, version, &nobody.heartbeat(version)).await?;
        }
        for version in 0..=5 {
            peer.ask(what, version, &nobody.leave(version)).await?;
        }
        for version in 3..=5 {
            for (who, members) in [
                ("nobody at all", vec![]),
                ("an instance", vec![("", Some("i"))]),
                ("an instance with an id", vec![("nobody", Some("i"))]),
                ("two", vec![("nobody", None), ("", Some("i"))]),
                ("nameless", vec![("", None)]),
            ] {
                let what = format!("{what}, {who}");
                peer.ask(&what, version, &leaving(group, &members)).await?;
            }
        }
        for version in 3..=4 {
            let instance = Member {
                instance: Some(text("i")),
                ..nobody.clone()
            };
            peer.ask(
                &format!("{what}, an instance"),
                version,
                &instance.heartbeat(version),
            )
            .await?;
            peer.ask(
                &format!("{what}, an instance"),
                version,
                &instance.sync(version, &[]),
            )
            .await?;
        }
    }
    Ok(())
}

/// A sync of version 5 that names this type and protocol.
fn naming(
    member: &Member,
    protocol_type: Option<&str>,
    protocol: Option<&str>,
) -> SyncGroupRequest {
    member
        .sync(5, &[])
        .with_protocol_type(protocol_type.map(text))
        .with_protocol_name(protocol.map(text))
}

async fn groups_wrong(peer: &mut Peer) -> Result<()> {
    let group = group(peer, "g").await?;
    let mut first = member(0, &group).protocols(&["range", "roundrobin"]);
    introduce(peer, "the first", &mut first).await?;
    rebalance(peer, "alone", 5, &mut [&mut first]).await?;
    for (what, request) in [
        ("no type and no name", naming(&first, None, None)),
        ("no type", naming(&first, None, Some("range"))),
        ("no name", naming(&first, Some("consumer"), None)),
        (
            "another type",
            naming(&first, Some("connect"), Some("range")),
        ),
        (
            "another name",
            naming(&first, Some("consumer"), Some("roundrobin")),
        ),
    ] {
        peer.ask(what, 5, &request).await?;
    }
    for generation in [-1, 0, 2, 99] {
        let other = Member {
            generation,
            ..first.clone()
        };
        for version in 0..=5 {
            let what = format!("generation {generation}");
            peer.ask(&what, version, &other.sync(version, &[])).await?;
        }
        for version in 0..=4 {
            let what = format!("generation {generation}");
            peer.ask(&what, version, &other.heartbeat(version)).await?;
        }
    }
    for version in 0..=4 {
        peer.ask("before the sync", version, &first.heartbeat(version))
            .await?;
    }
    let id: StrBytes = first.id.clone();
    sync(peer, "the leader assigns", 5, &first, &[(&id, "all")]).await?;
    for version in 0..=4 {
        peer.ask("after the sync", version, &first.heartbeat(version))
            .await?;
    }
    for version in 0..=5 {
        peer.ask("again", version, &first.sync(version, &[]))
            .await?;
    }
    let second = || member(1, &group);
    for version in 0..=9 {
        for (what, other) in [
            ("another type", second().of_type("connect")),
            ("no protocol in common", second().protocols(&["sticky"])),
            ("no protocols", second().protocols(&[])),
        ] {
            ask_join(peer, what, version, &other).await?;
        }
    }
    Ok(())
}
