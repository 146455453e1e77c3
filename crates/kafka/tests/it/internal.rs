//! The topics that Kafka keeps for itself.
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest};
use sh_client::Connection;

use crate::world::{World, fetch, produce, text};

const OFFSETS: &str = "__consumer_offsets";

async fn listed(client: &Connection) -> Vec<(String, bool, usize)> {
    let request = MetadataRequest::default().with_topics(None);
    let answer = client.call(&request, 12).await.unwrap();
    let topics = answer.topics.iter();
    topics
        .map(|t| {
            let name = t.name.as_ref().map(|n| n.0.to_string()).unwrap_or_default();
            (name, t.is_internal, t.partitions.len())
        })
        .collect()
}

#[tokio::test]
async fn an_internal_topic_appears_when_a_coordinator_of_its_kind_is_looked_for() {
    let world = World::start().await;
    let client = world.connect().await;
    assert_eq!(listed(&client).await, []);
    for kind in [0, 1, 0] {
        let request = FindCoordinatorRequest::default().with_key(text("a"));
        let found = client.call(&request.with_key_type(kind), 2).await.unwrap();
        assert_eq!(found.error_code, 0);
    }
    let expected = [OFFSETS, "__transaction_state"].map(|name| (name.to_owned(), true, 50));
    assert_eq!(listed(&client).await, expected);
}

#[tokio::test]
async fn an_internal_topic_is_empty_and_stays_so() {
    let world = World::start().await;
    world.topic("plain", 1, &[]).await;
    let client = world.connect().await;
    let request = FindCoordinatorRequest::default().with_key(text("a"));
    client.call(&request, 2).await.unwrap();
    let batch = crate::world::batch(&["v"]);
    let written = client
        .call(&produce(OFFSETS, -1, &[(0, &batch)]), 9)
        .await
        .unwrap();
    assert_eq!(written.responses[0].partition_responses[0].error_code, 17);
    let read = client.call(&fetch(OFFSETS, &[(0, 0)]), 11).await.unwrap();
    let partition = &read.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 0));
}
