//! Fetch sessions (KIP-227): only what changed is asked and told.
use anyhow::{Context, Result};
use kafka_protocol::messages::{
    FetchRequest, fetch_request::ForgottenTopic, fetch_response::FetchableTopicResponse,
};

use super::{
    requests::{Wish, fetch, produce, unknown, wish},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{RawBatch, record},
};

scenarios! {
    session_life: "create, go on, change, forget, close",
    session_errors: "wrong epochs and sessions that are not",
    session_topics: "unknown topics and partitions inside a session",
}

const VERSIONS: [i16; 6] = [7, 11, 12, 13, 15, 18];

/// A topic of 2 partitions with one record in each.
async fn filled(peer: &mut Peer, version: i16) -> Result<Topic> {
    let topic = peer.topic(&format!("v{version}"), 2, &[]).await?;
    for partition in 0..2 {
        add(peer, &topic, partition).await?;
    }
    Ok(topic)
}

async fn add(peer: &mut Peer, topic: &Topic, partition: i32) -> Result<()> {
    let batch = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    peer.quietly(9, &produce(9, topic, partition, batch))
        .await
        .map(drop)
}

fn within(version: i16, topic: &Topic, (id, epoch): (i32, i32), wishes: &[Wish]) -> FetchRequest {
    fetch(version, topic, wishes)
        .with_session_id(id)
        .with_session_epoch(epoch)
}

fn forgets(version: i16, topic: &Topic, partitions: Vec<i32>) -> Vec<ForgottenTopic> {
    let forgotten = ForgottenTopic::default().with_partitions(partitions);
    vec![if version >= 13 {
        forgotten.with_topic_id(topic.id)
    } else {
        forgotten.with_topic(topic.name.clone())
    }]
}

async fn create(peer: &mut Peer, version: i16, topic: &Topic, wishes: &[Wish]) -> Result<i32> {
    let answer = peer
        .ask("create", version, &within(version, topic, (0, 0), wishes))
        .await?;
    Ok(answer.context("the session was not created")?.session_id)
}

async fn session_life(peer: &mut Peer) -> Result<()> {
    for version in VERSIONS {
        let topic = filled(peer, version).await?;
        let id = create(peer, version, &topic, &[wish(0, 0), wish(1, 0)]).await?;
        peer.ask(
            "the same again, unchanged",
            version,
            &within(version, &topic, (id, 1), &[]),
        )
        .await?;
        peer.ask(
            "both read",
            version,
            &within(version, &topic, (id, 2), &[wish(0, 1), wish(1, 1)]),
        )
        .await?;
        peer.ask(
            "nothing new",
            version,
            &within(version, &topic, (id, 3), &[]),
        )
        .await?;
        add(peer, &topic, 1).await?;
        peer.ask(
            "one has news",
            version,
            &within(version, &topic, (id, 4), &[]),
        )
        .await?;
        let forget = within(version, &topic, (id, 5), &[]).with_forgotten_topics_data(forgets(
            version,
            &topic,
            vec![1],
        ));
        peer.ask("that one is forgotten", version, &forget).await?;
        peer.ask(
            "nothing left",
            version,
            &within(version, &topic, (id, 6), &[]),
        )
        .await?;
        peer.ask(
            "it is added again",
            version,
            &within(version, &topic, (id, 7), &[wish(1, 1)]),
        )
        .await?;
        peer.ask(
            "beyond the end",
            version,
            &within(version, &topic, (id, 8), &[wish(0, 99)]),
        )
        .await?;
        peer.ask(
            "an error is told again",
            version,
            &within(version, &topic, (id, 9), &[]),
        )
        .await?;
        peer.ask(
            "close, with a last fetch",
            version,
            &within(version, &topic, (id, -1), &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            "after the close",
            version,
            &within(version, &topic, (id, 10), &[]),
        )
        .await?;
        let id = create(peer, version, &topic, &[wish(0, 0)]).await?;
        peer.ask(
            "replace by a new one",
            version,
            &within(version, &topic, (id, 0), &[wish(1, 0)]),
        )
        .await?;
        peer.ask(
            "the old one",
            version,
            &within(version, &topic, (id, 1), &[]),
        )
        .await?;
    }
    Ok(())
}

async fn session_errors(peer: &mut Peer) -> Result<()> {
    for version in VERSIONS {
        let topic = filled(peer, version).await?;
        let id = create(peer, version, &topic, &[wish(0, 0)]).await?;
        peer.ask(
            "an epoch too far",
            version,
            &within(version, &topic, (id, 2), &[]),
        )
        .await?;
        peer.ask(
            "the right epoch, after all",
            version,
            &within(version, &topic, (id, 1), &[]),
        )
        .await?;
        peer.ask(
            "the same epoch again",
            version,
            &within(version, &topic, (id, 1), &[]),
        )
        .await?;
        peer.ask("epoch -2", version, &within(version, &topic, (id, -2), &[]))
            .await?;
        let other = if id == 12345 { 54321 } else { 12345 };
        peer.ask(
            "a session that is not",
            version,
            &within(version, &topic, (other, 1), &[]),
        )
        .await?;
        peer.ask(
            "session 0, epoch 1",
            version,
            &within(version, &topic, (0, 1), &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            "session 0, epoch -1",
            version,
            &within(version, &topic, (0, -1), &[wish(0, 0)]),
        )
        .await?;
        peer.ask(
            "an empty session",
            version,
            &within(version, &topic, (0, 0), &[]),
        )
        .await?;
    }
    Ok(())
}

async fn session_topics(peer: &mut Peer) -> Result<()> {
    for version in VERSIONS {
        let topic = filled(peer, version).await?;
        let nobody = unknown("nobody.made.this");
        let mut request = within(version, &topic, (0, 0), &[wish(0, 0), wish(9, 0)]);
        request
            .topics
            .extend(within(version, &nobody, (0, 0), &[wish(0, 0)]).topics);
        let id = ask_whole(peer, "known and unknown", version, &request).await?;
        if id == 0 {
            continue;
        }
        let next = |epoch| within(version, &topic, (id, epoch), &[]);
        let forgets = |epoch, topic, parts| {
            next(epoch).with_forgotten_topics_data(forgets(version, topic, parts))
        };
        ask_whole(peer, "again", version, &next(1)).await?;
        ask_whole(
            peer,
            "the unknown is forgotten",
            version,
            &forgets(2, &nobody, vec![0]),
        )
        .await?;
        ask_whole(
            peer,
            "the missing partition is forgotten",
            version,
            &forgets(3, &topic, vec![9, 77]),
        )
        .await?;
    }
    Ok(())
}

/// Asks, and writes down each topic once: Kafka tells a topic in pieces where another one lies between its partitions, and
/// that depends on the ids.
async fn ask_whole(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: &FetchRequest,
) -> Result<i32> {
    let mut answer = peer.quietly(version, request).await?;
    let mut whole: Vec<FetchableTopicResponse> = Vec::new();
    for topic in answer.responses.drain(..) {
        match whole
            .iter_mut()
            .find(|t| t.topic == topic.topic && t.topic_id == topic.topic_id)
        {
            Some(known) => known.partitions.extend(topic.partitions),
            None => whole.push(topic),
        }
    }
    whole.sort_by_key(|t| t.partitions.iter().map(|p| p.error_code).min());
    answer.responses = whole;
    peer.write_down(&format!("Fetch: {what}"), version, &answer);
    Ok(answer.session_id)
}
