//! Metadata: names, ids, who leads what.
use anyhow::Result;
use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};
use uuid::Uuid;

use super::{
    requests::{metadata, named},
    scenarios,
};
use crate::oracle::Peer;

scenarios! {
    metadata_topics: "known, unknown and impossible names, at every version",
    metadata_empty: "all topics and none",
    metadata_by_id: "topics asked for by id",
    metadata_auto_creation: "an unknown topic may be created by asking for it",
    metadata_operations: "authorized operations are told to those who ask",
}

/// Never creates anything.
fn looking(version: i16, names: &[&str]) -> MetadataRequest {
    let names: Vec<_> = names.iter().map(|n| named(n)).collect();
    let request = metadata(&names);
    if version >= 4 {
        request.with_allow_auto_topic_creation(false)
    } else {
        request
    }
}

async fn metadata_topics(peer: &mut Peer) -> Result<()> {
    let one = peer.topic("one", 1, &[]).await?;
    let three = peer.topic("three", 3, &[]).await?;
    for version in 0..=13 {
        peer.ask("one topic", version, &looking(version, &[&one.name.0]))
            .await?;
        peer.ask(
            "two topics",
            version,
            &looking(version, &[&three.name.0, &one.name.0]),
        )
        .await?;
        peer.ask(
            "a topic twice",
            version,
            &looking(version, &[&one.name.0, &one.name.0]),
        )
        .await?;
    }
    let long = "x".repeat(250);
    for version in 4..=13 {
        peer.ask(
            "unknown topics",
            version,
            &looking(version, &["nobody.made.this", "nor.this"]),
        )
        .await?;
        peer.ask(
            "known and unknown",
            version,
            &looking(version, &["nobody.made.this", &one.name.0]),
        )
        .await?;
        peer.ask(
            "impossible names",
            version,
            &looking(version, &["", ".", "..", "a b", "ä", &long]),
        )
        .await?;
    }
    Ok(())
}

async fn metadata_empty(peer: &mut Peer) -> Result<()> {
    for version in 0..=13 {
        let none = MetadataRequest::default().with_topics(Some(vec![]));
        if version >= 1 {
            peer.ask("no topics", version, &none).await?;
        }
        let all = if version == 0 {
            none
        } else {
            MetadataRequest::default().with_topics(None)
        };
        let mut answer = peer.quietly(version, &all).await?;
        let own = format!("{}", peer.name("").0);
        answer
            .topics
            .retain(|t| t.name.as_ref().is_some_and(|n| own.starts_with(n.as_str())));
        peer.write_down(
            "Metadata: all topics, those of this story",
            version,
            &answer,
        );
    }
    Ok(())
}

async fn metadata_by_id(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("known", 2, &[]).await?;
    let unknown = Uuid::from_u128(0xdead_beef_0000_4000_8000_0000_0000_0001);
    let by = |id: Uuid| {
        MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None)
    };
    let ask = |topics| {
        MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false)
    };
    for version in 10..=13 {
        peer.ask("a known id", version, &ask(vec![by(topic.id)]))
            .await?;
        peer.ask("an unknown id", version, &ask(vec![by(unknown)]))
            .await?;
        peer.ask(
            "a known and an unknown id",
            version,
            &ask(vec![by(unknown), by(topic.id)]),
        )
        .await?;
        peer.ask("no name and no id", version, &ask(vec![by(Uuid::nil())]))
            .await?;
        let both = by(topic.id).with_name(Some(topic.name.clone()));
        peer.ask("a name and an id", version, &ask(vec![both]))
            .await?;
        let mixed = by(Uuid::nil()).with_name(Some(topic.name.clone()));
        peer.ask(
            "one by name, one by id",
            version,
            &ask(vec![mixed, by(topic.id)]),
        )
        .await?;
    }
    Ok(())
}

async fn metadata_auto_creation(peer: &mut Peer) -> Result<()> {
    for version in [0, 1, 3, 4, 8, 9, 12, 13] {
        let name = peer.name(&format!("by.v{version}"));
        let request = metadata(std::slice::from_ref(&name));
        peer.ask("an unknown topic that may be created", version, &request)
            .await?;
        peer.wait_for(&name, 4).await?;
        peer.ask("the topic that was created", version, &request)
            .await?;
    }
    let bad = metadata(&[named("bad/name"), named("..")]);
    peer.ask("impossible names that may be created", 9, &bad)
        .await?;
    let internal = metadata(&[named("__consumer_offsets"), named("__transaction_state")]);
    let internal = internal.with_allow_auto_topic_creation(false);
    peer.ask("the internal topics", 12, &internal).await?;
    Ok(())
}

async fn metadata_operations(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("mine", 1, &[]).await?;
    for version in 8..=13 {
        let request = looking(version, &[&topic.name.0, "nobody.made.this"])
            .with_include_topic_authorized_operations(true);
        peer.ask("operations on topics", version, &request).await?;
        if version <= 10 {
            let request = request.with_include_cluster_authorized_operations(true);
            peer.ask("operations on topics and cluster", version, &request)
                .await?;
        }
    }
    Ok(())
}
