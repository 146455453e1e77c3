//! The classic protocol.
use bytes::Bytes;
use sh_coord::{command::*, reply::*, *};

use crate::driver::*;

#[test]
fn a_new_member_learns_its_id_first_and_then_leads() {
    let mut d = Driver::new();
    let asked = d.join(join(""));
    let told = d.joined(asked);
    assert_eq!(told.error, Some(GroupError::MemberIdRequired));
    assert!(told.member_id.starts_with("client-"));
    let asked = d.join(join(&told.member_id));
    d.poll();
    let joined = d.joined(asked);
    assert_eq!(
        (joined.error, joined.generation, &joined.leader),
        (None, 1, &told.member_id)
    );
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(d.state(), Some("CompletingRebalance"));
    d.assign_names(&[joined]);
    assert_eq!(d.state(), Some("Stable"));
}

#[test]
fn an_old_client_joins_at_once() {
    let mut d = Driver::new();
    let asked = d.join(JoinGroup {
        requires_known_member_id: false,
        ..join("")
    });
    assert_eq!(d.joined(asked).error, None);
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let mut d = Driver::new();
    let first = d.stable_group(1);
    let told = d.join(join(""));
    let second = d.joined(told).member_id;
    let follower = d.join(join(&second));
    assert!(d.is_waiting(follower), "the first member has to join again");
    assert_eq!(
        d.heartbeat(&first[0].member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    let leader = d.join(join(&first[0].member_id));
    let (leader, follower) = (d.joined(leader), d.joined(follower));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    let waits = d.sync(&follower, &[]);
    assert!(d.is_waiting(waits));
    let given = d.sync(&leader, &[(&second, "yours")]);
    assert_eq!(d.synced(waits).assignment, "yours");
    assert_eq!(
        d.synced(given).assignment,
        Bytes::new(),
        "whoever is left out gets nothing"
    );
}

#[test]
fn a_sync_without_an_assignment_is_legal_and_a_late_one_gets_the_current_assignment() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    let again = d.sync(&member, &[]);
    assert_eq!(d.synced(again).assignment, member.member_id.as_bytes());
}

#[test]
fn the_first_rebalance_waits_for_more_members() {
    let mut d = Driver::with(GroupSettings::default());
    let told = d.join(join(""));
    let first = d.joined(told).member_id;
    let first = d.join(join(&first));
    d.pass_ms(2_000);
    let told = d.join(join(""));
    let second = d.joined(told).member_id;
    let second = d.join(join(&second));
    d.pass_ms(3_000);
    assert!(d.is_waiting(first), "somebody came, so it waits once more");
    d.pass_ms(1_000);
    assert_eq!(d.joined(first).generation, 1);
    assert_eq!(d.joined(second).generation, 1);
}

#[test]
fn an_id_that_was_given_out_and_never_came_back_holds_up_a_rebalance_only_until_its_session_ends() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    let told = d.join(join(""));
    d.joined(told);
    let asked = d.join(join(&member.member_id));
    assert!(d.is_waiting(asked));
    d.pass_ms(10_000);
    assert_eq!(d.joined(asked).generation, 2);
}

#[test]
fn a_silent_member_is_out_after_its_session_and_the_others_rebalance() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    for _ in 0..2 {
        d.pass_ms(6_000);
        d.heartbeat(&members[0].member_id, 1);
    }
    assert_eq!(
        d.heartbeat(&members[0].member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    assert_eq!(
        d.heartbeat(&members[1].member_id, 1),
        Some(GroupError::UnknownMemberId)
    );
    let joined = d.rejoin_all(&[members[0].member_id.clone()]);
    assert_eq!(joined[0].generation, 2);
}

#[test]
fn who_does_not_rejoin_within_the_rebalance_timeout_is_out_though_it_sends_heartbeats() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let asked = d.join(join(&members[0].member_id));
    for _ in 0..12 {
        assert!(d.is_waiting(asked));
        d.pass_ms(5_000);
        d.heartbeat(&members[1].member_id, 1);
    }
    let joined = d.joined(asked);
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    assert_eq!(
        d.heartbeat(&members[1].member_id, 1),
        Some(GroupError::UnknownMemberId)
    );
}

