//! The new consumer protocol, KIP-848.
use std::collections::BTreeSet;

use sh_coord::{command::*, reply::*, *};

use crate::driver::*;

fn group_with(topics: &[(&str, i32)]) -> Driver {
    let settings = GroupSettings {
        consumer_assignment_interval_ms: 0,
        initial_rebalance_delay_ms: 0,
        ..GroupSettings::default()
    };
    let mut d = Driver::with(settings);
    d.set_topics(topics);
    d
}

fn owned(topic: &str, partitions: impl IntoIterator<Item = i32>) -> TopicPartitions {
    TopicPartitions::from([(topic_id(topic), partitions.into_iter().collect())])
}

fn refused(answer: Result<HeartbeatReply, Refusal>) -> GroupError {
    answer.unwrap_err().code
}

/// What the member has after it has done all that it was asked to.
fn settle(d: &mut Driver, id: &str) -> (i32, TopicPartitions) {
    let shown = describe(d);
    let member = shown.members.iter().find(|m| m.member_id == id).unwrap();
    let mut has: TopicPartitions = member
        .assignment
        .iter()
        .map(|t| (t.id, t.partitions.clone()))
        .collect();
    let mut epoch = member.member_epoch;
    for _ in 0..4 {
        let reply = d.beat(beating(id, epoch, Some(has.clone()))).unwrap();
        epoch = reply.member_epoch;
        has = reply.assignment.unwrap_or(has);
    }
    (epoch, has)
}

fn describe(d: &mut Driver) -> ConsumerDescription {
    match d.call(Command::ConsumerGroupDescribe) {
        Reply::ConsumerGroupDescribe(reply) => reply.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut d = group_with(&[("t", 3)]);
    let reply = d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(
        (reply.member_epoch, reply.heartbeat_interval_ms),
        (2, 5_000)
    );
    assert_eq!(reply.assignment, Some(owned("t", 0..3)));
    assert_eq!(d.state(), Some("Stable"));
    let reply = d.beat(beating("a", 2, Some(owned("t", 0..3)))).unwrap();
    assert_eq!(reply.assignment, None, "nothing new");
}

#[test]
fn a_partition_is_given_on_only_after_its_owner_gave_it_up() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    let b = d.beat(joining("b", &["t"])).unwrap();
    assert_eq!((b.member_epoch, flat(&b.assignment.unwrap()).len()), (3, 0));
    assert_eq!(d.state(), Some("Reconciling"));
    let a = d.beat(beating("a", 2, Some(owned("t", 0..2)))).unwrap();
    assert_eq!(
        a.member_epoch, 2,
        "it stays in its epoch until it has given up what it must"
    );
    let kept = a.assignment.unwrap();
    assert_eq!(flat(&kept).len(), 1);
    assert_eq!(d.beat(beating("b", 3, None)).unwrap().assignment, None);
    let a = d.beat(beating("a", 2, Some(kept.clone()))).unwrap();
    assert_eq!(a.member_epoch, 3);
    let b = d.beat(beating("b", 3, None)).unwrap().assignment.unwrap();
    assert_eq!(flat(&b).len(), 1);
    assert!(flat(&b).is_disjoint(&flat(&kept)));
    assert_eq!(d.state(), Some("Stable"));
}

#[test]
fn who_does_not_give_up_in_time_is_fenced() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    d.beat(joining("b", &["t"])).unwrap();
    for _ in 0..6 {
        d.beat(beating("a", 2, None)).unwrap();
        d.beat(beating("b", 3, None)).unwrap();
        d.pass_ms(5_000);
    }
    assert_eq!(
        refused(d.beat(beating("a", 2, None))),
        GroupError::UnknownMemberId
    );
    assert_eq!(settle(&mut d, "b").1, owned("t", 0..2));
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    d.pass_ms(45_000);
    assert_eq!(d.state(), Some("Empty"));
    assert_eq!(
        refused(d.beat(beating("a", 2, None))),
        GroupError::UnknownMemberId
    );
}

