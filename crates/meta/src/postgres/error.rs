//! What an error of the database means: did it happen?
use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::{MetaError, OpenError};

/// Why an attempt at an update did not succeed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Rolled back because of others: run it again.
    Again(String),
    For(MetaError),
}

/// An error with its cause; the outer one alone says only "db error". Neither holds the password.
pub(super) fn explain(e: &Error) -> String {
    match (e.as_db_error(), e.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{e}: {cause}"),
        (None, None) => e.to_string(),
    }
}

/// **40001 and 40P01 are tried again**, at any isolation level.
fn is_conflict(e: &Error) -> bool {
    let conflicts = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    e.code().is_some_and(|code| conflicts.contains(code))
}

/// An error before COMMIT was sent: **nothing happened, whatever it is**.
pub(super) fn before_commit(e: Error) -> Failed {
    match is_conflict(&e) {
        true => Failed::Again(explain(&e)),
        false => Failed::For(definite(e)),
    }
}

pub(super) fn definite(e: Error) -> MetaError {
    MetaError::Definite(format!("Postgres: {}", explain(&e)))
}

/// The answers to the writes, and to the COMMIT that was sent behind them without waiting.
///
/// SUBTLE: after a failed write the server answers COMMIT with success, for it has rolled back: the writes must be looked at
/// first. **A write that the server refused means that nothing happened; a connection that broke means that nobody knows.**
pub(super) fn outcome(
    writes: impl IntoIterator<Item = Result<(), Error>>,
    commit: Result<(), Error>,
) -> Result<(), Failed> {
    if let Some(e) = writes.into_iter().find_map(Result::err) {
        return Err(match e.as_db_error() {
            Some(_) => before_commit(e),
            None => Failed::For(maybe(&e)),
        });
    }
    commit.map_err(|e| match is_conflict(&e) {
        true => Failed::Again(explain(&e)),
        false => Failed::For(maybe(&e)),
    })
}

fn maybe(e: &Error) -> MetaError {
    MetaError::Maybe(format!("Postgres: {}", explain(e)))
}

/// No connection, so nothing was asked.
pub(super) fn no_connection(e: PoolError) -> MetaError {
    MetaError::Definite(match e {
        PoolError::Backend(e) => format!("no connection to Postgres: {}", explain(&e)),
        PoolError::Timeout(_) => "no connection to Postgres in time".into(),
        other => format!("no connection to Postgres: {other}"),
    })
}

/// **A database that is away may come back; one that refuses us will not change its mind.**
pub(super) fn failed_to_open(e: Error) -> OpenError {
    let temporary = [
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
    ];
    match e.code() {
        Some(code) if temporary.contains(code) => OpenError::Away(explain(&e)),
        Some(_) => OpenError::Failed(explain(&e)),
        None => OpenError::Away(explain(&e)),
    }
}
