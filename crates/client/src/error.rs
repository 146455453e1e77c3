//! What can go wrong between a client and a cluster.
use std::{io, sync::Arc, time::Duration};

use kafka_protocol::error::ResponseError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot connect to {address}: {source}; is the server running, and is this the address it prints at its start?"
    )]
    Connect { address: String, source: io::Error },
    #[error(
        "the connection to {address} was closed by the other side; the server's log says why if it refused a request"
    )]
    Closed { address: String },
    #[error(
        "{address} did not answer {what} within {after:?}; give it more time, or look at the server's log"
    )]
    Timeout {
        address: String,
        what: String,
        after: Duration,
    },
    #[error(
        "{address} answered {what} with bytes that are not a Kafka answer ({problem}); is another service listening there?"
    )]
    Malformed {
        address: String,
        what: String,
        problem: String,
    },
    #[error("{what} cannot be written at version {version}: {problem}")]
    Unencodable {
        what: String,
        version: i16,
        problem: String,
    },
    #[error(
        "{address} does not support {what} (it speaks versions {theirs}, this client {ours}); upgrade the older of the two"
    )]
    UnsupportedVersion {
        address: String,
        what: String,
        ours: String,
        theirs: String,
    },
    #[error("{what}: {code:?}{}", .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        what: String,
        code: ResponseError,
        message: Option<String>,
    },
    #[error("topic {topic} has no partition {partition}; `topic describe` lists those it has")]
    NoSuchPartition { topic: String, partition: i32 },
    #[error("no broker could be reached (tried {tried}); the last error was: {last}")]
    NoBroker { tried: String, last: Box<Error> },
    #[error("gave up on {what} after {after:?}; the last error was: {last}")]
    Deadline {
        what: String,
        after: Duration,
        last: Box<Error>,
    },
    #[error(
        "records of {topic} partition {partition} cannot be read: {problem}; the data or its codec is damaged"
    )]
    BadBatch {
        topic: String,
        partition: i32,
        problem: String,
    },
    #[error(
        "a record of {bytes} bytes does not fit into a request of at most {limit} bytes; split it, or raise the limit"
    )]
    RecordTooLarge { bytes: usize, limit: usize },
    #[error("the records were not written: {0}")]
    Undelivered(Arc<Error>),
    #[error("the producer is closed, or stopped after an earlier error: {0}")]
    ProducerClosed(String),
}

impl Error {
    /// The error a broker answered with, or `Ok` for code 0.
    pub fn check(what: impl Into<String>, code: i16, message: Option<&str>) -> Result<()> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(Error::Refused {
                what: what.into(),
                code,
                message: message.filter(|m| !m.is_empty()).map(Into::into),
            }),
        }
    }

    /// The Kafka error code, when a broker gave one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            Error::Deadline { last, .. } | Error::NoBroker { last, .. } => last.code(),
            Error::Undelivered(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the same request may succeed a little later, perhaps at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Connect { .. }
            | Error::Closed { .. }
            | Error::Timeout { .. }
            | Error::NoBroker { .. } => true,
            // An earlier transaction of the same id is still being ended.
            Error::Refused {
                code: ResponseError::ConcurrentTransactions,
                ..
            } => true,
            Error::Refused { code, .. } => code.is_retriable(),
            Error::Undelivered(error) => error.is_retriable(),
            _ => false,
        }
    }
}
