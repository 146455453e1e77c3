//! What a door may ask of a group: plain data, one type for each Kafka request, with all fields that the group needs.
use std::collections::BTreeMap;

use bytes::Bytes;
use sh_base::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId,
    limits::{MEMBER_BYTES_MAX, MEMBER_ID_BYTES_MAX},
};

use crate::{error::GroupError, offsets::StoredOffset};

/// Names a request between a caller and a group; unique among the caller's unanswered requests.
pub type RequestId = u64;
/// Partitions of topics by id, as KIP-848 speaks of them.
pub type TopicPartitions = BTreeMap<TopicId, Vec<PartitionIndex>>;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The request header's client id.
    pub id: String,
    /// The peer's address as Kafka prints it (`/127.0.0.1`).
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    JoinGroup(JoinGroup),
    SyncGroup(SyncGroup),
    Heartbeat(Heartbeat),
    LeaveGroup(LeaveGroup),
    /// DescribeGroups, for this group.
    DescribeGroup,
    OffsetCommit(OffsetCommit),
    OffsetFetch(OffsetFetch),
    OffsetDelete(OffsetDelete),
    /// DeleteGroups, for this group.
    DeleteGroup,
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeat),
    /// ConsumerGroupDescribe, for this group.
    ConsumerGroupDescribe,
    /// A leased job's request to drop what is too old; not a Kafka request.
    ExpireOffsets(ExpireOffsets),
}

impl Command {
    /// What of it cannot be stored: an id too long to be part of a key, or more than one member may have.
    ///
    /// Without these bounds one request could keep the changes of its group, and of all groups beside it, from the store.
    pub(crate) fn too_large(&self) -> Option<GroupError> {
        let long = |id: &str| id.len() > MEMBER_ID_BYTES_MAX;
        let stored = match self {
            Command::JoinGroup(join) => {
                let bytes = |p: &Protocol| p.name.len() + p.metadata.len();
                join.protocols.iter().map(bytes).sum::<usize>() + length(&join.instance_id)
            }
            Command::SyncGroup(sync) => {
                let largest = sync.assignments.iter().map(|(_, bytes)| bytes.len()).max();
                largest.unwrap_or(0)
            }
            Command::ConsumerGroupHeartbeat(beat) if long(&beat.member_id) => {
                return Some(GroupError::InvalidRequest);
            }
            Command::ConsumerGroupHeartbeat(beat) => {
                let names = beat.subscribed_topic_names.iter().flatten();
                let texts = [
                    &beat.instance_id,
                    &beat.rack_id,
                    &beat.subscribed_topic_regex,
                ];
                names.map(String::len).sum::<usize>() + texts.into_iter().map(length).sum::<usize>()
            }
            _ => 0,
        };
        (stored > MEMBER_BYTES_MAX).then_some(GroupError::UnknownServerError)
    }
}

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

/// A way in which the member could work, in its order of preference, with bytes that only the members understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// JoinGroup 0-9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// Empty: a new member.
    pub member_id: String,
    /// KIP-345 (version 5 on).
    pub instance_id: Option<String>,
    /// "consumer", "connect", ...
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    pub session_timeout_ms: i32,
    /// Version 0 has none: the session timeout then.
    pub rebalance_timeout_ms: i32,
    /// Version 4 on (KIP-394): a new dynamic member is told its id first.
    pub requires_known_member_id: bool,
    /// Version 9 on (KIP-814): a static leader that came back may be told to skip the assignment.
    pub supports_skipping_assignment: bool,
}

/// SyncGroup 0-5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
    /// Version 5 on (KIP-559).
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// From the leader only; member id to what is assigned. May be empty.
    pub assignments: Vec<(String, Bytes)>,
}

/// Heartbeat 0-4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
}

/// LeaveGroup 0-5; versions before 3 name one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    pub members: Vec<LeavingMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty with an instance id: an administrator removes the static member.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// KIP-800; for the log only.
    pub reason: Option<String>,
}

/// OffsetCommit 2-9, and TxnOffsetCommit 0-5 when there is a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Empty for a consumer that manages its partitions itself.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// -1 for a consumer that manages its partitions itself.
    pub generation_or_epoch: i32,
    /// Versions 2 to 4; `None` otherwise (the wire's -1).
    pub retention_ms: Option<i64>,
    /// OffsetCommit 9 on: the codes of KIP-848 may be answered.
    pub knows_member_epochs: bool,
    pub transaction: Option<Transaction>,
    pub topics: Vec<CommitTopic>,
}

/// The open transaction that a commit is part of. Whoever stores the commit checks it against the transaction's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// TxnOffsetCommit 5 on (KIP-890): the commit itself adds the group to the transaction. Else AddOffsetsToTxn has.
    pub adds_group: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    pub topic: String,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    pub partition: PartitionIndex,
    pub offset: Offset,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// OffsetFetch 1-9: may this be read? Member id and epoch from version 9 on (KIP-848); else `None` and -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetch {
    pub member_id: Option<String>,
    pub member_epoch: i32,
}

/// OffsetDelete 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDelete {
    pub topics: Vec<(String, Vec<PartitionIndex>)>,
}

/// ConsumerGroupHeartbeat 0-1 (KIP-848). `None` says: as before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeat {
    /// Chosen by the member (version 1 on), or empty with version 0.
    pub member_id: String,
    /// 0: join. -1: leave. -2: a static member leaves and will come back.
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    /// -1: as before.
    pub rebalance_timeout_ms: i32,
    pub subscribed_topic_names: Option<Vec<String>>,
    /// Version 1 on; empty removes it.
    pub subscribed_topic_regex: Option<String>,
    pub server_assignor: Option<String>,
    /// What the member owns at this moment.
    pub topic_partitions: Option<TopicPartitions>,
    /// Version 1 on: the member id is required.
    pub member_chooses_id: bool,
}

/// The offsets of this group that a job has read after it had seen [`crate::Group::durable_version`] `as_of`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpireOffsets {
    pub as_of: u64,
    /// All of the group's; if some were left out the group could be taken for empty.
    pub offsets: Vec<StoredOffset>,
}