#[test]
fn a_member_that_leaves_gives_all_to_the_others() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    let left = d.beat(beating("a", -1, None)).unwrap();
    assert_eq!((left.member_epoch, left.assignment), (-1, None));
    let b = d.beat(joining("b", &["t"])).unwrap();
    assert_eq!(b.assignment, Some(owned("t", 0..2)));
}

#[test]
fn a_wrong_epoch_is_fenced_but_a_lost_answer_is_repeated() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(
        refused(d.beat(beating("a", 3, None))),
        GroupError::FencedMemberEpoch
    );
    d.set_topics(&[("t", 4)]);
    assert_eq!(
        d.beat(beating("a", 2, Some(owned("t", 0..2))))
            .unwrap()
            .member_epoch,
        3
    );
    // It did not get that answer, and says again what it had before.
    assert_eq!(
        d.beat(beating("a", 2, Some(owned("t", 0..2))))
            .unwrap()
            .member_epoch,
        3
    );
    assert_eq!(
        refused(d.beat(beating("a", 2, None))),
        GroupError::FencedMemberEpoch
    );
}

#[test]
fn a_member_may_join_again_with_epoch_0_at_any_time() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    let again = d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(
        (again.member_epoch, again.assignment),
        (2, Some(owned("t", 0..2)))
    );
}

#[test]
fn new_partitions_and_topics_are_assigned_at_the_next_heartbeat() {
    let mut d = group_with(&[("t", 1)]);
    d.beat(joining("a", &["t", "later"])).unwrap();
    d.set_topics(&[("t", 2), ("later", 1), ("other", 1)]);
    let reply = d.beat(beating("a", 2, None)).unwrap();
    assert_eq!(
        (reply.member_epoch, flat(&reply.assignment.unwrap()).len()),
        (3, 3)
    );
    d.set_topics(&[("t", 2), ("later", 1), ("other", 9)]);
    assert_eq!(
        d.beat(beating("a", 3, None)).unwrap().member_epoch,
        3,
        "nobody reads that"
    );
}

#[test]
fn a_burst_of_joins_costs_one_assignment() {
    let mut d = Driver::new();
    d.set_topics(&[("t", 4)]);
    d.beat(joining("a", &["t"])).unwrap();
    for id in ["b", "c", "d"] {
        assert_eq!(d.beat(joining(id, &["t"])).unwrap().member_epoch, 2);
    }
    assert_eq!(d.state(), Some("Assigning"));
    d.pass_ms(1_000);
    d.beat(beating("b", 2, None)).unwrap();
    let shown = describe(&mut d);
    assert_eq!((shown.group_epoch, shown.assignment_epoch), (5, 5));
}

#[test]
fn a_subscription_by_expression_follows_the_topics() {
    let mut d = group_with(&[("logs-a", 1), ("other", 1)]);
    let by_regex = |pattern: &str| ConsumerGroupHeartbeat {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(pattern.into()),
        ..joining("a", &[])
    };
    assert_eq!(
        refused(d.beat(by_regex("logs-["))),
        GroupError::InvalidRegularExpression
    );
    assert_eq!(d.state(), None);
    let reply = d.beat(by_regex("logs-.*")).unwrap();
    assert_eq!(reply.assignment, Some(owned("logs-a", [0])));
    d.set_topics(&[("logs-a", 1), ("logs-b", 1), ("other", 1)]);
    let reply = d.beat(beating("a", 2, None)).unwrap();
    assert_eq!(flat(&reply.assignment.unwrap()).len(), 2);
    let none = ConsumerGroupHeartbeat {
        subscribed_topic_regex: Some(String::new()),
        ..beating("a", 3, None)
    };
    assert_eq!(flat(&d.beat(none).unwrap().assignment.unwrap()).len(), 0);
}

#[test]
fn dropping_a_topic_asks_for_its_partitions_before_anything_else() {
    let mut d = Driver::new();
    d.set_topics(&[("t", 1), ("u", 1)]);
    d.beat(joining("a", &["t", "u"])).unwrap();
    let all = TopicPartitions::from([(topic_id("t"), vec![0]), (topic_id("u"), vec![0])]);
    let only_t = ConsumerGroupHeartbeat {
        subscribed_topic_names: Some(vec!["t".into()]),
        ..beating("a", 2, Some(all))
    };
    let reply = d.beat(only_t).unwrap();
    assert_eq!(
        (reply.member_epoch, reply.assignment),
        (2, Some(owned("t", [0])))
    );
}

