//! One error vocabulary for every door.
//!
//! Rooms below `node` have small errors of their own; what leaves `node` is a [`Failure`]: a code, and a sentence that says
//! what was wrong and what to do. The doors hold one table each from [`ErrorCode`] to their protocol's codes.
use std::fmt;

/// What the client should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The same request may succeed later.
    Retry,
    /// Ask for metadata again, then retry.
    Refresh,
    /// The request will never succeed as it is.
    GiveUp,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $advice:ident,)*) => {
        /// The meaning of a failure, in Kafka's terms where Kafka has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }
        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];
            pub fn advice(self) -> Advice {
                match self { $(ErrorCode::$name => Advice::$advice,)* }
            }
        }
    };
}

codes! {
    // The server's own trouble.
    /// A bug, or a state nobody foresaw.
    Internal => GiveUp,
    /// The bucket or the metadata store did not answer (fully) in time; it may be tried again.
    StorageUnavailable => Retry,
    /// The time the client gave has passed; the outcome is unknown to it.
    RequestTimedOut => Retry,
    /// Shutting down, or not ready.
    CoordinatorLoading => Retry,
    /// The coordinator cannot answer now; look it up again.
    CoordinatorNotAvailable => Retry,
    /// Another agent holds the partition's lease and did not give it up in time.
    NotLeader => Refresh,
    // Topics and partitions.
    UnknownTopicOrPartition => Refresh,
    UnknownTopicId => Refresh,
    InconsistentTopicId => Refresh,
    InvalidTopic => GiveUp,
    TopicAlreadyExists => GiveUp,
    InvalidPartitions => GiveUp,
    InvalidReplicationFactor => GiveUp,
    InvalidReplicaAssignment => GiveUp,
    InvalidConfig => GiveUp,
    InvalidRequest => GiveUp,
    PolicyViolation => GiveUp,
    TopicDeletionDisabled => GiveUp,
    ElectionNotNeeded => GiveUp,
    // Offsets.
    OffsetOutOfRange => GiveUp,
    FencedLeaderEpoch => Refresh,
    UnknownLeaderEpoch => Retry,
    OffsetNotAvailable => Retry,
    // Records.
    CorruptMessage => GiveUp,
    MessageTooLarge => GiveUp,
    RecordListTooLarge => GiveUp,
    InvalidRecord => GiveUp,
    InvalidTimestamp => GiveUp,
    UnsupportedForMessageFormat => GiveUp,
    UnsupportedCompressionType => GiveUp,
    InvalidRequiredAcks => GiveUp,
    // Producers.
    OutOfOrderSequenceNumber => GiveUp,
    DuplicateSequenceNumber => GiveUp,
    InvalidProducerEpoch => GiveUp,
    ProducerFenced => GiveUp,
    UnknownProducerId => GiveUp,
    InvalidTransactionTimeout => GiveUp,
    InvalidTxnState => GiveUp,
    /// The producer id is not that of the transactional id.
    InvalidProducerIdMapping => GiveUp,
    /// Another request of the transactional id is under way.
    ConcurrentTransactions => Retry,
    /// The transaction must be aborted; the producer may go on then (KIP-890).
    TransactionAbortable => GiveUp,
    TransactionalIdNotFound => GiveUp,
    /// A marker of a coordinator that was replaced.
    TransactionCoordinatorFenced => GiveUp,
    /// Other parts of the request were refused, and so nothing was done.
    OperationNotAttempted => GiveUp,
    // Rights and protocol.
    TopicAuthorizationFailed => GiveUp,
    GroupAuthorizationFailed => GiveUp,
    ClusterAuthorizationFailed => GiveUp,
    TransactionalIdAuthorizationFailed => GiveUp,
    UnsupportedVersion => GiveUp,
    FetchSessionIdNotFound => Retry,
    InvalidFetchSessionEpoch => Retry,
    FetchSessionTopicIdError => Retry,
    ResourceNotFound => GiveUp,
    ThrottlingQuotaExceeded => Retry,
    InvalidRegularExpression => GiveUp,
    /// A level of a feature that cannot be had.
    InvalidUpdateVersion => GiveUp,
    // Telemetry of clients.
    UnknownSubscriptionId => Refresh,
    TelemetryTooLarge => GiveUp,
}

/// An error as it leaves `node`: what it means, and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: ErrorCode,
    pub message: String,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
        }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Failure {
            code,
            message: String::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{:?}", self.code)
        } else {
            write!(f, "{:?}: {}", self.code, self.message)
        }
    }
}

impl std::error::Error for Failure {}
