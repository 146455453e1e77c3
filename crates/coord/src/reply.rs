//! What a group answers: plain data, one type for each Kafka response.
use bytes::Bytes;
use sh_base::{PartitionIndex, TopicId};

use crate::{
    command::{Client, Command, LeaveGroup, LeavingMember, TopicPartitions},
    error::{GroupError, Refusal},
    offsets,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    JoinGroup(JoinReply),
    SyncGroup(SyncReply),
    Heartbeat(Option<GroupError>),
    LeaveGroup(LeaveReply),
    DescribeGroup(DescribeReply),
    OffsetCommit(OffsetsReply),
    /// `None`: read the offsets now; every commit that was answered or is older than this answer is in the store.
    OffsetFetch(Option<GroupError>),
    OffsetDelete(OffsetsReply),
    DeleteGroup(Option<GroupError>),
    ConsumerGroupHeartbeat(Result<HeartbeatReply, Refusal>),
    ConsumerGroupDescribe(Result<ConsumerDescription, Refusal>),
    ExpireOffsets(ExpireReply),
}

impl Reply {
    /// The answer to a request that no group was asked about.
    pub fn refused(command: &Command, code: GroupError) -> Reply {
        match command {
            Command::JoinGroup(join) => Reply::JoinGroup(JoinReply::refused(&join.member_id, code)),
            Command::SyncGroup(_) => Reply::SyncGroup(SyncReply::refused(code)),
            Command::Heartbeat(_) => Reply::Heartbeat(Some(code)),
            Command::LeaveGroup(_) => Reply::LeaveGroup(LeaveReply::refused(code)),
            Command::DescribeGroup => Reply::DescribeGroup(DescribeReply::refused(code)),
            Command::OffsetCommit(commit) => Reply::OffsetCommit(offsets::refuse(commit, code)),
            Command::OffsetFetch(_) => Reply::OffsetFetch(Some(code)),
            Command::OffsetDelete(_) => Reply::OffsetDelete(OffsetsReply {
                error: Some(code),
                topics: Vec::new(),
            }),
            Command::DeleteGroup => Reply::DeleteGroup(Some(code)),
            Command::ConsumerGroupHeartbeat(_) => Reply::ConsumerGroupHeartbeat(Err(code.into())),
            Command::ConsumerGroupDescribe => Reply::ConsumerGroupDescribe(Err(code.into())),
            Command::ExpireOffsets(_) => Reply::ExpireOffsets(ExpireReply::default()),
        }
    }

    /// Whether it tells of committed offsets, and so rests on all that was committed before.
    pub(crate) fn is_about_offsets(&self) -> bool {
        match self {
            Reply::OffsetCommit(_)
            | Reply::OffsetFetch(_)
            | Reply::OffsetDelete(_)
            | Reply::DeleteGroup(_)
            | Reply::ExpireOffsets(_) => true,
            Reply::JoinGroup(_)
            | Reply::SyncGroup(_)
            | Reply::Heartbeat(_)
            | Reply::LeaveGroup(_)
            | Reply::DescribeGroup(_)
            | Reply::ConsumerGroupHeartbeat(_)
            | Reply::ConsumerGroupDescribe(_) => false,
        }
    }

