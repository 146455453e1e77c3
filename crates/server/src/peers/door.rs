//! The door for other agents.
use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{Path, Query, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use sh_base::{AgentId, ObjectId};
use sh_blob::BlobError;
use sh_log::{
    Reader,
    peers::{NEWS_BYTES_MAX, NotAdmitted, PUSH_MAX, Part, Pass},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{LOAN_BYTES_MAX, START_HEADER};

/// Loans that may be under way; who asks for more goes to the bucket.
const LOANS_AT_ONCE: usize = 64;

/// Lets agents of the same cluster in.
#[derive(Clone)]
pub struct PeersDoor {
    me: AgentId,
    reader: Reader,
    pass: Pass,
    loans: Arc<Semaphore>,
}

/// What is asked of an object.
#[derive(Deserialize)]
pub struct Asked {
    part: String,
}

impl PeersDoor {
    pub fn new(me: AgentId, reader: Reader, pass: Pass) -> PeersDoor {
        PeersDoor {
            me,
            reader,
            pass,
            loans: Arc::new(Semaphore::new(LOANS_AT_ONCE)),
        }
    }

    /// Takes news in. The body is not read before its sender is let in.
    pub async fn news(&self, request: Request) -> Response {
        if let Err(refused) = self.admit(request.headers()) {
            return refusal(refused);
        }
        let body = to_bytes(request.into_body(), NEWS_BYTES_MAX);
        let bytes = match timeout(PUSH_MAX, body).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        };
        match self.reader.hear_news(bytes) {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(bad) => {
                tracing::warn!(error = %bad, "another agent sent news that are none");
                (StatusCode::BAD_REQUEST, bad.to_string()).into_response()
            }
        }
    }

    /// Lends a part of an object.
    pub async fn lend(
        &self,
        headers: &HeaderMap,
        Path(object): Path<String>,
        Query(asked): Query<Asked>,
    ) -> Response {
        if let Err(refused) = self.admit(headers) {
            return refusal(refused);
        }
        let (object, part): (ObjectId, Part) = match (object.parse(), asked.part.parse()) {
            (Ok(object), Ok(part)) => (object, part),
            (Err(bad), _) => return (StatusCode::BAD_REQUEST, bad.to_string()).into_response(),
            (_, Err(bad)) => return (StatusCode::BAD_REQUEST, bad.to_string()).into_response(),
        };
        let Ok(permit) = self.loans.clone().try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many loans at once").into_response();
        };
        match self.reader.lend(object, part).await {
            Ok((start, pieces)) => lent(start, pieces, permit),
            Err(BlobError::NotFound(key)) => (StatusCode::NOT_FOUND, key).into_response(),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), NotAdmitted> {
        let value = |name: &str| headers.get(name)?.to_str().ok();
        self.pass.admit(
            self.me,
            value(header::AUTHORIZATION.as_str()),
            value(Pass::CLUSTER_HEADER),
            value(Pass::AGENT_HEADER),
        )
    }
}

/// `permit` is given back when all was sent, or the borrower has gone.
fn lent(start: u64, pieces: Vec<Bytes>, permit: OwnedSemaphorePermit) -> Response {
    let len: usize = pieces.iter().map(Bytes::len).sum();
    if len > LOAN_BYTES_MAX {
        return (StatusCode::SERVICE_UNAVAILABLE, "it is too large to lend").into_response();
    }
    metrics::counter!("streamhouse_peer_lent_bytes_total").increment(len as u64);
    let headers = [
        (START_HEADER, start.to_string()),
        (header::CONTENT_LENGTH.as_str(), len.to_string()),
    ];
    // The pieces lie in memory as they are: they are not joined to be sent.
    let sent = pieces.into_iter().map(move |piece| {
        let _held = &permit;
        Ok::<_, Infallible>(piece)
    });
    let pieces = stream::iter(sent);
    (headers, Body::from_stream(pieces)).into_response()
}

fn refusal(refused: NotAdmitted) -> Response {
    metrics::counter!("streamhouse_peer_requests_refused_total").increment(1);
    let status = match refused {
        NotAdmitted::Unknown => StatusCode::UNAUTHORIZED,
        NotAdmitted::OtherCluster | NotAdmitted::OtherAgent => StatusCode::MISDIRECTED_REQUEST,
    };
    (status, refused.to_string()).into_response()
}
