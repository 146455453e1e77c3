//! Commits, their expiry, and the deletion of offsets and groups.
use sh_base::{ProducerEpoch, ProducerId};
use sh_coord::{command::*, offsets::StoredOffset, reply::*, *};

use crate::driver::*;

const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;

fn code(reply: &OffsetsReply) -> Option<GroupError> {
    reply.topics[0].1[0].1
}

fn delete(topic: &str) -> Command {
    Command::OffsetDelete(OffsetDelete {
        topics: vec![(topic.into(), vec![0])],
    })
}

fn expire(d: &mut Driver) -> ExpireReply {
    let offsets = d
        .offsets
        .iter()
        .map(|((topic, partition), row)| StoredOffset {
            topic_id: topic_id(topic),
            topic: topic.clone(),
            partition: *partition,
            row: row.clone(),
            in_transaction: false,
        });
    let expire = ExpireOffsets {
        as_of: d.group.durable_version(),
        offsets: offsets.collect(),
    };
    let Reply::ExpireOffsets(reply) = d.call(Command::ExpireOffsets(expire)) else {
        panic!()
    };
    reply
}

#[test]
fn a_consumer_that_works_alone_makes_a_group_of_its_offsets() {
    let mut d = Driver::new();
    assert_eq!(code(&d.commit(commit("", -1, 7))), None);
    assert_eq!(d.offsets[&("t".to_owned(), 0)].offset, 7);
    let listing = d.group.listing().unwrap();
    assert_eq!(
        (listing.state, listing.protocol_type.as_str()),
        (GroupState::Empty, "")
    );
    assert!(d.stored.group.is_some());
}

#[test]
fn a_commit_of_a_generation_that_never_was_is_refused() {
    let mut d = Driver::new();
    assert_eq!(
        code(&d.commit(commit("m", 3, 7))),
        Some(GroupError::GroupIdNotFound)
    );
    let older = OffsetCommit {
        knows_member_epochs: false,
        ..commit("m", 3, 7)
    };
    assert_eq!(code(&d.commit(older)), Some(GroupError::IllegalGeneration));
    assert_eq!(d.state(), None);
}

