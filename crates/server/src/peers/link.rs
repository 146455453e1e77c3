//! The way to other agents: HTTP/1.1 with connections that are kept.
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use sh_base::ObjectId;
use sh_log::peers::{Link, Loan, Part, Pass, Peer, PeerError};

use super::{LOAN_BYTES_MAX, START_HEADER};

/// Agents of one cluster are near each other: who does not take a connection at once is away.
const CONNECT_MAX: Duration = Duration::from_millis(200);
/// A connection that nothing used is kept for so long.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// What a refusal may say.
const REASON_BYTES_MAX: usize = 1024;

pub struct HttpLink {
    client: Client<HttpConnector, Full<Bytes>>,
    pass: Pass,
}

impl HttpLink {
    pub fn new(pass: Pass) -> HttpLink {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        HttpLink { client, pass }
    }

    /// An answer of success, its body unread.
    async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, PeerError> {
        let Some(address) = &peer.http else {
            return Err(PeerError::Refused("it names no address".into()));
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}/internal/{path}"))
            .header(header::AUTHORIZATION, self.pass.authorization())
            .header(Pass::CLUSTER_HEADER, self.pass.cluster())
            .header(Pass::AGENT_HEADER, peer.by.agent.0)
            .body(Full::new(body))
            .map_err(|e| PeerError::Away(format!("{address} is no address: {e}")))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|e| PeerError::Away(format!("{address}: {}", root(&e))))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let reason = collect(answer, REASON_BYTES_MAX).await.unwrap_or_default();
        let reason = String::from_utf8_lossy(&reason).into_owned();
        Err(PeerError::Refused(format!("{status} {reason}")))
    }
}

#[async_trait]
impl Link for HttpLink {
    async fn push(&self, to: &Peer, news: Bytes) -> Result<(), PeerError> {
        let answer = self.ask(to, Method::POST, "hints", news).await?;
        collect(answer, REASON_BYTES_MAX).await.map(drop)
    }

    async fn borrow(&self, from: &Peer, object: ObjectId, part: Part) -> Result<Loan, PeerError> {
        let path = format!("objects/{object}?part={part}");
        let answer = self.ask(from, Method::GET, &path, Bytes::new()).await?;
        let start = answer.headers().get(START_HEADER);
        let start = start.and_then(|value| value.to_str().ok()?.parse().ok());
        let start = start.ok_or_else(|| PeerError::Away("an answer without its place".into()))?;
        let bytes = collect(answer, LOAN_BYTES_MAX).await?;
        Ok(Loan { start, bytes })
    }
}

/// The body, if it comes whole and is not larger than that.
async fn collect(answer: Response<Incoming>, bytes_max: usize) -> Result<Bytes, PeerError> {
    let body = Limited::new(answer.into_body(), bytes_max).collect().await;
    body.map(|body| body.to_bytes())
        .map_err(|e| PeerError::Away(format!("its answer broke off: {e}")))
}

/// What is at the bottom of an error of the client, which itself says little.
fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