#[test]
fn who_does_not_sync_within_the_rebalance_timeout_is_out() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let asked: Vec<_> = members.iter().map(|m| d.join(join(&m.member_id))).collect();
    let joined: Vec<_> = asked.into_iter().map(|id| d.joined(id)).collect();
    let (leader, late) = if joined[0].leader == joined[0].member_id {
        (0, 1)
    } else {
        (1, 0)
    };
    let synced = d.sync(&joined[leader], &[]);
    d.synced(synced);
    for _ in 0..12 {
        d.pass_ms(5_000);
        d.heartbeat(&joined[0].member_id, 2);
        d.heartbeat(&joined[1].member_id, 2);
    }
    assert_eq!(
        d.heartbeat(&joined[late].member_id, 2),
        Some(GroupError::UnknownMemberId)
    );
    assert_eq!(
        d.heartbeat(&joined[leader].member_id, 2),
        Some(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_follower_that_joins_again_with_nothing_new_gets_the_generation_it_is_in() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let follower = members.iter().find(|m| m.leader != m.member_id).unwrap();
    let asked = d.join(join(&follower.member_id));
    assert_eq!(d.joined(asked).generation, 1);
    assert_eq!(d.state(), Some("Stable"));
}

#[test]
fn a_leader_that_joins_again_forces_a_rebalance() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let asked = d.join(join(&members[0].leader));
    assert!(d.is_waiting(asked));
    assert_eq!(d.state(), Some("PreparingRebalance"));
}

#[test]
fn members_in_sync_are_told_to_rejoin_when_somebody_comes() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let asked: Vec<_> = members.iter().map(|m| d.join(join(&m.member_id))).collect();
    let joined: Vec<_> = asked.into_iter().map(|id| d.joined(id)).collect();
    let follower = joined.iter().find(|m| m.leader != m.member_id).unwrap();
    let waits = d.sync(follower, &[]);
    let told = d.join(join(""));
    let newcomer = d.joined(told).member_id;
    d.join(join(&newcomer));
    assert_eq!(d.synced(waits).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn a_protocol_that_not_all_members_have_is_inconsistent() {
    let mut d = Driver::new();
    d.stable_group(1);
    let other = |name: &str| Protocol {
        name: name.into(),
        metadata: Bytes::new(),
    };
    let asked = d.join(JoinGroup {
        protocols: vec![other("sticky")],
        ..join("")
    });
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
    let asked = d.join(JoinGroup {
        protocol_type: "connect".into(),
        ..join("")
    });
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
    let asked = d.join(JoinGroup {
        protocols: Vec::new(),
        ..join("")
    });
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
}

#[test]
fn the_protocol_that_most_prefer_of_those_that_all_have_is_chosen() {
    let mut d = Driver::new();
    let with = |names: &[&str], id: &str| {
        let protocol = |n: &&str| Protocol {
            name: (*n).into(),
            metadata: Bytes::new(),
        };
        JoinGroup {
            protocols: names.iter().map(protocol).collect(),
            protocol_type: "connect".into(),
            requires_known_member_id: false,
            ..join(id)
        }
    };
    let first = d.join(with(&["a", "b"], ""));
    let first = d.joined(first).member_id;
    let second = d.join(with(&["c", "b", "a"], ""));
    let third = d.join(with(&["b", "a"], ""));
    let first = d.join(with(&["a", "b"], &first));
    for id in [first, second, third] {
        assert_eq!(d.joined(id).protocol_name.as_deref(), Some("b"));
    }
}

#[test]
fn session_timeouts_are_bounded_and_a_group_needs_a_name() {
    let mut d = Driver::new();
    for session_timeout_ms in [5_999, 1_800_001] {
        let asked = d.join(JoinGroup {
            session_timeout_ms,
            ..join("")
        });
        assert_eq!(
            d.joined(asked).error,
            Some(GroupError::InvalidSessionTimeout)
        );
    }
    assert_eq!(d.state(), None, "a refused join makes no group");
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut d = Driver::with(GroupSettings {
        classic_members_max: 2,
        initial_rebalance_delay_ms: 0,
        ..GroupSettings::default()
    });
    let members = d.stable_group(2);
    let asked = d.join(join(""));
    let refused = d.joined(asked);
    assert_eq!(
        (refused.error, refused.member_id.as_str()),
        (Some(GroupError::GroupMaxSizeReached), "")
    );
    let asked = d.join(join(&members[1].member_id));
    d.join(join(&members[0].member_id));
    assert_eq!(d.joined(asked).error, None, "who is in it may stay");
}

#[test]
fn a_group_nobody_made_knows_nobody() {
    let mut d = Driver::new();
    assert_eq!(d.heartbeat("m", 1), Some(GroupError::UnknownMemberId));
    let left = d.leave(&[("m", None)]);
    assert_eq!(left.members[0].error, Some(GroupError::UnknownMemberId));
    let asked = d.join(join("m"));
    assert_eq!(d.joined(asked).error, Some(GroupError::UnknownMemberId));
    let Reply::DescribeGroup(reply) = d.call(Command::DescribeGroup) else {
        panic!()
    };
    assert_eq!(
        (reply.error.map(|e| e.code), reply.state.name()),
        (Some(GroupError::GroupIdNotFound), "Dead")
    );
    assert!(d.group.is_disposable());
}

#[test]
fn another_generation_is_illegal() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    assert_eq!(
        d.heartbeat(&member.member_id, 2),
        Some(GroupError::IllegalGeneration)
    );
    let asked = d.sync(
        &JoinReply {
            generation: 7,
            ..member.clone()
        },
        &[],
    );
    assert_eq!(d.synced(asked).error, Some(GroupError::IllegalGeneration));
    let other = JoinReply {
        protocol_name: Some("other".into()),
        ..member
    };
    let asked = d.sync(&other, &[]);
    assert_eq!(
        d.synced(asked).error,
        Some(GroupError::InconsistentGroupProtocol)
    );
}

