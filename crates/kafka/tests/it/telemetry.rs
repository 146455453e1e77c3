//! Metrics of clients (KIP-714), and features.
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupHeartbeatRequest, GetTelemetrySubscriptionsRequest,
    IncrementalAlterConfigsRequest, PushTelemetryRequest, UpdateFeaturesRequest,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    update_features_request::FeatureUpdateKey,
};
use sh_client::Connection;
use uuid::Uuid;

use crate::world::{World, text, topic_name};

const CLIENT_METRICS: i8 = 16;

async fn subscribe(client: &Connection, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(CLIENT_METRICS)
        .with_resource_name(text("sub"))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(&request, 1).await.unwrap();
    assert_eq!(answer.responses[0].error_code, 0);
}

/// A message of Protocol Buffers inside of another.
fn nested(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, body.len() as u8], body].concat()
}

/// OTLP with one gauge.
fn gauge(name: &str, value: f64) -> Vec<u8> {
    let point = [&[4 << 3 | 1], value.to_le_bytes().as_slice()].concat();
    let metric = [nested(1, name.as_bytes()), nested(5, &nested(1, &point))].concat();
    nested(1, &nested(2, &nested(2, &metric)))
}

#[tokio::test]
async fn a_client_is_asked_for_metrics_and_what_it_pushes_is_shown() {
    let world = World::start().await;
    let client = world.connect().await;
    let ask = GetTelemetrySubscriptionsRequest::default();
    let told = client.call(&ask, 0).await.unwrap();
    assert_eq!((told.error_code, told.requested_metrics), (0, vec![]));
    subscribe(&client, &[("metrics", "my."), ("interval.ms", "60000")]).await;
    let ask = ask.with_client_instance_id(told.client_instance_id);
    let told = client.call(&ask, 0).await.unwrap();
    assert_eq!((told.error_code, told.push_interval_ms), (0, 60_000));
    assert_eq!(told.requested_metrics, [text("my.")]);
    let push = PushTelemetryRequest::default()
        .with_client_instance_id(told.client_instance_id)
        .with_subscription_id(told.subscription_id)
        .with_metrics(gauge("my.rate", 2.5).into());
    let pushed = async |push: &PushTelemetryRequest| client.call(push, 0).await.unwrap().error_code;
    assert_eq!(pushed(&push).await, 0);
    assert_eq!(pushed(&push).await, 89, "too early");
    let shown = world.node.telemetry_text();
    assert!(shown.contains("metric=\"my.rate\"} 2.5"), "{shown}");
    let other = push.with_client_instance_id(Uuid::from_u128(77));
    assert_eq!(pushed(&other).await, 117, "the subscription of another");
    let told = GetTelemetrySubscriptionsRequest::default();
    let told = client.call(&told, 0).await.unwrap();
    let odd = PushTelemetryRequest::default()
        .with_client_instance_id(told.client_instance_id)
        .with_subscription_id(told.subscription_id)
        .with_metrics(vec![0x0a, 0xff].into());
    assert_eq!(pushed(&odd).await, 87, "no OTLP");
}

#[tokio::test]
async fn a_subscription_chooses_its_clients() {
    let world = World::start().await;
    let client = world.connect().await;
    let named = ApiVersionsRequest::default()
        .with_client_software_name(text("some-client"))
        .with_client_software_version(text("3.1"));
    client.call(&named, 3).await.unwrap();
    let metrics = async || {
        let ask = GetTelemetrySubscriptionsRequest::default();
        client.call(&ask, 0).await.unwrap().requested_metrics
    };
    let matching = "client_software_name=some-.*,client_software_version=3\\.1";
    subscribe(&client, &[("metrics", "*,a"), ("match", matching)]).await;
    assert_eq!(metrics().await, [text("*")]);
    subscribe(&client, &[("match", "client_software_name=some")]).await;
    assert!(metrics().await.is_empty(), "the whole name must match");
}

#[tokio::test]
async fn a_feature_is_turned_off_and_on_again() {
    let world = World::start().await;
    let client = world.connect().await;
    let update = async |level, how| {
        let update = FeatureUpdateKey::default()
            .with_feature(text("group.version"))
            .with_max_version_level(level)
            .with_upgrade_type(how);
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        client.call(&request, 2).await.unwrap().error_code
    };
    let level = async || {
        let named = ApiVersionsRequest::default()
            .with_client_software_name(text("a"))
            .with_client_software_version(text("1"));
        let answer = client.call(&named, 4).await.unwrap();
        let found = answer
            .finalized_features
            .iter()
            .find(|f| &*f.name == "group.version");
        (
            answer.finalized_features_epoch,
            found.map(|f| f.max_version_level),
        )
    };
    let beat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text("g").into())
        .with_rebalance_timeout_ms(1_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(vec![]));
    assert_eq!(level().await, (1, Some(1)));
    assert_eq!(update(0, 1).await, 95, "not without saying so");
    assert_eq!(update(0, 2).await, 0);
    assert_eq!(level().await, (2, None));
    assert_eq!(client.call(&beat, 0).await.unwrap().error_code, 35);
    assert_eq!(update(1, 1).await, 0);
    assert_eq!(level().await, (3, Some(1)));
    assert_eq!(client.call(&beat, 0).await.unwrap().error_code, 0);
}