    /// Turns an answer that was decided, but could not be made durable, into a refusal.
    pub(crate) fn refuse(&mut self, code: GroupError) {
        match self {
            Reply::JoinGroup(reply) => *reply = JoinReply::refused(&reply.member_id, code),
            Reply::SyncGroup(reply) => *reply = SyncReply::refused(code),
            Reply::Heartbeat(error) | Reply::OffsetFetch(error) | Reply::DeleteGroup(error) => {
                *error = Some(code)
            }
            Reply::LeaveGroup(reply) => *reply = LeaveReply::refused(code),
            Reply::DescribeGroup(reply) => reply.error = Some(code.into()),
            Reply::OffsetCommit(reply) | Reply::OffsetDelete(reply) => reply.refuse(code),
            Reply::ConsumerGroupHeartbeat(reply) => *reply = Err(code.into()),
            Reply::ConsumerGroupDescribe(reply) => *reply = Err(code.into()),
            Reply::ExpireOffsets(reply) => *reply = ExpireReply::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply {
    pub error: Option<GroupError>,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// Empty with an error.
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// For the leader only.
    pub members: Vec<JoinMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Of the protocol that was chosen.
    pub metadata: Bytes,
}

impl JoinReply {
    pub(crate) fn refused(member_id: &str, error: GroupError) -> Self {
        JoinReply {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    pub error: Option<GroupError>,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

impl SyncReply {
    pub(crate) fn refused(error: GroupError) -> Self {
        SyncReply {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveReply {
    /// About the request as a whole.
    pub error: Option<GroupError>,
    pub members: Vec<LeftMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub error: Option<GroupError>,
}

impl LeaveReply {
    /// What a group that does not exist says to each member.
    pub(crate) fn unknown(leave: LeaveGroup) -> Self {
        let unknown = |member: LeavingMember| LeftMember {
            member_id: member.member_id,
            instance_id: member.instance_id,
            error: Some(GroupError::UnknownMemberId),
        };
        LeaveReply {
            error: None,
            members: leave.members.into_iter().map(unknown).collect(),
        }
    }
    pub(crate) fn refused(error: GroupError) -> Self {
        LeaveReply {
            error: Some(error),
            members: Vec::new(),
        }
    }
}

/// A group's state by Kafka's names, of both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
    Empty,
    /// KIP-848: the target assignment is older than the group epoch.
    Assigning,
    /// KIP-848: some member has not reached its target.
    Reconciling,
}

impl GroupState {
    /// As Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
            GroupState::Empty => "Empty",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
        }
    }
}

/// What ListGroups shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub group_id: String,
    /// Empty for a group that only holds offsets.
    pub protocol_type: String,
    pub state: GroupState,
    /// "classic" or "consumer".
    pub group_type: &'static str,
}

/// DescribeGroups. A group that does not exist is `Dead`, with `GroupIdNotFound` (versions before 6 leave the error out).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeReply {
    pub error: Option<Refusal>,
    pub state: GroupState,
    pub protocol_type: String,
    /// The chosen protocol, of a stable group; else empty.
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

impl DescribeReply {
    fn refused(error: GroupError) -> Self {
        DescribeReply {
            error: Some(error.into()),
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client: Client,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// One topic's partitions, each with what it was refused for.
pub type PartitionCodes = (String, Vec<(PartitionIndex, Option<GroupError>)>);

/// A code for each partition that was named. A refused commit has the code at each; a refused deletion has no topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetsReply {
    /// About the request as a whole (only OffsetDelete's response has a place for it).
    pub error: Option<GroupError>,
    pub topics: Vec<PartitionCodes>,
}

impl OffsetsReply {
    pub(crate) fn refuse(&mut self, code: GroupError) {
        self.error = Some(code);
        let partitions = self
            .topics
            .iter_mut()
            .flat_map(|(_, partitions)| partitions);
        partitions.for_each(|(_, error)| *error = Some(code));
    }
}

/// ConsumerGroupHeartbeat's response without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    pub member_id: String,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as before.
    pub assignment: Option<TopicPartitions>,
}

/// ConsumerGroupDescribe's response without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: GroupState,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<ConsumerMemberDescription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client: Client,
    pub subscribed_topic_names: Vec<String>,
    /// Empty: none.
    pub subscribed_topic_regex: String,
    /// Topics that no longer exist are left out.
    pub assignment: Vec<DescribedTopic>,
    pub target_assignment: Vec<DescribedTopic>,
    /// -1 unknown, 0 classic, 1 consumer.
    pub member_type: i8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    pub id: TopicId,
    pub name: String,
    pub partitions: Vec<PartitionIndex>,
}

/// What an expiry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireReply {
    pub offsets_deleted: usize,
    pub group_deleted: bool,
}
