//! Both ends over a real connection.
use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query, Request},
    http::HeaderMap,
    routing::{get, post},
};
use bytes::Bytes;
use sh_base::{AgentId, Incarnation, ObjectId};
use sh_blob::{Bucket, MemoryBucket, ObjectKey};
use sh_log::{
    ReadConfig, Reader,
    cluster::ClusterFile,
    peers::{Link, NEWS_BYTES_MAX, Part, Pass, Peer, PeerError, PeerSecret},
};
use sh_meta::MemoryStore;
use tokio::net::TcpListener;

use super::{
    door::{Asked, PeersDoor},
    link::HttpLink,
};
use crate::os;

const OBJECT: &[u8] = b"SHL0....0123456789";

fn life(agent: u32) -> Incarnation {
    Incarnation {
        agent: AgentId(agent),
        epoch: 1,
        nonce: 7,
    }
}

fn object(seq: u64) -> ObjectId {
    ObjectId { by: life(9), seq }
}

fn pass(secret: u8, cluster_id: &str) -> Pass {
    let file = ClusterFile {
        cluster_id: cluster_id.into(),
        generation: uuid::Uuid::nil(),
        generation_number: 1,
        store: "store".into(),
    };
    Pass::new(PeerSecret::of([secret; 32]), &file)
}

/// Agent 1 at a port of its own, with one object in its bucket.
async fn agent() -> Peer {
    let env = os::env();
    let bucket = Arc::new(MemoryBucket::new(&env));
    let key = ObjectKey::L0(object(1)).to_string();
    bucket.put(&key, vec![OBJECT.into()]).await.unwrap();
    let store = Arc::new(MemoryStore::default());
    let reader = Reader::new(store, bucket, env, ReadConfig::default(), life(1));
    let door = PeersDoor::new(AgentId(1), reader, pass(1, "ours"));
    let (news, lend) = (door.clone(), door);
    let news = move |request: Request| async move { news.news(request).await };
    let lend = move |headers: HeaderMap, object: Path<String>, asked: Query<Asked>| async move {
        lend.lend(&headers, object, asked).await
    };
    let app = Router::new()
        .route("/internal/hints", post(news))
        .route("/internal/objects/{*object}", get(lend));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Peer {
        by: life(1),
        zone: None,
        http: Some(http),
    }
}

/// News of agent 2 without entries.
fn news() -> Bytes {
    let mut bytes = vec![1];
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend([0; 9]);
    bytes.into()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, PeerError>, status: &str) {
    match answer {
        Err(PeerError::Refused(why)) if why.starts_with(status) => {}
        other => panic!("{other:?} is not {status}"),
    }
}

#[tokio::test]
async fn agents_of_one_cluster_tell_and_lend() {
    let (peer, link) = (agent().await, HttpLink::new(pass(1, "ours")));
    link.push(&peer, news()).await.unwrap();
    let whole = link.borrow(&peer, object(1), Part::Whole).await.unwrap();
    assert_eq!((whole.start, &whole.bytes[..]), (0, OBJECT));
    let tail = link.borrow(&peer, object(1), Part::Tail).await.unwrap();
    assert_eq!(&tail.bytes[..], OBJECT);
    let some = link.borrow(&peer, object(1), Part::Bytes(8..12)).await;
    let some = some.unwrap();
    assert_eq!((some.start, &some.bytes[..]), (8, &b"0123"[..]));
    let absent = link.borrow(&peer, object(2), Part::Whole).await;
    refused(absent, "404");
    let beyond = link.borrow(&peer, object(1), Part::Bytes(8..99)).await;
    assert!(beyond.is_err());
}

#[tokio::test]
async fn who_is_of_another_cluster_or_means_another_agent_is_refused() {
    let peer = agent().await;
    for (pass, status) in [(pass(2, "ours"), "401"), (pass(1, "theirs"), "421")] {
        let link = HttpLink::new(pass);
        refused(link.push(&peer, news()).await, status);
        refused(link.borrow(&peer, object(1), Part::Whole).await, status);
    }
    let link = HttpLink::new(pass(1, "ours"));
    let moved = Peer {
        by: life(3),
        ..peer
    };
    refused(link.push(&moved, news()).await, "421");
}

#[tokio::test]
async fn what_is_no_news_or_too_much_is_refused() {
    let (peer, link) = (agent().await, HttpLink::new(pass(1, "ours")));
    for garbage in [&b""[..], b"\x09", b"{\"news\": []}", &[1; 500]] {
        refused(link.push(&peer, Bytes::from_static(garbage)).await, "400");
    }
    let large = link.push(&peer, vec![1; NEWS_BYTES_MAX + 1].into()).await;
    assert!(large.is_err(), "it may be cut off before it is all sent");
    link.push(&peer, news()).await.unwrap();
}

#[tokio::test]
async fn who_is_not_there_is_away() {
    let link = HttpLink::new(pass(1, "ours"));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let peer = Peer {
        by: life(1),
        zone: None,
        http: Some(http),
    };
    let answer = link.push(&peer, news()).await;
    assert!(matches!(answer, Err(PeerError::Away(_))), "{answer:?}");
}