#[test]
fn many_leave_at_once_each_with_its_own_answer() {
    let mut d = Driver::new();
    let members = d.stable_group(3);
    let left = d.leave(&[
        (&members[0].member_id, None),
        ("nobody", None),
        (&members[1].member_id, None),
    ]);
    let errors: Vec<_> = left.members.iter().map(|m| m.error).collect();
    assert_eq!(errors, [None, Some(GroupError::UnknownMemberId), None]);
    assert_eq!(
        d.heartbeat(&members[2].member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    d.leave(&[(&members[2].member_id, None)]);
    assert_eq!(d.state(), Some("Empty"));
    assert!(d.stored.members.is_empty());
}

#[test]
fn a_static_member_comes_back_to_its_assignment_without_a_rebalance() {
    let mut d = Driver::new();
    let first = d.join(join_static("", "one"));
    let first = d.joined(first);
    let asked = d.sync(&first, &[(&first.member_id, "mine")]);
    d.synced(asked);
    let again = d.join(join_static("", "one"));
    let again = d.joined(again);
    assert_ne!(again.member_id, first.member_id);
    assert_eq!((again.generation, again.skip_assignment), (1, true));
    assert_eq!(again.leader, again.member_id);
    let asked = d.sync(&again, &[]);
    assert_eq!(d.synced(asked).assignment, "mine");
    let stale = Heartbeat {
        member_id: first.member_id,
        instance_id: Some("one".into()),
        generation: 1,
    };
    let Reply::Heartbeat(error) = d.call(Command::Heartbeat(stale)) else {
        panic!()
    };
    assert_eq!(error, Some(GroupError::FencedInstanceId));
}

#[test]
fn an_older_static_leader_is_shown_its_former_id_so_that_it_does_not_assign() {
    let mut d = Driver::new();
    let first = d.join(join_static("", "one"));
    let first = d.joined(first);
    let asked = d.sync(&first, &[]);
    d.synced(asked);
    let again = d.join(JoinGroup {
        supports_skipping_assignment: false,
        ..join_static("", "one")
    });
    let again = d.joined(again);
    assert_eq!(
        (again.leader, again.skip_assignment),
        (first.member_id, false)
    );
}

#[test]
fn a_static_member_that_is_away_keeps_its_place_through_a_rebalance() {
    let mut d = Driver::new();
    let one = d.join(join_static("", "one"));
    let one = d.joined(one);
    let asked = d.sync(&one, &[]);
    d.synced(asked);
    let two = d.join(join_static("", "two"));
    for _ in 0..13 {
        d.pass_ms(5_000);
        let beat = Heartbeat {
            member_id: one.member_id.clone(),
            instance_id: Some("one".into()),
            generation: 1,
        };
        d.call(Command::Heartbeat(beat));
    }
    let two = d.joined(two);
    assert_eq!(
        (two.generation, two.members.len()),
        (2, 2),
        "the away member is part of the assignment"
    );
    assert_eq!(two.leader, two.member_id, "but cannot lead");
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut d = Driver::new();
    let one = d.join(join_static("", "one"));
    d.joined(one);
    let left = d.leave(&[("", Some("one")), ("", Some("two"))]);
    let errors: Vec<_> = left.members.iter().map(|m| m.error).collect();
    assert_eq!(errors, [None, Some(GroupError::UnknownMemberId)]);
}

#[test]
fn two_lives_of_one_instance_that_join_at_once_leave_one() {
    let mut d = Driver::new();
    d.stable_group(1);
    let first = d.join(join_static("", "one"));
    let second = d.join(join_static("", "one"));
    assert_eq!(d.joined(first).error, Some(GroupError::FencedInstanceId));
    assert!(d.is_waiting(second));
}

#[test]
fn a_stable_group_shows_its_members_bytes_and_another_does_not() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let Reply::DescribeGroup(shown) = d.call(Command::DescribeGroup) else {
        panic!()
    };
    assert_eq!(
        (shown.protocol.as_str(), shown.protocol_type.as_str()),
        ("range", "consumer")
    );
    assert_eq!(shown.members[0].metadata, subscription(&["t"]));
    assert_eq!(
        shown.members[0].assignment,
        shown.members[0].member_id.as_bytes()
    );
    assert_eq!(shown.members[0].client.host, "/127.0.0.1");
    d.join(join(&members[0].leader));
    let Reply::DescribeGroup(shown) = d.call(Command::DescribeGroup) else {
        panic!()
    };
    assert_eq!(
        (shown.protocol.as_str(), shown.members[0].metadata.len()),
        ("", 0)
    );
}

#[test]
fn a_take_over_of_a_stable_group_needs_no_rebalance() {
    let mut d = Driver::new();
    let members = d.stable_group(3);
    d.pass_ms(9_000);
    d.take_over();
    d.pass_ms(9_000);
    assert_eq!(d.state(), Some("Stable"));
    for member in &members {
        assert_eq!(d.heartbeat(&member.member_id, 1), None);
        let asked = d.sync(member, &[]);
        assert_eq!(d.synced(asked).assignment, member.member_id.as_bytes());
    }
}

#[test]
fn a_take_over_in_a_rebalance_goes_back_to_the_last_completed_one() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let asked: Vec<_> = members.iter().map(|m| d.join(join(&m.member_id))).collect();
    let joined: Vec<_> = asked.into_iter().map(|id| d.joined(id)).collect();
    d.take_over();
    let asked = d.sync(&joined[0], &[]);
    assert_eq!(d.synced(asked).error, Some(GroupError::IllegalGeneration));
    let leader = members[0].leader.clone();
    let other = members
        .iter()
        .map(|m| m.member_id.clone())
        .find(|id| *id != leader)
        .unwrap();
    // Members were told of the second generation: nobody is told of it again.
    assert_eq!(d.rejoin_all(&[leader, other])[0].generation, 3);
}