#[test]
fn every_commit_is_checked_for_member_and_generation() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    assert_eq!(code(&d.commit(commit(&member.member_id, 1, 7))), None);
    assert_eq!(
        code(&d.commit(commit(&member.member_id, 2, 7))),
        Some(GroupError::IllegalGeneration)
    );
    assert_eq!(
        code(&d.commit(commit("other", 1, 7))),
        Some(GroupError::UnknownMemberId)
    );
    assert_eq!(
        code(&d.commit(commit("", -1, 7))),
        Some(GroupError::UnknownMemberId)
    );
    let fenced = OffsetCommit {
        instance_id: Some("one".into()),
        ..commit(&member.member_id, 1, 7)
    };
    assert_eq!(code(&d.commit(fenced)), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_commit_between_join_and_sync_is_told_of_the_rebalance() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    let asked = d.join(join(&member.member_id));
    assert_eq!(d.joined(asked).generation, 2);
    assert_eq!(
        code(&d.commit(commit(&member.member_id, 2, 7))),
        Some(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_commit_while_the_others_join_still_counts() {
    let mut d = Driver::new();
    let members = d.stable_group(2);
    d.join(join(&members[0].leader));
    let follower = members.iter().find(|m| m.member_id != m.leader).unwrap();
    assert_eq!(code(&d.commit(commit(&follower.member_id, 1, 9))), None);
    assert_eq!(d.offsets[&("t".to_owned(), 0)].offset, 9);
}

#[test]
fn metadata_that_is_too_long_refuses_its_partition_only() {
    let mut d = Driver::new();
    let mut commit = commit("", -1, 7);
    let long = CommitPartition {
        partition: 1,
        metadata: "x".repeat(4_097),
        ..commit.topics[0].partitions[0].clone()
    };
    commit.topics[0].partitions.push(long);
    let reply = d.commit(commit);
    assert_eq!(
        reply.topics[0].1,
        [(0, None), (1, Some(GroupError::OffsetMetadataTooLarge))]
    );
    assert_eq!(d.offsets.len(), 1);
}

#[test]
fn commits_are_stored_in_their_order_and_many_in_one_change() {
    let mut d = Driver::new();
    d.commit(commit("", -1, 1));
    d.stores_at_once = false;
    let before = d.persists;
    let asked: Vec<_> = (2..50)
        .map(|n| d.send(Command::OffsetCommit(commit("", -1, n))))
        .collect();
    d.store();
    d.store();
    assert_eq!(d.persists - before, 2);
    assert_eq!(d.offsets[&("t".to_owned(), 0)].offset, 49);
    assert!(asked.into_iter().all(|id| !d.is_waiting(id)));
}

#[test]
fn a_fetch_is_answered_after_the_commits_before_it() {
    let mut d = Driver::new();
    d.stores_at_once = false;
    d.send(Command::OffsetCommit(commit("", -1, 1)));
    let fetch = d.send(Command::OffsetFetch(OffsetFetch {
        member_id: None,
        member_epoch: -1,
    }));
    assert!(d.is_waiting(fetch));
    d.store();
    assert_eq!(d.reply(fetch), Reply::OffsetFetch(None));
}

#[test]
fn a_commit_that_its_transaction_refuses_is_refused_alone() {
    let mut d = Driver::new();
    d.commit(commit("", -1, 1));
    d.stores_at_once = false;
    let transaction = Transaction {
        transactional_id: "tx".into(),
        producer_id: ProducerId(1),
        producer_epoch: 0 as ProducerEpoch,
        adds_group: false,
    };
    let bad = d.send(Command::OffsetCommit(OffsetCommit {
        transaction: Some(transaction),
        ..commit("", -1, 2)
    }));
    let version = d.outgoing.take().unwrap().version;
    let refused = vec![(bad, GroupError::InvalidProducerEpoch)];
    let outputs = d.group.handle(d.now, Event::Persisted { version, refused });
    let [Output::Reply(id, Reply::OffsetCommit(reply))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        (*id, code(reply)),
        (bad, Some(GroupError::InvalidProducerEpoch))
    );
}

#[test]
fn offsets_of_a_topic_that_is_read_cannot_be_deleted() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    d.commit(commit(&member.member_id, 1, 7));
    let Reply::OffsetDelete(reply) = d.call(delete("t")) else {
        panic!()
    };
    assert_eq!(code(&reply), Some(GroupError::GroupSubscribedToTopic));
    let Reply::OffsetDelete(reply) = d.call(delete("other")) else {
        panic!()
    };
    assert_eq!(code(&reply), None);
    d.leave(&[(&member.member_id, None)]);
    let Reply::OffsetDelete(reply) = d.call(delete("t")) else {
        panic!()
    };
    assert_eq!(code(&reply), None);
    assert!(d.offsets.is_empty());
}

#[test]
fn offsets_of_a_living_group_that_is_no_consumers_cannot_be_deleted() {
    let mut d = Driver::new();
    let asked = d.join(JoinGroup {
        protocol_type: "connect".into(),
        requires_known_member_id: false,
        ..join("")
    });
    d.joined(asked);
    let Reply::OffsetDelete(reply) = d.call(delete("t")) else {
        panic!()
    };
    assert_eq!(reply.error, Some(GroupError::NonEmptyGroup));
}

#[test]
fn only_an_empty_group_can_be_deleted_and_it_takes_its_offsets_along() {
    let mut d = Driver::new();
    assert_eq!(
        d.call(Command::DeleteGroup),
        Reply::DeleteGroup(Some(GroupError::GroupIdNotFound))
    );
    let member = d.stable_group(1).remove(0);
    d.commit(commit(&member.member_id, 1, 7));
    assert_eq!(
        d.call(Command::DeleteGroup),
        Reply::DeleteGroup(Some(GroupError::NonEmptyGroup))
    );
    d.leave(&[(&member.member_id, None)]);
    assert_eq!(d.call(Command::DeleteGroup), Reply::DeleteGroup(None));
    assert_eq!(d.stored, Snapshot::default());
    assert!(d.offsets.is_empty() && d.group.is_disposable());
}

#[test]
fn offsets_stay_while_the_group_lives_and_a_week_longer() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    d.commit(commit(&member.member_id, 1, 7));
    d.now.wall_ms += 2 * WEEK_MS as i64;
    assert_eq!(expire(&mut d), ExpireReply::default());
    d.leave(&[(&member.member_id, None)]);
    d.pass_ms(WEEK_MS - 1_000);
    assert_eq!(expire(&mut d), ExpireReply::default());
    d.pass_ms(1_000);
    assert_eq!(
        expire(&mut d),
        ExpireReply {
            offsets_deleted: 1,
            group_deleted: true
        }
    );
    assert!(d.offsets.is_empty() && d.stored.group.is_none());
}

#[test]
fn offsets_of_a_topic_that_is_not_read_any_more_expire_while_the_group_lives() {
    let mut d = Driver::new();
    let member = d.stable_group(1).remove(0);
    let mut other = commit(&member.member_id, 1, 7);
    other.topics[0].topic = "old".into();
    d.commit(other);
    d.commit(commit(&member.member_id, 1, 7));
    d.now.wall_ms += WEEK_MS as i64;
    assert_eq!(
        expire(&mut d),
        ExpireReply {
            offsets_deleted: 1,
            group_deleted: false
        }
    );
    assert!(d.offsets.contains_key(&("t".to_owned(), 0)));
}

#[test]
fn an_expiry_that_has_read_before_a_commit_does_nothing() {
    let mut d = Driver::new();
    d.commit(commit("", -1, 7));
    let as_of = d.group.durable_version();
    d.pass_ms(WEEK_MS);
    d.commit(commit("", -1, 8));
    let offsets = Vec::new();
    let reply = d.call(Command::ExpireOffsets(ExpireOffsets { as_of, offsets }));
    assert_eq!(reply, Reply::ExpireOffsets(ExpireReply::default()));
    assert!(d.stored.group.is_some());
}