#[test]
fn members_may_ask_for_the_range_assignor() {
    let mut d = group_with(&[("t", 3), ("u", 3)]);
    let with = |id: &str, name: &str| ConsumerGroupHeartbeat {
        server_assignor: Some(name.into()),
        ..joining(id, &["t", "u"])
    };
    assert_eq!(
        refused(d.beat(with("a", "sticky"))),
        GroupError::UnsupportedAssignor
    );
    d.beat(with("a", "range")).unwrap();
    d.beat(with("b", "range")).unwrap();
    let a: BTreeSet<_> = settle(&mut d, "a").1.into_values().collect();
    assert_eq!(
        a,
        BTreeSet::from([vec![0, 1]]),
        "the same run of both topics"
    );
    assert_eq!(describe(&mut d).assignor, "range");
}

#[test]
fn a_static_member_that_left_for_a_while_keeps_its_partitions() {
    let mut d = group_with(&[("t", 4)]);
    let one = |id: &str| ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..joining(id, &["t"])
    };
    d.beat(one("a")).unwrap();
    d.beat(joining("b", &["t"])).unwrap();
    let (epoch, had) = settle(&mut d, "a");
    assert_eq!(refused(d.beat(one("a2"))), GroupError::UnreleasedInstanceId);
    let leaving = ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..beating("a", -2, None)
    };
    assert_eq!(d.beat(leaving).unwrap().member_epoch, -2);
    let b = settle(&mut d, "b");
    assert_eq!(flat(&b.1).len(), 2, "its partitions are not given away");
    let back = d.beat(one("a2")).unwrap();
    assert_eq!((back.member_epoch, back.assignment), (epoch, Some(had)));
    let stale = ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..beating("a", epoch, None)
    };
    assert_eq!(refused(d.beat(stale)), GroupError::FencedInstanceId);
}

#[test]
fn a_static_member_that_does_not_come_back_is_out_after_its_session() {
    let mut d = group_with(&[("t", 2)]);
    let instance_id = Some("one".to_owned());
    d.beat(ConsumerGroupHeartbeat {
        instance_id: instance_id.clone(),
        ..joining("a", &["t"])
    })
    .unwrap();
    d.beat(ConsumerGroupHeartbeat {
        instance_id,
        ..beating("a", -2, None)
    })
    .unwrap();
    d.pass_ms(45_000);
    assert_eq!(d.state(), Some("Empty"));
}

/// A server that restarts every 20 s must not keep the place of a member for ever that said it had left.
#[test]
fn take_overs_do_not_prolong_the_absence_of_a_static_member_that_left() {
    let mut d = group_with(&[("t", 2)]);
    let one = |id: &str| ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..joining(id, &["t"])
    };
    d.beat(one("a")).unwrap();
    d.beat(joining("b", &["t"])).unwrap();
    settle(&mut d, "a");
    let leaving = ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..beating("a", -2, None)
    };
    d.beat(leaving).unwrap();
    for _ in 0..2 {
        d.pass_ms(20_000);
        d.take_over();
        assert_eq!(flat(&settle(&mut d, "b").1).len(), 1);
    }
    d.pass_ms(5_000);
    assert_eq!(flat(&settle(&mut d, "b").1).len(), 2);
}

#[test]
fn a_static_member_that_came_back_has_whole_sessions_again() {
    let mut d = group_with(&[("t", 2)]);
    let one = |id: &str, epoch| ConsumerGroupHeartbeat {
        instance_id: Some("one".into()),
        ..if epoch == 0 {
            joining(id, &["t"])
        } else {
            beating(id, epoch, None)
        }
    };
    d.beat(one("a", 0)).unwrap();
    d.beat(one("a", -2)).unwrap();
    d.pass_ms(40_000);
    let epoch = d.beat(one("a2", 0)).unwrap().member_epoch;
    d.pass_ms(40_000);
    d.take_over();
    d.pass_ms(40_000);
    assert_eq!(d.beat(one("a2", epoch)).unwrap().member_epoch, epoch);
}

