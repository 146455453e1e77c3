//! Requests of consumer groups as the stories write them, and what a member remembers.
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
        FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};

use super::requests::text;
use crate::oracle::{Begun, Peer};

/// Long enough for nothing to time out within a story.
pub const SESSION_MS: i32 = 30_000;
/// The moment between two members' requests, so that their order is the same at both peers.
const MOMENT: Duration = Duration::from_millis(120);

pub async fn moment() {
    tokio::time::sleep(MOMENT).await;
}

/// A member of a classic group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its connection.
    pub lane: usize,
    pub group: GroupId,
    pub id: StrBytes,
    pub instance: Option<StrBytes>,
    pub generation: i32,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub protocol_type: StrBytes,
    pub protocols: Vec<(&'static str, Bytes)>,
}

/// A member that nobody knows yet.
pub fn member(lane: usize, group: &GroupId) -> Member {
    Member {
        lane,
        group: group.clone(),
        id: text(""),
        instance: None,
        generation: -1,
        session_ms: SESSION_MS,
        rebalance_ms: SESSION_MS,
        protocol_type: text("consumer"),
        protocols: vec![("range", subscription(&[]))],
    }
}

impl Member {
    pub fn instance(mut self, instance: &str) -> Member {
        self.instance = Some(text(instance));
        self
    }
    pub fn protocols(mut self, names: &[&'static str]) -> Member {
        let with_bytes = |name: &&'static str| (*name, subscription_with(&[], name));
        self.protocols = names.iter().map(with_bytes).collect();
        self
    }
    pub fn of_type(mut self, protocol_type: &str) -> Member {
        self.protocol_type = text(protocol_type);
        self
    }
    pub fn times(mut self, session_ms: i32, rebalance_ms: i32) -> Member {
        (self.session_ms, self.rebalance_ms) = (session_ms, rebalance_ms);
        self
    }

    pub fn join(&self, version: i16) -> JoinGroupRequest {
        let protocol = |(name, metadata): &(&str, Bytes)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(metadata.clone())
        };
        let request = JoinGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_session_timeout_ms(self.session_ms)
            .with_member_id(self.id.clone())
            .with_protocol_type(self.protocol_type.clone())
            .with_protocols(self.protocols.iter().map(protocol).collect());
        let request = match version {
            0 => request,
            _ => request.with_rebalance_timeout_ms(self.rebalance_ms),
        };
        match version {
            ..5 => request,
            _ => request.with_group_instance_id(self.instance.clone()),
        }
    }

