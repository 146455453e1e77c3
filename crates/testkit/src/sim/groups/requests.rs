//! Requests of members in short words.
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
        GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, MetadataRequest,
        OffsetCommitRequest, SyncGroupRequest,
        consumer_group_heartbeat_request::TopicPartitions,
        consumer_protocol_assignment::TopicPartition,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        metadata_request::MetadataRequestTopic,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use sh_client::Connection;
use uuid::Uuid;

use crate::sim::{client::topic_name, world::TOPIC};

/// Milliseconds.
pub const SESSION: i32 = 6_000;
pub const REBALANCE: i32 = 6_000;
/// How long a member waits for an answer: JoinGroup waits for the others.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// The version of the consumer protocol's own messages; the number stands in front of them.
const EMBEDDED: i16 = 1;

/// Who speaks: a member in its generation, or member epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub group: String,
    pub member: String,
    pub generation: i32,
}

impl Identity {
    fn group(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.group.clone()))
    }
    fn member(&self) -> StrBytes {
        StrBytes::from_string(self.member.clone())
    }
}

fn embedded(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::from(&EMBEDDED.to_be_bytes()[..]);
    // A few small fields always fit.
    let _ = message.encode(&mut bytes, EMBEDDED);
    bytes.freeze()
}

pub fn join(who: &Identity) -> JoinGroupRequest {
    let subscription =
        ConsumerProtocolSubscription::default().with_topics(vec![StrBytes::from_static_str(TOPIC)]);
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(embedded(&subscription));
    JoinGroupRequest::default()
        .with_group_id(who.group())
        .with_session_timeout_ms(SESSION)
        .with_rebalance_timeout_ms(REBALANCE)
        .with_member_id(who.member())
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}

/// `shares`: what the leader gives to each.
pub fn sync(who: &Identity, shares: Vec<(String, BTreeSet<i32>)>) -> SyncGroupRequest {
    let assignment = |(member, partitions): (String, BTreeSet<i32>)| {
        let topic = TopicPartition::default()
            .with_topic(topic_name())
            .with_partitions(partitions.into_iter().collect());
        let assignment =
            ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]);
        SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::from_string(member))
            .with_assignment(embedded(&assignment))
    };
    SyncGroupRequest::default()
        .with_group_id(who.group())
        .with_generation_id(who.generation)
        .with_member_id(who.member())
        .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
        .with_protocol_name(Some(StrBytes::from_static_str("range")))
        .with_assignments(shares.into_iter().map(assignment).collect())
}

/// The partitions of an assignment; none where there are no bytes.
pub fn assigned(mut bytes: Bytes) -> Option<BTreeSet<i32>> {
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    let version = i16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let _ = bytes.split_to(2);
    let assignment = ConsumerProtocolAssignment::decode(&mut bytes, version).ok()?;
    let topics = assignment.assigned_partitions.into_iter();
    Some(topics.flat_map(|topic| topic.partitions).collect())
}

pub fn heartbeat(who: &Identity) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(who.group())
        .with_generation_id(who.generation)
        .with_member_id(who.member())
}

pub fn leave(who: &Identity) -> LeaveGroupRequest {
    let member = MemberIdentity::default().with_member_id(who.member());
    LeaveGroupRequest::default()
        .with_group_id(who.group())
        .with_members(vec![member])
}

/// ConsumerGroupHeartbeat with all that the server may want to know.
pub fn consumer_heartbeat(
    who: &Identity,
    topic: Uuid,
    owned: &BTreeSet<i32>,
) -> ConsumerGroupHeartbeatRequest {
    let owned = match owned.is_empty() {
        true => vec![],
        false => vec![
            TopicPartitions::default()
                .with_topic_id(topic)
                .with_partitions(owned.iter().copied().collect()),
        ],
    };
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(who.group())
        .with_member_id(who.member())
        .with_member_epoch(who.generation)
        .with_rebalance_timeout_ms(REBALANCE)
        .with_subscribed_topic_names(Some(vec![topic_name()]))
        .with_topic_partitions(Some(owned))
}

pub fn commit(who: &Identity, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(who.group())
        .with_generation_id_or_member_epoch(who.generation)
        .with_member_id(who.member())
        .with_topics(vec![topic])
}

/// The id of the world's topic.
pub async fn topic_id(connection: &Connection) -> Option<Uuid> {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    let answer = connection.call(&request, 12).await.ok()?;
    let topic = answer.topics.first().filter(|t| t.error_code == 0)?;
    Some(topic.topic_id)
}