#[test]
fn malformed_heartbeats_are_invalid_requests() {
    let mut d = group_with(&[("t", 1)]);
    let base = joining("a", &["t"]);
    let bad = [
        ConsumerGroupHeartbeat {
            member_id: String::new(),
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            rebalance_timeout_ms: -1,
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            topic_partitions: None,
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            topic_partitions: Some(owned("t", [0])),
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            subscribed_topic_names: None,
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            instance_id: Some(String::new()),
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            rack_id: Some(String::new()),
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            member_epoch: -2,
            ..base.clone()
        },
        ConsumerGroupHeartbeat {
            member_epoch: -3,
            ..base.clone()
        },
    ];
    for beat in bad {
        assert_eq!(
            refused(d.beat(beat.clone())),
            GroupError::InvalidRequest,
            "{beat:?}"
        );
    }
    let without_id = ConsumerGroupHeartbeat {
        member_id: String::new(),
        member_chooses_id: false,
        ..base
    };
    assert!(
        !d.beat(without_id).unwrap().member_id.is_empty(),
        "version 0 is given one"
    );
}

#[test]
fn an_unknown_group_or_member_is_told_so() {
    let mut d = group_with(&[("t", 1)]);
    assert_eq!(
        refused(d.beat(beating("a", 2, None))),
        GroupError::GroupIdNotFound
    );
    assert_eq!(
        refused(d.beat(beating("a", -1, None))),
        GroupError::GroupIdNotFound
    );
    d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(
        refused(d.beat(beating("b", 2, None))),
        GroupError::UnknownMemberId
    );
    assert_eq!(
        refused(d.beat(beating("b", -1, None))),
        GroupError::UnknownMemberId
    );
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut d = group_with(&[("t", 1)]);
    d.set_settings(GroupSettings {
        consumer_members_max: 1,
        ..GroupSettings::default()
    });
    d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(
        refused(d.beat(joining("b", &["t"]))),
        GroupError::GroupMaxSizeReached
    );
    d.beat(joining("a", &["t"])).unwrap();
}

#[test]
fn a_commit_must_come_from_the_partitions_present_owner() {
    let mut d = group_with(&[("t", 2)]);
    d.beat(joining("a", &["t"])).unwrap();
    let code = |reply: OffsetsReply| reply.topics[0].1[0].1;
    assert_eq!(code(d.commit(commit("a", 2, 5))), None);
    assert_eq!(
        code(d.commit(commit("a", 3, 5))),
        Some(GroupError::StaleMemberEpoch)
    );
    assert_eq!(
        code(d.commit(commit("x", 2, 5))),
        Some(GroupError::UnknownMemberId)
    );
    let older = OffsetCommit {
        knows_member_epochs: false,
        ..commit("a", 2, 5)
    };
    assert_eq!(code(d.commit(older)), Some(GroupError::UnsupportedVersion));
    // In a later epoch, what it has kept since then is still its own to commit; what it lost is not.
    d.beat(joining("b", &["t"])).unwrap();
    let (epoch, has) = settle(&mut d, "a");
    assert_eq!(epoch, 3);
    let mut late = commit("a", 2, 6);
    let kept = flat(&has).first().unwrap().1;
    late.topics[0].partitions[0].partition = kept;
    assert_eq!(code(d.commit(late.clone())), None);
    late.topics[0].partitions[0].partition = 1 - kept;
    assert_eq!(code(d.commit(late)), Some(GroupError::StaleMemberEpoch));
}

