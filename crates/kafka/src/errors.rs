//! The one table from the house's error codes to those of the Kafka protocol.
use sh_base::{ErrorCode, Failure};
use sh_coord::GroupError;

/// Kafka's code for "no error".
pub const NONE: i16 = 0;

/// The code that a client is told. Every error that leaves the door passes here, and is counted here.
pub fn code(failure: &Failure) -> i16 {
    let error = format!("{:?}", failure.code);
    metrics::counter!("streamhouse_kafka_errors_total", "error" => error).increment(1);
    code_of(failure.code)
}

/// The code that a client is told of a group's error; counted like the others.
pub fn group_code(error: GroupError) -> i16 {
    let name = format!("{error:?}");
    metrics::counter!("streamhouse_kafka_errors_total", "error" => name).increment(1);
    code_of_group(error)
}

/// The number of a group's error in the Kafka protocol.
const fn code_of_group(error: GroupError) -> i16 {
    match error {
        GroupError::UnknownServerError => -1,
        GroupError::UnknownTopicOrPartition => 3,
        GroupError::OffsetMetadataTooLarge => 12,
        GroupError::CoordinatorLoadInProgress => 14,
        GroupError::CoordinatorNotAvailable => 15,
        GroupError::NotCoordinator => 16,
        GroupError::IllegalGeneration => 22,
        GroupError::InconsistentGroupProtocol => 23,
        GroupError::InvalidGroupId => 24,
        GroupError::UnknownMemberId => 25,
        GroupError::InvalidSessionTimeout => 26,
        GroupError::RebalanceInProgress => 27,
        GroupError::TopicAuthorizationFailed => 29,
        GroupError::GroupAuthorizationFailed => 30,
        GroupError::UnsupportedVersion => 35,
        GroupError::InvalidRequest => 42,
        GroupError::InvalidProducerEpoch => 47,
        GroupError::InvalidTxnState => 48,
        GroupError::InvalidProducerIdMapping => 49,
        GroupError::NonEmptyGroup => 68,
        GroupError::GroupIdNotFound => 69,
        GroupError::MemberIdRequired => 79,
        GroupError::GroupMaxSizeReached => 81,
        GroupError::FencedInstanceId => 82,
        GroupError::GroupSubscribedToTopic => 86,
        GroupError::UnstableOffsetCommit => 88,
        GroupError::FencedMemberEpoch => 110,
        GroupError::UnreleasedInstanceId => 111,
        GroupError::UnsupportedAssignor => 112,
        GroupError::StaleMemberEpoch => 113,
        GroupError::TransactionAbortable => 120,
        GroupError::InvalidRegularExpression => 128,
    }
}

/// The number of an error in the Kafka protocol.
pub const fn code_of(code: ErrorCode) -> i16 {
    match code {
        ErrorCode::Internal => -1,
        ErrorCode::OffsetOutOfRange => 1,
        ErrorCode::CorruptMessage => 2,
        ErrorCode::UnknownTopicOrPartition => 3,
        ErrorCode::NotLeader => 6,
        ErrorCode::RequestTimedOut => 7,
        ErrorCode::MessageTooLarge => 10,
        ErrorCode::CoordinatorLoading => 14,
        ErrorCode::CoordinatorNotAvailable => 15,
        ErrorCode::InvalidTopic => 17,
        ErrorCode::RecordListTooLarge => 18,
        ErrorCode::InvalidRequiredAcks => 21,
        ErrorCode::TopicAuthorizationFailed => 29,
        ErrorCode::GroupAuthorizationFailed => 30,
        ErrorCode::ClusterAuthorizationFailed => 31,
        ErrorCode::InvalidTimestamp => 32,
        ErrorCode::UnsupportedVersion => 35,
        ErrorCode::TopicAlreadyExists => 36,
        ErrorCode::InvalidPartitions => 37,
        ErrorCode::InvalidReplicationFactor => 38,
        ErrorCode::InvalidReplicaAssignment => 39,
        ErrorCode::InvalidConfig => 40,
        ErrorCode::InvalidRequest => 42,
        ErrorCode::UnsupportedForMessageFormat => 43,
        ErrorCode::PolicyViolation => 44,
        ErrorCode::OutOfOrderSequenceNumber => 45,
        ErrorCode::DuplicateSequenceNumber => 46,
        ErrorCode::InvalidProducerEpoch => 47,
        ErrorCode::InvalidTxnState => 48,
        ErrorCode::InvalidProducerIdMapping => 49,
        ErrorCode::InvalidTransactionTimeout => 50,
        ErrorCode::ConcurrentTransactions => 51,
        ErrorCode::TransactionCoordinatorFenced => 52,
        ErrorCode::TransactionalIdAuthorizationFailed => 53,
        ErrorCode::OperationNotAttempted => 55,
        // KAFKA_STORAGE_ERROR: clients refresh their metadata and try again, perhaps at another agent.
        ErrorCode::StorageUnavailable => 56,
        ErrorCode::UnknownProducerId => 59,
        ErrorCode::FetchSessionIdNotFound => 70,
        ErrorCode::InvalidFetchSessionEpoch => 71,
        ErrorCode::TopicDeletionDisabled => 73,
        ErrorCode::FencedLeaderEpoch => 74,
        ErrorCode::UnknownLeaderEpoch => 75,
        ErrorCode::UnsupportedCompressionType => 76,
        ErrorCode::OffsetNotAvailable => 78,
        ErrorCode::ElectionNotNeeded => 84,
        ErrorCode::InvalidRecord => 87,
        ErrorCode::ThrottlingQuotaExceeded => 89,
        ErrorCode::ProducerFenced => 90,
        ErrorCode::ResourceNotFound => 91,
        ErrorCode::InvalidUpdateVersion => 95,
        ErrorCode::UnknownTopicId => 100,
        ErrorCode::InconsistentTopicId => 103,
        ErrorCode::TransactionalIdNotFound => 105,
        ErrorCode::FetchSessionTopicIdError => 106,
        ErrorCode::UnknownSubscriptionId => 117,
        ErrorCode::TelemetryTooLarge => 118,
        ErrorCode::TransactionAbortable => 120,
        ErrorCode::InvalidRegularExpression => 128,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kafka_protocol::ResponseError;

    use super::*;

    #[test]
    fn every_code_of_a_group_is_the_one_kafka_calls_so() {
        for error in GroupError::ALL {
            let kafka = ResponseError::try_from_code(code_of_group(*error)).unwrap();
            assert_eq!(format!("{kafka:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn every_code_is_one_of_kafkas_and_no_two_are_the_same() {
        let numbers: HashSet<i16> = ErrorCode::ALL.iter().map(|c| code_of(*c)).collect();
        assert_eq!(numbers.len(), ErrorCode::ALL.len());
        for number in numbers {
            assert!(ResponseError::try_from_code(number).is_some(), "{number}");
        }
    }
}
