//! Accepting connections.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    connection,
    door::{Door, Session, Software},
    frames::Closing,
    places::{Place, Places},
};

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves Kafka clients on `listener` until `stop` turns true; returns when the requests that were read by then are answered, or
/// after [`DoorConfig::drain_max`](crate::DoorConfig::drain_max).
pub async fn serve(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let places = Places::default();
    let gauge = metrics::gauge!("streamhouse_kafka_connections");
    loop {
        gauge.set(connections.len() as f64);
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match places.take(peer.ip(), door.places_max()) {
                    Some(place) => {
                        let connection = connect(stream, peer, door.clone(), stop.clone());
                        connections.spawn(placed(place, connection));
                    }
                    None => refuse(&door, peer),
                },
                Err(e) => {
                    tracing::warn!("a connection could not be accepted: {e}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => note(ended),
            () = connection::stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(door.config.drain_max, drained).await.is_err() {
        tracing::warn!("stopped with Kafka requests that were not answered in time");
    }
}

fn refuse(door: &Door, peer: SocketAddr) {
    let max = door.places_max();
    tracing::warn!(
        %peer,
        "a connection was refused: there are {} already (max.connections), or {} from its address (max.connections.per.ip)",
        max.all,
        max.from_one_address
    );
}

/// A connection in its place.
async fn placed(place: Place, connection: impl Future<Output = ()>) {
    connection.await;
    drop(place);
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!("a connection's task failed; the connection is closed: {e}");
    }
}

async fn connect(stream: TcpStream, peer: SocketAddr, door: Door, stop: watch::Receiver<bool>) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "TCP_NODELAY could not be set: {e}");
    }
    let limits = door.config.limits;
    let session = Session {
        door,
        host: Arc::from(peer.ip().to_string()),
        software: Arc::new(Software::at(peer.port())),
    };
    let (read, write) = stream.into_split();
    match connection::run(read, write, session, limits, stop).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(Closing::Io(e)) => tracing::debug!(%peer, "connection lost: {e}"),
        Err(e) => tracing::warn!(%peer, "connection closed: {e}"),
    }
}
