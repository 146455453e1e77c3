//! What the transaction APIs have in common.
use sh_base::{ErrorCode, Failure};

/// Clients of versions before `since` know a fenced producer by its epoch only (KIP-588).
pub fn fenced_before(since: i16, version: i16, failure: Failure) -> Failure {
    match version < since && failure.code == ErrorCode::ProducerFenced {
        true => Failure {
            code: ErrorCode::InvalidProducerEpoch,
            ..failure
        },
        false => failure,
    }
}