#[test]
fn no_answer_leaves_before_what_it_rests_on_is_stored() {
    let mut d = Driver::new();
    let told = d.join(join(""));
    let told = d.joined(told).member_id;
    let asked = d.join(join(&told));
    let joined = d.joined(asked);
    d.stores_at_once = false;
    let synced = d.sync(&joined, &[(&told, "mine")]);
    let beat = d.send(Command::Heartbeat(Heartbeat {
        member_id: told.clone(),
        instance_id: None,
        generation: 1,
    }));
    assert!(d.is_waiting(synced) && d.is_waiting(beat));
    d.store();
    assert_eq!(d.synced(synced).assignment, "mine");
    assert_eq!(d.reply(beat), Reply::Heartbeat(None));
}

#[test]
fn a_coordinator_that_is_fenced_answers_all_that_waits() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    let waits = d.join(join(&members[0].leader));
    d.stores_at_once = false;
    let commit = d.send(Command::OffsetCommit(commit(&members[0].member_id, 1, 5)));
    assert!(d.is_waiting(waits) && d.is_waiting(commit));
    let outputs = d
        .group
        .handle(d.now, Event::Abandon(GroupError::NotCoordinator));
    assert_eq!(outputs.len(), 2);
    assert!(
        outputs
            .iter()
            .all(|o| format!("{o:?}").contains("NotCoordinator"))
    );
    assert!(d.group.is_disposable());
}

