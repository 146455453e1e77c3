//! What the transaction APIs have in common.
use sh_base::{ErrorCode, Failure};

/// Clients of versions before `since` know a fenced producer by its epoch only (KIP-588).
pub fn fenced_before(since: i16, version: i16, failure: Failure) -> Failure {
    replaced_before(
        since,
        version,
        failure,
        ErrorCode::ProducerFenced,
        ErrorCode::InvalidProducerEpoch,
    )
}

/// Clients of versions before `since` do not know that a transaction may be aborted and begun again (KIP-890).
pub fn abortable_before(since: i16, version: i16, failure: Failure) -> Failure {
    replaced_before(
        since,
        version,
        failure,
        ErrorCode::TransactionAbortable,
        ErrorCode::InvalidTxnState,
    )
}

fn replaced_before(
    since: i16,
    version: i16,
    failure: Failure,
    new: ErrorCode,
    old: ErrorCode,
) -> Failure {
    match version < since && failure.code == new {
        true => Failure {
            code: old,
            ..failure
        },
        false => failure,
    }
}