    /// `assigned`: what the leader gives to whom.
    pub fn sync(&self, version: i16, assigned: &[(&StrBytes, &'static str)]) -> SyncGroupRequest {
        let assignment = |(id, bytes): &(&StrBytes, &'static str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id((*id).clone())
                .with_assignment(Bytes::from_static(bytes.as_bytes()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(assigned.iter().map(assignment).collect());
        let request = match version {
            ..3 => request,
            _ => request.with_group_instance_id(self.instance.clone()),
        };
        let name = self.protocols.first().map(|(name, _)| text(name));
        match version {
            ..5 => request,
            _ => request
                .with_protocol_type(Some(self.protocol_type.clone()))
                .with_protocol_name(name),
        }
    }

    pub fn heartbeat(&self, version: i16) -> HeartbeatRequest {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        match version {
            ..3 => request,
            _ => request.with_group_instance_id(self.instance.clone()),
        }
    }

    pub fn leave(&self, version: i16) -> LeaveGroupRequest {
        let request = LeaveGroupRequest::default().with_group_id(self.group.clone());
        match version {
            ..3 => request.with_member_id(self.id.clone()),
            _ => request.with_members(vec![
                MemberIdentity::default()
                    .with_member_id(self.id.clone())
                    .with_group_instance_id(self.instance.clone()),
            ]),
        }
    }

    /// Takes over what the group has told.
    pub fn learn(&mut self, answer: &JoinGroupResponse) {
        self.id = answer.member_id.clone();
        self.generation = answer.generation_id;
    }
}

/// Begins a join on the member's own connection, and gives it a moment to arrive.
pub async fn begin_join(
    peer: &mut Peer,
    version: i16,
    member: &Member,
) -> Result<Begun<JoinGroupRequest>> {
    let begun = peer
        .begin(member.lane, version, &member.join(version))
        .await?;
    moment().await;
    Ok(begun)
}

/// Ends a join; the member remembers who it is.
pub async fn end_join(
    peer: &mut Peer,
    what: &str,
    begun: Begun<JoinGroupRequest>,
    member: &mut Member,
) -> Result<JoinGroupResponse> {
    let answer = peer.end(what, begun).await?;
    member.learn(&answer);
    Ok(answer)
}

/// A member learns its id without having joined (KIP-394), so that the story knows all ids before they meet.
pub async fn introduce(peer: &mut Peer, what: &str, member: &mut Member) -> Result<()> {
    let begun = peer.begin(member.lane, 5, &member.join(5)).await?;
    let answer = peer
        .end(&format!("{what} introduces itself"), begun)
        .await?;
    member.id = answer.member_id;
    Ok(())
}

/// All join, in this order; the answers are written down from the last to the first, the leader's at the end.
pub async fn rebalance(
    peer: &mut Peer,
    what: &str,
    version: i16,
    members: &mut [&mut Member],
) -> Result<()> {
    let mut joins = Vec::new();
    for member in members.iter() {
        joins.push(begin_join(peer, version, member).await?);
    }
    for (at, (join, member)) in joins.into_iter().zip(members).enumerate().rev() {
        end_join(peer, &format!("{what}, member {at}"), join, member).await?;
    }
    Ok(())
}

/// Members of a new group: the first comes alone and leads; the others come, and the first joins again with them.
pub async fn meet(
    peer: &mut Peer,
    what: &str,
    first: &mut Member,
    others: &mut [&mut Member],
) -> Result<()> {
    let alone = begin_join(peer, 9, first).await?;
    end_join(peer, &format!("{what}: the first alone"), alone, first).await?;
    let mut all = vec![first];
    all.extend(others.iter_mut().map(|other| &mut **other));
    // The first joins last: it is in already, and the others start the rebalance.
    all.rotate_left(1);
    rebalance(peer, what, 9, &mut all).await
}

/// A member's request that is answered at once.
pub async fn sync(
    peer: &mut Peer,
    what: &str,
    version: i16,
    member: &Member,
    assigned: &[(&StrBytes, &'static str)],
) -> Result<()> {
    let begun = peer
        .begin(member.lane, version, &member.sync(version, assigned))
        .await?;
    peer.end(what, begun).await.map(drop)
}

/// The subscription of a consumer, as consumers write it (version 1).
pub fn subscription(topics: &[&TopicName]) -> Bytes {
    subscription_with(topics, "")
}

fn subscription_with(topics: &[&TopicName], user_data: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(user_data.len() as i32);
    out.put_slice(user_data.as_bytes());
    out.put_i32(0);
    out.freeze()
}

pub fn find(version: i16, key_type: i8, keys: &[&StrBytes]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default();
    let request = match version {
        ..4 => request.with_key(keys.first().map(|k| (*k).clone()).unwrap_or_default()),
        _ => request.with_coordinator_keys(keys.iter().map(|k| (*k).clone()).collect()),
    };
    match version {
        0 => request,
        _ => request.with_key_type(key_type),
    }
}

/// A group id that only this story uses, once its coordinator is there.
pub async fn group(peer: &mut Peer, name: &str) -> Result<GroupId> {
    let group = GroupId(peer.name(name).0);
    for _ in 0..400 {
        let found = peer.quietly(3, &find(3, 0, &[&group.0])).await?;
        if found.error_code == 0 {
            let fetched = peer.quietly(7, &fetch(7, &group, None)).await?;
            if fetched.error_code == 0 {
                // Coordinators hear of new topics a little later than others.
                moment().await;
                return Ok(group);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the coordinator of {} was not there within 20 s", group.0)
}

pub fn describe(version: i16, groups: &[&GroupId]) -> DescribeGroupsRequest {
    let request =
        DescribeGroupsRequest::default().with_groups(groups.iter().map(|g| (*g).clone()).collect());
    match version {
        ..3 => request,
        _ => request.with_include_authorized_operations(true),
    }
}

/// Partition, offset, leader epoch, metadata.
pub type Commit = (i32, i64, i32, Option<&'static str>);

/// A commit by nobody in particular.
pub fn commit(
    version: i16,
    group: &GroupId,
    topic: &TopicName,
    parts: &[Commit],
) -> OffsetCommitRequest {
    let part = |&(index, offset, epoch, metadata): &Commit| {
        let part = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(metadata.map(text));
        match version {
            ..6 => part,
            _ => part.with_committed_leader_epoch(epoch),
        }
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(parts.iter().map(part).collect());
    OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_topics(vec![topic])
}

/// Topics and partitions whose offsets are asked for; `None`: all of them.
pub type Asked<'a> = Option<&'a [(&'a TopicName, &'a [i32])]>;

pub fn fetch(version: i16, group: &GroupId, asked: Asked) -> OffsetFetchRequest {
    if version >= 8 {
        return OffsetFetchRequest::default().with_groups(vec![fetch_of(group, asked)]);
    }
    let topic = |(name, partitions): &(&TopicName, &[i32])| {
        OffsetFetchRequestTopic::default()
            .with_name((*name).clone())
            .with_partition_indexes(partitions.to_vec())
    };
    OffsetFetchRequest::default()
        .with_group_id(group.clone())
        .with_topics(asked.map(|topics| topics.iter().map(topic).collect()))
}

/// One group of a batched OffsetFetch.
pub fn fetch_of(group: &GroupId, asked: Asked) -> OffsetFetchRequestGroup {
    let topic = |(name, partitions): &(&TopicName, &[i32])| {
        OffsetFetchRequestTopics::default()
            .with_name((*name).clone())
            .with_partition_indexes(partitions.to_vec())
    };
    OffsetFetchRequestGroup::default()
        .with_group_id(group.clone())
        .with_topics(asked.map(|topics| topics.iter().map(topic).collect()))
}

/// A member of a group of KIP-848, about to join.
pub fn beat(group: &GroupId, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

/// The first heartbeat of a member.
pub fn join_beat(
    group: &GroupId,
    member: &str,
    topics: &[&TopicName],
) -> ConsumerGroupHeartbeatRequest {
    beat(group, member, 0)
        .with_rebalance_timeout_ms(SESSION_MS)
        .with_subscribed_topic_names(Some(topics.iter().map(|t| (*t).clone()).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

pub fn describe_consumer(groups: &[&GroupId]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default()
        .with_group_ids(groups.iter().map(|g| (*g).clone()).collect())
        .with_include_authorized_operations(true)
}