#[test]
fn a_fetch_names_its_member_and_epoch() {
    let mut d = group_with(&[("t", 1)]);
    d.beat(joining("a", &["t"])).unwrap();
    let mut fetch = |id: Option<&str>, epoch| {
        let fetch = OffsetFetch {
            member_id: id.map(str::to_owned),
            member_epoch: epoch,
        };
        match d.call(Command::OffsetFetch(fetch)) {
            Reply::OffsetFetch(error) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(None, -1), None);
    assert_eq!(fetch(Some("a"), 2), None);
    assert_eq!(fetch(Some("a"), 3), Some(GroupError::StaleMemberEpoch));
    assert_eq!(fetch(Some("x"), 2), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_take_over_moves_nothing() {
    let mut d = group_with(&[("t", 6)]);
    for id in ["a", "b", "c"] {
        d.beat(joining(id, &["t"])).unwrap();
    }
    for _ in 0..2 {
        for id in ["a", "b", "c"] {
            settle(&mut d, id);
        }
    }
    assert_eq!(d.state(), Some("Stable"));
    let before = describe(&mut d);
    d.take_over();
    assert_eq!(describe(&mut d), before);
    let persists = d.persists;
    for id in ["a", "b", "c"] {
        assert_eq!(
            d.beat(beating(id, before.group_epoch, None))
                .unwrap()
                .assignment,
            None
        );
    }
    assert_eq!(
        d.persists, persists,
        "a heartbeat with nothing new writes nothing"
    );
}

#[test]
fn a_take_over_sees_that_topics_grew_meanwhile() {
    let mut d = group_with(&[("t", 1)]);
    d.beat(joining("a", &["t"])).unwrap();
    d.set_topics(&[("t", 2)]);
    d.take_over();
    assert_eq!(
        d.beat(beating("a", 2, None)).unwrap().assignment,
        Some(owned("t", 0..2))
    );
}

#[test]
fn classic_requests_to_a_living_group_of_the_new_protocol_know_no_such_member() {
    let mut d = group_with(&[("t", 1)]);
    d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(d.heartbeat("a", 1), Some(GroupError::UnknownMemberId));
    let Reply::DescribeGroup(reply) = d.call(Command::DescribeGroup) else {
        panic!()
    };
    assert_eq!(reply.error.unwrap().code, GroupError::GroupIdNotFound);
}

#[test]
fn an_empty_group_changes_its_protocol_with_whoever_comes_first() {
    let mut d = group_with(&[("t", 1)]);
    d.commit(commit("", -1, 3));
    assert_eq!(d.group.listing().unwrap().group_type, "classic");
    d.beat(joining("a", &["t"])).unwrap();
    assert_eq!(d.group.listing().unwrap().group_type, "consumer");
    d.beat(beating("a", -1, None)).unwrap();
    d.stable_group(1);
    assert_eq!(d.group.listing().unwrap().group_type, "classic");
    assert_eq!(d.offsets.len(), 1, "the offsets stay");
}

#[test]
fn a_refused_join_leaves_an_empty_group_as_it_was() {
    let mut d = group_with(&[("t", 1)]);
    d.beat(joining("a", &["t"])).unwrap();
    d.beat(beating("a", -1, None)).unwrap();
    let asked = d.join(JoinGroup {
        protocols: Vec::new(),
        ..join("")
    });
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
    assert_eq!(d.group.listing().unwrap().group_type, "consumer");
}

#[test]
fn a_thousand_members_settle_and_then_write_nothing() {
    let mut d = Driver::new();
    d.set_topics(&[("t", 2_000)]);
    let ids: Vec<String> = (0..1_000).map(|i| format!("m{i}")).collect();
    let mut members: Vec<(i32, TopicPartitions)> = Vec::new();
    for id in &ids {
        let reply = d.beat(joining(id, &["t"])).unwrap();
        members.push((reply.member_epoch, reply.assignment.unwrap()));
    }
    let mut persists = 0;
    for _ in 0..6 {
        d.pass_ms(1_000);
        persists = d.persists;
        for (id, (epoch, has)) in ids.iter().zip(&mut members) {
            let reply = d.beat(beating(id, *epoch, Some(has.clone()))).unwrap();
            *epoch = reply.member_epoch;
            *has = reply.assignment.unwrap_or(std::mem::take(has));
        }
    }
    assert_eq!(d.state(), Some("Stable"));
    assert!(members.iter().all(|(_, has)| flat(has).len() == 2));
    assert_eq!(d.persists, persists, "nothing changes any more");
}
