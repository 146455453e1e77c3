//! Telemetry of clients (KIP-714): subscriptions, and pushes that are taken or refused.
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, GetTelemetrySubscriptionsRequest,
    GetTelemetrySubscriptionsResponse, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    PushTelemetryRequest,
    alter_configs_request::{AlterConfigsResource, AlterableConfig as Whole},
    describe_configs_request::DescribeConfigsResource,
    incremental_alter_configs_request::{AlterConfigsResource as Resource, AlterableConfig},
};
use uuid::Uuid;

use super::{requests::text, scenarios};
use crate::oracle::Peer;

scenarios! {
    telemetry_pushed: "what a client is asked for, and what it pushes",
    telemetry_subscribed: "subscriptions choose clients and metrics",
    client_metrics_configs: "subscriptions as configs: altered, described, listed",
}

const CLIENT_METRICS: i8 = 16;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// A client instance that only this run knows.
fn instance(peer: &Peer, number: u64) -> Uuid {
    Uuid::from_u64_pair(peer.now_ms() as u64, number + 1000)
}

async fn asked(peer: &mut Peer, instance: Uuid) -> Result<GetTelemetrySubscriptionsResponse> {
    let request = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(instance);
    peer.quietly(0, &request).await
}

fn push(instance: Uuid, subscription: i32) -> PushTelemetryRequest {
    PushTelemetryRequest::default()
        .with_client_instance_id(instance)
        .with_subscription_id(subscription)
}

async fn telemetry_pushed(peer: &mut Peer) -> Result<()> {
    let unnamed = asked(peer, Uuid::nil()).await?;
    let got_an_id = !unnamed.client_instance_id.is_nil();
    let brief = unnamed
        .with_client_instance_id(Uuid::from_u128(got_an_id.into()))
        .with_subscription_id(0);
    peer.write_down("GetTelemetrySubscriptions: a new instance", 0, &brief);
    let id = instance(peer, 0);
    let ask = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id);
    let told = asked(peer, id).await?;
    peer.write_down("GetTelemetrySubscriptions: its own id", 0, &told);
    peer.ask("again at once", 0, &ask).await?;
    let own = push(id, told.subscription_id);
    peer.ask("the first after a question", 0, &own).await?;
    peer.ask("a second at once", 0, &own).await?;
    let last = own.clone().with_terminating(true);
    peer.ask("the last, at once", 0, &last).await?;
    peer.ask("one after the last", 0, &own).await?;
    peer.ask("a question after the last", 0, &ask).await?;
    for (what, id) in [("nil", Uuid::nil()), ("one", Uuid::from_u128(1))] {
        peer.ask(&format!("of instance {what}"), 0, &push(id, 0))
            .await?;
    }
    let cases: [(&str, i32, i8, usize); 5] = [
        ("of another subscription", 1, 0, 0),
        ("packed with 9", 0, 9, 0),
        ("packed with -1", 0, -1, 0),
        ("as large as may be", 0, 0, 1_048_576),
        ("too large", 0, 0, 1_048_577),
    ];
    for (number, (what, off, codec, bytes)) in (1..).zip(cases) {
        let id = instance(peer, number);
        let told = asked(peer, id).await?;
        // Field 15, bytes: nothing that a reader of metrics looks at.
        let payload = match bytes {
            0 => Bytes::new(),
            n => {
                let mut filler = vec![0; n];
                let body = u32::try_from(n - 4).unwrap_or_default();
                filler[..4].copy_from_slice(&[
                    0x7a,
                    (body & 0x7f) as u8 | 0x80,
                    (body >> 7 & 0x7f) as u8 | 0x80,
                    (body >> 14) as u8,
                ]);
                filler.into()
            }
        };
        let request = push(id, told.subscription_id ^ off)
            .with_compression_type(codec)
            .with_metrics(payload);
        peer.ask(what, 0, &request).await?;
        peer.ask(&format!("{what}, once more"), 0, &request).await?;
    }
    let id = instance(peer, 90);
    let terminating = push(id, 0).with_terminating(true);
    peer.ask("a last one of another subscription", 0, &terminating)
        .await?;
    peer.ask("another after that", 0, &terminating).await?;
    Ok(())
}

fn alter(name: &str, configs: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let config = |(name, op, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*op)
            .with_value(value.map(text))
    };
    let resource = Resource::default()
        .with_resource_type(CLIENT_METRICS)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(config).collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