#[test]
fn settings_change_while_the_group_lives() {
    let mut d = Driver::new();
    let asked = d.join(JoinGroup {
        session_timeout_ms: 200,
        ..join("")
    });
    assert_eq!(
        d.joined(asked).error,
        Some(GroupError::InvalidSessionTimeout)
    );
    d.set_settings(GroupSettings {
        classic_session_timeout_ms_min: 100,
        ..GroupSettings::default()
    });
    let asked = d.join(JoinGroup {
        session_timeout_ms: 200,
        ..join("")
    });
    assert_eq!(d.joined(asked).error, Some(GroupError::MemberIdRequired));
}

#[test]
fn a_thousand_members_agree_in_one_rebalance() {
    let mut d = Driver::with(GroupSettings::default());
    let old = |id: &str| JoinGroup {
        requires_known_member_id: false,
        ..join(id)
    };
    let asked: Vec<_> = (0..1_000).map(|_| d.join(old(""))).collect();
    d.pass_ms(6_000);
    let joined: Vec<_> = asked.into_iter().map(|id| d.joined(id)).collect();
    assert!(joined.iter().all(|member| member.generation == 1));
    d.assign_names(&joined);
    assert_eq!(d.state(), Some("Stable"));
    assert_eq!(d.stored.members.len(), 1_000);
}

#[test]
fn a_member_that_is_silent_after_a_take_over_is_out_after_a_whole_session() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    d.pass_ms(9_000);
    d.take_over();
    d.pass_ms(6_000);
    assert_eq!(d.heartbeat(&members[0].member_id, 1), None);
    d.pass_ms(6_000);
    assert_eq!(
        d.heartbeat(&members[0].member_id, 1),
        Some(GroupError::RebalanceInProgress)
    );
    assert_eq!(
        d.heartbeat(&members[1].member_id, 1),
        Some(GroupError::UnknownMemberId)
    );
}

#[test]
fn a_static_member_that_comes_back_in_the_sync_phase_begins_a_new_rebalance() {
    let mut d = Driver::new();
    let first = d.join(join_static("", "one"));
    assert_eq!(d.joined(first).generation, 1);
    assert_eq!(d.state(), Some("CompletingRebalance"));
    let again = d.join(join_static("", "one"));
    let again = d.joined(again);
    assert_eq!((again.generation, again.skip_assignment), (2, false));
}

#[test]
fn what_no_store_takes_is_refused_before_it_is_part_of_the_group() {
    let mut d = Driver::new();
    let long = "c".repeat(30_000);
    let asked = d.send_as(&long, Command::JoinGroup(join("")));
    let told = d.joined(asked).member_id;
    assert!(
        told.len() <= 600 && told.starts_with("ccc"),
        "{}",
        told.len()
    );
    let mut huge = join("");
    huge.protocols[0].metadata = vec![0; 2 << 20].into();
    let asked = d.join(huge);
    assert_eq!(d.joined(asked).error, Some(GroupError::UnknownServerError));
    let members = d.stable_group(1);
    let mut sync = sync(&members[0], &[]);
    sync.assignments = vec![(members[0].member_id.clone(), vec![0; 2 << 20].into())];
    let asked = d.send(Command::SyncGroup(sync));
    assert_eq!(d.synced(asked).error, Some(GroupError::UnknownServerError));
    assert_eq!(d.heartbeat(&members[0].member_id, 1), None);
    let refused = d.beat(joining(&"m".repeat(601), &["t"])).unwrap_err();
    assert_eq!(refused.code, GroupError::InvalidRequest);
}
