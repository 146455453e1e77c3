//! The HTTP listener of the server itself: health, metrics, what Kafka's protocol has no words for, and the door for other agents.
use axum::{
    Json, Router,
    extract::{Path, Query, Request, State as Of},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use metrics_exporter_prometheus::PrometheusHandle;
use sh_base::{Advice, ErrorCode, Failure};
use sh_node::{Caller, Node};
use tokio::{net::TcpListener, sync::watch};

use crate::peers::door::{Asked, PeersDoor};

/// How far the server is.
#[derive(Clone)]
pub enum State {
    Starting,
    Ready(Node, PeersDoor),
    Stopping,
}

#[derive(Clone)]
struct Door {
    state: watch::Receiver<State>,
    metrics: PrometheusHandle,
}

/// Serves until the process ends.
pub async fn serve(
    listener: TcpListener,
    state: watch::Receiver<State>,
    metrics: PrometheusHandle,
) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .route("/v1/deleted-topics", get(deleted))
        .route("/v1/deleted-topics/{name}/undelete", post(undelete))
        .route("/internal/hints", post(news))
        .route("/internal/objects/{*object}", get(lend))
        .with_state(Door { state, metrics });
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
    });
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

impl Door {
    fn node(&self) -> Result<Node, Box<Response>> {
        self.ready().map(|(node, _)| node)
    }

    fn ready(&self) -> Result<(Node, PeersDoor), Box<Response>> {
        match &*self.state.borrow() {
            State::Ready(node, peers) => Ok((node.clone(), peers.clone())),
            State::Starting => Err(not_now(
                "starting: waiting for the bucket or the metadata store\n",
            )),
            State::Stopping => Err(not_now("stopping\n")),
        }
    }
}

fn not_now(text: &'static str) -> Box<Response> {
    Box::new((StatusCode::SERVICE_UNAVAILABLE, text).into_response())
}

async fn ready(Of(door): Of<Door>) -> Response {
    door.node()
        .map_or_else(|not| *not, |_| "ready\n".into_response())
}

/// Our own metrics, and those that clients pushed (KIP-714).
async fn render(Of(door): Of<Door>) -> String {
    let own = door.metrics.render();
    match door.node() {
        Ok(node) => own + &node.telemetry_text(),
        Err(_) => own,
    }
}

async fn news(Of(door): Of<Door>, request: Request) -> Response {
    match door.ready() {
        Ok((_, peers)) => peers.news(request).await,
        Err(not) => *not,
    }
}

async fn lend(
    Of(door): Of<Door>,
    headers: HeaderMap,
    object: Path<String>,
    asked: Query<Asked>,
) -> Response {
    match door.ready() {
        Ok((_, peers)) => peers.lend(&headers, object, asked).await,
        Err(not) => *not,
    }
}

fn caller() -> Caller {
    Caller {
        org: sh_base::Org::default(),
        principal: "User:ANONYMOUS".into(),
        client_id: None,
        host: "http".into(),
    }
}

async fn deleted(Of(door): Of<Door>) -> Response {
    let node = match door.node() {
        Ok(node) => node,
        Err(not) => return *not,
    };
    match node.deleted_topics(&caller()).await {
        Ok(topics) => {
            let line = |t: &sh_node::topics::DeletedTopic| {
                serde_json::json!({
                    "name": t.name.to_string(),
                    "topic_id": t.id.to_string(),
                    "partitions": t.partitions,
                    "deleted_ms": t.deleted_ms,
                })
            };
            Json(topics.iter().map(line).collect::<Vec<_>>()).into_response()
        }
        Err(failure) => refusal(&failure),
    }
}

async fn undelete(Of(door): Of<Door>, Path(name): Path<String>) -> Response {
    let node = match door.node() {
        Ok(node) => node,
        Err(not) => return *not,
    };
    match node.undelete_topic(&caller(), &name).await {
        Ok(id) => {
            Json(serde_json::json!({ "name": name, "topic_id": id.to_string() })).into_response()
        }
        Err(failure) => refusal(&failure),
    }
}

fn refusal(failure: &Failure) -> Response {
    let status = match (failure.code, failure.code.advice()) {
        (ErrorCode::UnknownTopicOrPartition, _) => StatusCode::NOT_FOUND,
        (ErrorCode::TopicAlreadyExists, _) => StatusCode::CONFLICT,
        (ErrorCode::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
        (_, Advice::Retry | Advice::Refresh) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Advice::GiveUp) => StatusCode::BAD_REQUEST,
    };
    let body =
        serde_json::json!({ "error": format!("{:?}", failure.code), "message": failure.message });
    (status, Json(body)).into_response()
}
