//! Classic and new members in one group, and the way from one protocol to the other while members live.
use bytes::{BufMut, Bytes, BytesMut};
use sh_coord::{command::*, reply::*, settings::MigrationPolicy, *};

use crate::driver::*;

fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
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

/// A classic consumer that has both partitions of `t`.
fn classic_group(d: &mut Driver) -> JoinReply {
    d.set_topics(&[("t", 2)]);
    let told = d.join(join(""));
    let told = d.joined(told).member_id;
    let asked = d.join(join(&told));
    let member = d.joined(asked);
    let assignments = vec![(told, assignment("t", &[0, 1]))];
    let asked = d.send(Command::SyncGroup(SyncGroup {
        assignments,
        ..sync(&member, &[])
    }));
    assert_eq!(d.synced(asked).error, None);
    member
}

fn driver() -> Driver {
    Driver::with(GroupSettings {
        initial_rebalance_delay_ms: 0,
        consumer_assignment_interval_ms: 0,
        ..GroupSettings::default()
    })
}

fn owning(member_id: &str, topic: &str, partitions: &[i32]) -> JoinGroup {
    let mut bytes = BytesMut::from(&subscription(&[topic])[..]);
    bytes.truncate(bytes.len() - 4);
    bytes.put_i32(1);
    bytes.put_i16(topic.len() as i16);
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(partitions.len() as i32);
    partitions.iter().for_each(|p| bytes.put_i32(*p));
    let protocols = vec![Protocol {
        name: "range".into(),
        metadata: bytes.freeze(),
    }];
    JoinGroup {
        protocols,
        ..join(member_id)
    }
}

#[test]
fn a_new_member_upgrades_the_group_and_the_classic_one_is_led_through_its_own_protocol() {
    let mut d = driver();
    let old = classic_group(&mut d);
    let new = d.beat(joining("new", &["t"])).unwrap();
    assert_eq!(
        (new.member_epoch, flat(&new.assignment.unwrap()).len()),
        (2, 0)
    );
    assert_eq!(d.group.listing().unwrap().group_type, "consumer");
    // The classic member rejoins, learns what to keep, rejoins without the rest, and is in the new epoch.
    assert_eq!(
        d.heartbeat(&old.member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    let asked = d.join(owning(&old.member_id, "t", &[0, 1]));
    let joined = d.joined(asked);
    assert_eq!(
        (joined.error, joined.generation, joined.leader.as_str()),
        (None, 1, "")
    );
    let asked = d.sync(&joined, &[]);
    let kept = d.synced(asked).assignment;
    assert_eq!(kept, assignment("t", &[0]));
    assert_eq!(
        d.heartbeat(&old.member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    let asked = d.join(owning(&old.member_id, "t", &[0]));
    let joined = d.joined(asked);
    assert_eq!(joined.generation, 2);
    let asked = d.sync(&joined, &[]);
    assert_eq!(d.synced(asked).assignment, assignment("t", &[0]));
    assert_eq!(d.heartbeat(&old.member_id, 2), None);
    let new = d.beat(beating("new", 2, None)).unwrap();
    assert_eq!(flat(&new.assignment.unwrap()), [(topic_id("t"), 1)].into());
    let Reply::ConsumerGroupDescribe(Ok(shown)) = d.call(Command::ConsumerGroupDescribe) else {
        panic!()
    };
    let kinds: Vec<i8> = shown.members.iter().map(|m| m.member_type).collect();
    assert_eq!((kinds, shown.state), (vec![0, 1], GroupState::Stable));
}

#[test]
fn when_the_last_new_member_leaves_the_group_is_classic_again() {
    let mut d = driver();
    let old = classic_group(&mut d);
    d.beat(joining("new", &["t"])).unwrap();
    d.beat(beating("new", -1, None)).unwrap();
    assert_eq!(d.group.listing().unwrap().group_type, "classic");
    let asked = d.join(join(&old.member_id));
    let joined = d.joined(asked);
    assert_eq!(
        (joined.error, &joined.leader, joined.members.len()),
        (None, &old.member_id, 1)
    );
    assert!(joined.generation > 2);
    assert_eq!(d.stored.members.len(), 1);
}

#[test]
fn classic_members_wait_no_longer_when_the_group_is_upgraded() {
    let mut d = driver();
    classic_group(&mut d);
    let told = d.join(join(""));
    let second = d.joined(told).member_id;
    let waits = d.join(join(&second));
    d.beat(joining("new", &["t"])).unwrap();
    assert_eq!(d.joined(waits).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn a_policy_may_forbid_either_way() {
    let mut d = driver();
    d.set_settings(GroupSettings {
        migration: MigrationPolicy::Disabled,
        initial_rebalance_delay_ms: 0,
        ..GroupSettings::default()
    });
    classic_group(&mut d);
    let refused = d.beat(joining("new", &["t"])).unwrap_err();
    assert_eq!(refused.code, GroupError::GroupIdNotFound);
    let mut d = driver();
    d.set_settings(GroupSettings {
        migration: MigrationPolicy::Disabled,
        ..GroupSettings::default()
    });
    d.set_topics(&[("t", 1)]);
    d.beat(joining("new", &["t"])).unwrap();
    let asked = d.join(join(""));
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
}

#[test]
fn groups_of_other_protocol_types_and_custom_assignors_stay_classic() {
    let mut d = driver();
    d.set_topics(&[("t", 1)]);
    let asked = d.join(JoinGroup {
        protocol_type: "connect".into(),
        requires_known_member_id: false,
        ..join("")
    });
    d.joined(asked);
    assert_eq!(
        d.beat(joining("new", &["t"])).unwrap_err().code,
        GroupError::GroupIdNotFound
    );
    let mut d = driver();
    d.set_topics(&[("t", 1)]);
    d.stable_group(1);
    let refused = d.beat(joining("new", &["t"])).unwrap_err();
    assert_eq!(
        refused.code,
        GroupError::GroupIdNotFound,
        "its assignment is not one of ours"
    );
}

#[test]
fn a_classic_member_that_is_told_to_rejoin_and_does_not_is_out() {
    let mut d = driver();
    let old = classic_group(&mut d);
    d.beat(joining("new", &["t"])).unwrap();
    for _ in 0..13 {
        d.heartbeat(&old.member_id, 1);
        d.beat(beating("new", 2, None)).ok();
        d.pass_ms(5_000);
    }
    assert_eq!(
        d.heartbeat(&old.member_id, 1),
        Some(GroupError::UnknownMemberId)
    );
}

#[test]
fn a_mixed_group_survives_a_take_over() {
    let mut d = driver();
    let old = classic_group(&mut d);
    d.beat(joining("new", &["t"])).unwrap();
    d.take_over();
    assert_eq!(
        d.heartbeat(&old.member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    let asked = d.join(owning(&old.member_id, "t", &[0]));
    assert_eq!(d.joined(asked).generation, 2);
    let new = d.beat(beating("new", 2, None)).unwrap();
    assert_eq!(flat(&new.assignment.unwrap()), [(topic_id("t"), 1)].into());
}
