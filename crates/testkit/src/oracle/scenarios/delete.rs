//! DeleteTopics.
use anyhow::Result;
use kafka_protocol::messages::{
    DeleteTopicsRequest, MetadataRequest, TopicName, delete_topics_request::DeleteTopicState,
};
use uuid::Uuid;

use super::{
    requests::{fetch, list_offsets, metadata, named, produce, wish},
    scenarios,
};
use crate::oracle::{
    Peer,
    batch::{RawBatch, record},
};

scenarios! {
    delete_topics: "by name, at every version",
    delete_topics_by_id: "by id, by both, by neither",
    delete_topics_gone: "what is answered of a topic that was deleted, and made again",
}

fn by_names(version: i16, names: Vec<TopicName>) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
    match version {
        ..=5 => request.with_topic_names(names),
        _ => request.with_topics(
            names
                .into_iter()
                .map(|n| state(Some(n), Uuid::nil()))
                .collect(),
        ),
    }
}

fn state(name: Option<TopicName>, id: Uuid) -> DeleteTopicState {
    DeleteTopicState::default()
        .with_name(name)
        .with_topic_id(id)
}

async fn delete_topics(peer: &mut Peer) -> Result<()> {
    for version in 1..=6 {
        let one = peer.topic(&format!("one.v{version}"), 1, &[]).await?;
        let two = peer.topic(&format!("two.v{version}"), 3, &[]).await?;
        let ask =
            |names: &[&TopicName]| by_names(version, names.iter().map(|n| (*n).clone()).collect());
        peer.ask("a topic", version, &ask(&[&one.name])).await?;
        peer.ask("the topic again", version, &ask(&[&one.name]))
            .await?;
        peer.ask(
            "known and unknown",
            version,
            &ask(&[&named("nobody.made.this"), &two.name]),
        )
        .await?;
        for name in ["", "a b", "__cluster_metadata"] {
            peer.ask(
                &format!("the name {name:?}"),
                version,
                &ask(&[&named(name)]),
            )
            .await?;
        }
        let twice = peer.topic(&format!("twice.v{version}"), 1, &[]).await?;
        peer.ask("a topic twice", version, &ask(&[&twice.name, &twice.name]))
            .await?;
        peer.ask("nothing", version, &ask(&[])).await?;
    }
    Ok(())
}

async fn delete_topics_by_id(peer: &mut Peer) -> Result<()> {
    let a = peer.topic("a", 1, &[]).await?;
    let b = peer.topic("b", 1, &[]).await?;
    let unknown = Uuid::from_u128(0xdead_beef_0000_4000_8000_0000_0000_0001);
    let ask = |states| {
        DeleteTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(states)
    };
    peer.ask("by id", 6, &ask(vec![state(None, a.id)])).await?;
    peer.ask("by id again", 6, &ask(vec![state(None, a.id)]))
        .await?;
    peer.ask("an unknown id", 6, &ask(vec![state(None, unknown)]))
        .await?;
    peer.ask(
        "name and id",
        6,
        &ask(vec![state(Some(b.name.clone()), b.id)]),
    )
    .await?;
    peer.ask("neither", 6, &ask(vec![state(None, Uuid::nil())]))
        .await?;
    peer.ask(
        "an id twice",
        6,
        &ask(vec![state(None, b.id), state(None, b.id)]),
    )
    .await?;
    peer.ask(
        "a name, and its id",
        6,
        &ask(vec![
            state(Some(b.name.clone()), Uuid::nil()),
            state(None, b.id),
        ]),
    )
    .await?;
    Ok(())
}

async fn delete_topics_gone(peer: &mut Peer) -> Result<()> {
    let old = peer.topic("t", 1, &[]).await?;
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    peer.quietly(9, &produce(9, &old, 0, batch.clone())).await?;
    peer.ask("delete it", 6, &by_names(6, vec![old.name.clone()]))
        .await?;
    settle(peer, &old.name).await?;
    let by_id = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
        .with_topic_id(old.id)
        .with_name(None);
    let by_id = MetadataRequest::default()
        .with_topics(Some(vec![by_id]))
        .with_allow_auto_topic_creation(false);
    for what in ["deleted", "made again"] {
        peer.ask(&format!("{what}: metadata by the old id"), 12, &by_id)
            .await?;
        peer.ask(
            &format!("{what}: produce by the old id"),
            13,
            &produce(13, &old, 0, batch.clone()),
        )
        .await?;
        peer.ask(
            &format!("{what}: fetch by the old id"),
            13,
            &fetch(13, &old, &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            &format!("{what}: fetch by name"),
            12,
            &fetch(12, &old, &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            &format!("{what}: offsets"),
            7,
            &list_offsets(7, &old.name, &[(0, -1, -1)]),
        )
        .await?;
        if what == "deleted" {
            peer.topic("t", 2, &[]).await?;
        }
    }
    Ok(())
}

/// Until the deletion has reached the broker that answers Metadata.
async fn settle(peer: &mut Peer, name: &TopicName) -> Result<()> {
    let looking = metadata(std::slice::from_ref(name)).with_allow_auto_topic_creation(false);
    for _ in 0..200 {
        if peer
            .quietly(12, &looking)
            .await?
            .topics
            .iter()
            .all(|t| t.error_code != 0)
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    Ok(())
}
