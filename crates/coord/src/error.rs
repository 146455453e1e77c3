//! What a group can answer instead of what was asked for, by Kafka's names.
use std::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// An error code of the group protocols. The names are those of Kafka's error table; a door maps each to its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum GroupError { $($(#[$doc])* $name,)* }
        impl GroupError {
            pub const ALL: &'static [GroupError] = &[$(GroupError::$name,)*];
            /// One sentence for a person: what is wrong and what to do.
            pub fn text(self) -> &'static str {
                match self { $(GroupError::$name => $text,)* }
            }
        }
    };
}

errors! {
    /// The commit's metadata string is longer than `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge => "The metadata of the committed offset is too long; shorten it.",
    /// The coordinator is being loaded; ask again.
    CoordinatorLoadInProgress => "The coordinator is loading this group; retry.",
    /// The coordinator cannot answer now; look it up again.
    CoordinatorNotAvailable => "The coordinator of this group is not available; look it up again.",
    /// Another agent coordinates this group now.
    NotCoordinator => "This agent does not coordinate the group any more; look the coordinator up again.",
    /// The generation is not the group's current one; rejoin.
    IllegalGeneration => "The generation is not the group's current one; join again.",
    /// The protocol type or the protocols do not fit those of the other members.
    InconsistentGroupProtocol => "The member's protocol type or protocols do not fit those of the group.",
    InvalidGroupId => "The group id must not be empty, nor longer than 600 bytes.",
    /// The group does not know this member; join anew.
    UnknownMemberId => "The group does not know this member; join again.",
    /// Outside of `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    InvalidSessionTimeout => "The session timeout is outside of the range that the server allows.",
    /// The group is rebalancing; rejoin.
    RebalanceInProgress => "The group is rebalancing; join again.",
    /// The version of the request does not fit the member's protocol.
    UnsupportedVersion => "The version of the request does not fit the protocol of the member.",
    InvalidRequest => "The request is not well formed.",
    /// The group has members; only an empty group can be deleted.
    NonEmptyGroup => "The group is not empty; stop its members first.",
    GroupIdNotFound => "The group does not exist.",
    /// Not a fault: join again with the member id that is given (KIP-394).
    MemberIdRequired => "Join again with the member id that was given.",
    /// The group is full (`group.max.size`, `group.consumer.max.size`).
    GroupMaxSizeReached => "The group has as many members as it may have.",
    /// Another member has taken over the instance id (KIP-345).
    FencedInstanceId => "Another member uses this group instance id.",
    /// Offsets of a topic that a member is subscribed to cannot be deleted.
    GroupSubscribedToTopic => "The group is subscribed to the topic; its offsets cannot be deleted.",
    /// A transaction has committed offsets of this partition and has not ended.
    UnstableOffsetCommit => "Offsets of the partition are part of an open transaction; retry.",
    /// The member's epoch is not the one that the coordinator knows (KIP-848); rejoin with epoch 0.
    FencedMemberEpoch => "The member epoch does not fit; give up all partitions and join again with epoch 0.",
    /// The instance id belongs to a living member that has not left (KIP-848).
    UnreleasedInstanceId => "The instance id is used by another member that has not left the group.",
    /// The server has no assignor of this name (`group.consumer.assignors`).
    UnsupportedAssignor => "The server does not have this assignor.",
    /// The commit's member epoch is older than the member's (KIP-848).
    StaleMemberEpoch => "The member epoch is not the current one; retry with the epoch of the last heartbeat.",
    /// The subscription is not a regular expression of RE2.
    InvalidRegularExpression => "The subscription is not a regular expression that RE2 accepts.",
    /// The producer epoch of a transactional commit is not the transaction's.
    InvalidProducerEpoch => "A newer producer uses this transactional id.",
    /// The transactional id does not belong to the producer id.
    InvalidProducerIdMapping => "The producer id does not belong to the transactional id.",
    /// The transaction is not open for the group.
    InvalidTxnState => "The transaction is not in a state that allows this.",
    /// The producer must abort its transaction and may go on (KIP-890).
    TransactionAbortable => "Abort the transaction and begin it again.",
    /// Nobody of the org has a topic of this name, or no partition of this number.
    UnknownTopicOrPartition => "There is no such topic or partition.",
    /// The topic's access rules do not allow it.
    TopicAuthorizationFailed => "Not authorized to access the topic.",
    /// The group's access rules do not allow it.
    GroupAuthorizationFailed => "Not authorized to access the group.",
    /// A bug, or a state nobody foresaw.
    UnknownServerError => "The server met an error that it did not expect.",
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for GroupError {}

/// An error with a sentence about this very case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: GroupError,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: GroupError, message: impl Into<String>) -> Self {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

impl From<GroupError> for Refusal {
    fn from(code: GroupError) -> Self {
        Refusal::new(code, code.text())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}
