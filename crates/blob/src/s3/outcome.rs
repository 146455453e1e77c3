//! What an error of object_store means for the request: did it happen, did it not, or may it have?
use std::error::Error as _;

use object_store::Error;

use super::http::Refused;
use crate::BlobError;

pub(super) fn not_found(e: &Error) -> bool {
    matches!(e, Error::NotFound { .. })
}

/// The condition of a conditional put did not hold.
pub(super) fn lost(e: &Error) -> bool {
    matches!(e, Error::AlreadyExists { .. } | Error::Precondition { .. })
}

/// The error of a read.
pub(super) fn read(key: &str, e: Error) -> BlobError {
    if not_found(&e) {
        BlobError::NotFound(key.into())
    } else {
        classify(key, e)
    }
}

/// The error of a put or a delete: these find nothing, so "not found" is about the bucket.
pub(super) fn mutation(key: &str, e: Error) -> BlobError {
    classify(key, e)
}

fn classify(key: &str, e: Error) -> BlobError {
    let message = format!("{key}: {}", describe(&e));
    if is_final(&e) {
        BlobError::Definite(message)
    } else {
        BlobError::Maybe(message)
    }
}

/// No answer, or one that cannot be read, does not tell; so may a connection that broke before anything was sent.
fn is_final(e: &Error) -> bool {
    let refused = causes(e).find_map(|cause| cause.downcast_ref::<Refused>());
    match (e, refused) {
        (_, Some(refused)) => refused.is_final(),
        (Error::Generic { .. } | Error::JoinError { .. }, None) => false,
        (_, None) => true,
    }
}

fn causes(e: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(e.source(), |cause: &&(dyn std::error::Error + 'static)| {
        (*cause).source()
    })
}

/// The innermost cause. What is around it repeats the request, whose URL and headers are nobody's business.
pub(super) fn describe(e: &Error) -> String {
    causes(e)
        .last()
        .map_or_else(|| e.to_string(), |cause| cause.to_string())
}