async fn telemetry_subscribed(peer: &mut Peer) -> Result<()> {
    let name = peer.name("everybody").0.to_string();
    let subscriptions: [(&str, &[(&str, &str)]); 5] = [
        (
            "one prefix",
            &[
                ("metrics", "org.apache.kafka.producer."),
                ("interval.ms", "1000"),
            ],
        ),
        (
            "other clients",
            &[("metrics", "a"), ("match", "client_id=nobody.*")],
        ),
        (
            "this client",
            &[
                ("metrics", "a"),
                ("match", "client_id=orac.*,client_software_name=.*"),
            ],
        ),
        (
            "part of its id",
            &[("metrics", "a"), ("match", "client_id=orac")],
        ),
        (
            "everything",
            &[("metrics", "a,*,b"), ("interval.ms", "200000")],
        ),
    ];
    for (number, (what, configs)) in (200..).zip(subscriptions) {
        let set: Vec<_> = configs.iter().map(|(k, v)| (*k, SET, Some(*v))).collect();
        peer.quietly(1, &alter(&name, &set)).await?;
        // Kafka's broker hears of it a moment later.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let told = asked(peer, instance(peer, number)).await?;
        peer.write_down(&format!("GetTelemetrySubscriptions: {what}"), 0, &told);
        let gone = ["metrics", "match", "interval.ms"].map(|k| (k, DELETE, None));
        peer.quietly(1, &alter(&name, &gone)).await?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = asked(peer, instance(peer, 300)).await?;
    peer.write_down("GetTelemetrySubscriptions: no longer", 0, &told);
    Ok(())
}

async fn client_metrics_configs(peer: &mut Peer) -> Result<()> {
    let name = peer.name("sub").0.to_string();
    let describe = |name: &str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(CLIENT_METRICS)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true)
    };
    peer.ask("one that is not", 4, &describe(&name)).await?;
    let long = "x".repeat(300);
    let cases: &[(&str, i8, Option<&str>)] = &[
        ("interval.ms", SET, Some("99")),
        ("interval.ms", SET, Some("100")),
        ("interval.ms", SET, Some("3600001")),
        ("interval.ms", SET, Some("x")),
        ("interval.ms", SET, None),
        ("interval.ms", APPEND, Some("5")),
        ("interval.ms", DELETE, None),
        ("metrics", SET, Some("")),
        ("metrics", SET, Some("*")),
        ("metrics", SET, Some("a,,b")),
        ("metrics", SET, Some(&long)),
        ("metrics", APPEND, Some("q")),
        ("metrics", SUBTRACT, Some("q")),
        ("match", SET, Some("client_id=.*")),
        ("match", SET, Some("client_id=[")),
        ("match", SET, Some("client_id=")),
        ("match", SET, Some("color=red")),
        ("match", SET, Some("client_id")),
        ("match", SET, Some("client_id=a=b")),
        ("match", SET, Some("client_id=a,client_id=b")),
        ("no.such.config", SET, Some("1")),
        ("no.such.config", DELETE, None),
    ];
    for (config, op, value) in cases {
        let what = format!("{config}, operation {op}, {value:?}");
        let checked = alter(&name, &[(config, *op, *value)]).with_validate_only(true);
        peer.ask(&what, 1, &checked).await?;
    }
    peer.ask(
        "without a name",
        1,
        &alter("", &[("metrics", SET, Some("a"))]),
    )
    .await?;
    let good = [
        ("interval.ms", SET, Some(" 3000000 ")),
        ("metrics", SET, Some(" a , b ")),
        ("match", SET, Some(" client_id = nobody ")),
    ];
    peer.ask("three of them", 1, &alter(&name, &good)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.ask("three of them", 4, &describe(&name)).await?;
    let config = Whole::default()
        .with_name(text("interval.ms"))
        .with_value(Some(text("3100000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(CLIENT_METRICS)
        .with_resource_name(text(&name))
        .with_configs(vec![config]);
    let replaced = AlterConfigsRequest::default().with_resources(vec![resource]);
    peer.ask("one in place of all", 2, &replaced).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.ask("one in place of all", 4, &describe(&name)).await?;
    for version in [0, 1] {
        let request = ListConfigResourcesRequest::default();
        let request = match version {
            0 => request,
            _ => request.with_resource_types(vec![CLIENT_METRICS]),
        };
        let mut listed = peer.quietly(version, &request).await?;
        listed
            .config_resources
            .retain(|r| *r.resource_name == *name);
        peer.write_down("ListConfigResources: the subscription", version, &listed);
    }
    peer.ask(
        "the last one gone",
        1,
        &alter(&name, &[("interval.ms", DELETE, None)]),
    )
    .await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![CLIENT_METRICS]);
    let mut listed = peer.quietly(1, &request).await?;
    listed
        .config_resources
        .retain(|r| *r.resource_name == *name);
    peer.write_down("ListConfigResources: no longer", 1, &listed);
    Ok(())
}
