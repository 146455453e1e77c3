//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.
use anyhow::Result;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    alter_configs_request::{AlterConfigsResource as Whole, AlterableConfig as WholeConfig},
    describe_configs_request::DescribeConfigsResource,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};

use super::{requests::text, scenarios};
use crate::oracle::Peer;

scenarios! {
    describe_topic_configs: "all of a topic's configs, some of them, with synonyms and documentation",
    describe_broker_configs: "a broker's, the cluster's, the loggers'",
    describe_configs_errors: "resources that are not",
    alter_topic_configs: "the whole set at once",
    incremental_topic_configs: "set, delete, append, subtract",
    incremental_errors: "bad values, keys and operations",
    incremental_broker_configs: "what can be changed while the broker runs",
    incremental_loggers: "log levels",
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|k| text(k)).collect());
    let wanted = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default().with_resources(vec![wanted])
}

/// A key and its value.
type Config<'a> = (&'a str, Option<&'a str>);
/// A key, an operation and a value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

fn change(kind: i8, name: &str, changes: &[Change]) -> IncrementalAlterConfigsRequest {
    let one = |&(key, operation, value): &Change| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(one).collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn whole(kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    let one = |&(key, value): &(&str, Option<&str>)| {
        WholeConfig::default()
            .with_name(text(key))
            .with_value(value.map(text))
    };
    let resource = Whole::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(one).collect());
    AlterConfigsRequest::default().with_resources(vec![resource])
}

/// Changes are seen a moment after their answer.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
}

async fn describe_topic_configs(peer: &mut Peer) -> Result<()> {
    let plain = peer.topic("plain", 1, &[]).await?.name.0.to_string();
    let own = [
        ("retention.ms", "1000"),
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "2000"),
    ];
    let own = peer.topic("own", 1, &own).await?.name.0.to_string();
    for version in 1..=4 {
        for (what, name) in [
            ("a plain topic", &plain),
            ("a topic with configs of its own", &own),
        ] {
            let request = describe(TOPIC, name, None);
            peer.ask(what, version, &request).await?;
            let synonyms = request.with_include_synonyms(true);
            peer.ask(&format!("{what}, with synonyms"), version, &synonyms)
                .await?;
            if version >= 3 {
                let documented = synonyms.with_include_documentation(true);
                peer.ask(&format!("{what}, with documentation"), version, &documented)
                    .await?;
            }
        }
        let keys: &[&str] = &["retention.ms", "no.such.config", "cleanup.policy"];
        peer.ask(
            "three keys, one unknown",
            version,
            &describe(TOPIC, &own, Some(keys)),
        )
        .await?;
        peer.ask(
            "a key twice",
            version,
            &describe(TOPIC, &own, Some(&["segment.ms", "segment.ms"])),
        )
        .await?;
        peer.ask("no keys", version, &describe(TOPIC, &own, Some(&[])))
            .await?;
    }
    Ok(())
}

async fn describe_broker_configs(peer: &mut Peer) -> Result<()> {
    let node = peer.node().to_string();
    for version in 1..=4 {
        for (what, kind, name) in [
            ("this broker", BROKER, node.as_str()),
            ("the cluster's defaults", BROKER, ""),
            ("loggers", LOGGER, &node),
        ] {
            let request = describe(kind, name, None).with_include_synonyms(true);
            let request = if version >= 3 {
                request.with_include_documentation(true)
            } else {
                request
            };
            peer.ask(what, version, &request).await?;
        }
        let keys: &[&str] = &[
            "num.partitions",
            "advertised.listeners",
            "broker.id",
            "node.id",
            "log.retention.ms",
            "log.retention.hours",
            "message.max.bytes",
        ];
        peer.ask(
            "some keys of this broker",
            version,
            &describe(BROKER, &node, Some(keys)),
        )
        .await?;
    }
    Ok(())
}

async fn describe_configs_errors(peer: &mut Peer) -> Result<()> {
    let node = peer.node().to_string();
    for version in 1..=4 {
        for (kind, name) in [
            (TOPIC, "nobody.made.this"),
            (TOPIC, "a b"),
            (TOPIC, ""),
            (BROKER, "99"),
            (BROKER, "me"),
            (LOGGER, "99"),
            (LOGGER, ""),
            (0, "x"),
            (1, "x"),
            (3, "x"),
            (99, "x"),
            (16, "no-such-subscription"),
            (16, ""),
            (32, "no-such-group"),
            (32, ""),
        ] {
            peer.ask(
                &format!("type {kind} name {name:?}"),
                version,
                &describe(kind, name, None),
            )
            .await?;
        }
        let mut two = describe(TOPIC, "nobody.made.this", None);
        two.resources
            .extend(describe(BROKER, &node, Some(&["num.partitions"])).resources);
        peer.ask("a bad and a good one", version, &two).await?;
        peer.ask("nothing", version, &DescribeConfigsRequest::default())
            .await?;
    }
    Ok(())
}

async fn alter_topic_configs(peer: &mut Peer) -> Result<()> {
    let keys: Option<&[&str]> = Some(&["retention.ms", "segment.ms", "cleanup.policy"]);
    for version in 0..=2 {
        let topic = peer
            .topic(&format!("v{version}"), 1, &[("retention.ms", "5000")])
            .await?
            .name
            .0
            .to_string();
        let cases: [(&str, &[Config]); 10] = [
            ("one config", &[("segment.ms", Some("7000"))]),
            ("a bad value", &[("segment.ms", Some("x"))]),
            ("an unknown key", &[("no.such.config", Some("x"))]),
            ("a null value", &[("segment.ms", None)]),
            (
                "good and bad",
                &[("retention.ms", Some("9000")), ("segment.ms", Some("x"))],
            ),
            (
                "a key twice",
                &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
            ),
            (
                "two configs",
                &[
                    ("retention.ms", Some("1")),
                    ("cleanup.policy", Some("compact")),
                ],
            ),
            ("an empty key", &[("", Some("1"))]),
            ("an empty policy", &[("cleanup.policy", Some(""))]),
            ("none at all", &[]),
        ];
        for (what, configs) in cases {
            let request = whole(TOPIC, &topic, configs);
            peer.ask(
                &format!("{what}, only checked"),
                version,
                &request.clone().with_validate_only(true),
            )
            .await?;
            peer.ask(what, version, &request).await?;
            settle().await;
            peer.ask(&format!("after {what}"), 4, &describe(TOPIC, &topic, keys))
                .await?;
        }
        for (kind, name) in [
            (TOPIC, "nobody.made.this"),
            (TOPIC, "a b"),
            (TOPIC, ""),
            (BROKER, "99"),
            (LOGGER, "99"),
            (99, "x"),
            (0, "x"),
        ] {
            let what = format!("type {kind} name {name:?}");
            peer.ask(
                &what,
                version,
                &whole(kind, name, &[("retention.ms", Some("1"))]),
            )
            .await?;
        }
        peer.ask("nothing", version, &AlterConfigsRequest::default())
            .await?;
    }
    Ok(())
}

async fn incremental_topic_configs(peer: &mut Peer) -> Result<()> {
    let keys: Option<&[&str]> = Some(&["retention.ms", "segment.ms", "cleanup.policy"]);
    for version in 0..=1 {
        let topic = peer
            .topic(&format!("v{version}"), 1, &[("retention.ms", "5000")])
            .await?
            .name
            .0
            .to_string();
        let cases: [(&str, &[Change]); 14] = [
            ("set", &[("segment.ms", SET, Some("7000"))]),
            ("set again", &[("segment.ms", SET, Some("8000"))]),
            ("delete", &[("segment.ms", DELETE, None)]),
            ("delete again", &[("segment.ms", DELETE, None)]),
            (
                "delete with a value",
                &[("retention.ms", DELETE, Some("1"))],
            ),
            (
                "append to a default",
                &[("cleanup.policy", APPEND, Some("compact"))],
            ),
            (
                "append what is there",
                &[("cleanup.policy", APPEND, Some("compact"))],
            ),
            ("subtract", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
            (
                "subtract what is not there",
                &[("cleanup.policy", SUBTRACT, Some("delete"))],
            ),
            (
                "subtract the last",
                &[("cleanup.policy", SUBTRACT, Some("compact"))],
            ),
            (
                "append two",
                &[("cleanup.policy", APPEND, Some("compact,delete"))],
            ),
            (
                "set two, delete one",
                &[
                    ("retention.ms", SET, Some("1")),
                    ("segment.ms", SET, Some("2")),
                    ("cleanup.policy", DELETE, None),
                ],
            ),
            (
                "set the default",
                &[("retention.ms", SET, Some("604800000"))],
            ),
            ("no changes", &[]),
        ];
        for (what, changes) in cases {
            let request = change(TOPIC, &topic, changes);
            peer.ask(
                &format!("{what}, only checked"),
                version,
                &request.clone().with_validate_only(true),
            )
            .await?;
            peer.ask(what, version, &request).await?;
            settle().await;
            let after = describe(TOPIC, &topic, keys).with_include_synonyms(true);
            peer.ask(&format!("after {what}"), 4, &after).await?;
        }
    }
    Ok(())
}

async fn incremental_errors(peer: &mut Peer) -> Result<()> {
    let node = peer.node().to_string();
    for version in 0..=1 {
        let topic = peer
            .topic(&format!("v{version}"), 1, &[])
            .await?
            .name
            .0
            .to_string();
        let cases: [(&str, &[Change]); 15] = [
            ("a bad number", &[("retention.ms", SET, Some("x"))]),
            ("out of range", &[("retention.ms", SET, Some("-2"))]),
            ("a bad policy", &[("cleanup.policy", SET, Some("forget"))]),
            ("an unknown key", &[("no.such.config", SET, Some("x"))]),
            (
                "an unknown key deleted",
                &[("no.such.config", DELETE, None)],
            ),
            ("an empty key", &[("", SET, Some("x"))]),
            ("set null", &[("retention.ms", SET, None)]),
            ("append null", &[("cleanup.policy", APPEND, None)]),
            ("append to a number", &[("retention.ms", APPEND, Some("1"))]),
            (
                "subtract from a number",
                &[("retention.ms", SUBTRACT, Some("1"))],
            ),
            (
                "append a bad policy",
                &[("cleanup.policy", APPEND, Some("forget"))],
            ),
            (
                "a key twice",
                &[
                    ("retention.ms", SET, Some("1")),
                    ("retention.ms", SET, Some("2")),
                ],
            ),
            (
                "a key set and deleted",
                &[
                    ("retention.ms", SET, Some("1")),
                    ("retention.ms", DELETE, None),
                ],
            ),
            (
                "good and bad",
                &[
                    ("retention.ms", SET, Some("1")),
                    ("segment.ms", SET, Some("x")),
                ],
            ),
            (
                "set the policy to nothing",
                &[("cleanup.policy", SET, Some(""))],
            ),
        ];
        for (what, changes) in cases {
            peer.ask(what, version, &change(TOPIC, &topic, changes))
                .await?;
            peer.ask(
                &format!("{what}, only checked"),
                version,
                &change(TOPIC, &topic, changes).with_validate_only(true),
            )
            .await?;
        }
        settle().await;
        let keys: Option<&[&str]> = Some(&["retention.ms", "segment.ms", "cleanup.policy"]);
        peer.ask("after all of them", 4, &describe(TOPIC, &topic, keys))
            .await?;
        for (kind, name) in [
            (TOPIC, "nobody.made.this"),
            (TOPIC, "a b"),
            (TOPIC, ""),
            (BROKER, "99"),
            (BROKER, "me"),
            (LOGGER, "99"),
            (LOGGER, ""),
            (99, "x"),
            (0, "x"),
            (3, "x"),
        ] {
            let what = format!("type {kind} name {name:?}");
            peer.ask(
                &what,
                version,
                &change(kind, name, &[("retention.ms", SET, Some("1"))]),
            )
            .await?;
        }
        let mut twice = change(TOPIC, &topic, &[("segment.ms", SET, Some("1"))]);
        twice
            .resources
            .extend(change(TOPIC, &topic, &[("segment.ms", SET, Some("2"))]).resources);
        peer.ask("a resource twice", version, &twice).await?;
        let mut both = change(TOPIC, "nobody.made.this", &[("segment.ms", SET, Some("1"))]);
        both.resources
            .extend(change(BROKER, &node, &[("no.such.config", SET, Some("2"))]).resources);
        peer.ask("two bad ones", version, &both).await?;
        peer.ask(
            "nothing",
            version,
            &IncrementalAlterConfigsRequest::default(),
        )
        .await?;
    }
    Ok(())
}

async fn incremental_broker_configs(peer: &mut Peer) -> Result<()> {
    let node = peer.node().to_string();
    let keys: Option<&[&str]> = Some(&[
        "log.retention.ms",
        "message.max.bytes",
        "num.partitions",
        "log.cleanup.policy",
    ]);
    for version in 0..=1 {
        for (scope, name) in [("one broker", node.as_str()), ("all brokers", "")] {
            let cases: [(&str, &[Change]); 9] = [
                ("a dynamic one", &[("log.retention.ms", SET, Some("90000"))]),
                (
                    "a second one",
                    &[("message.max.bytes", SET, Some("2000000"))],
                ),
                ("a read-only one", &[("broker.rack", SET, Some("r"))]),
                (
                    "the number of partitions",
                    &[("num.partitions", SET, Some("3"))],
                ),
                ("a bad value", &[("log.retention.ms", SET, Some("x"))]),
                ("an unknown one", &[("no.such.config", SET, Some("x"))]),
                ("a unknown one deleted", &[("no.such.config", DELETE, None)]),
                (
                    "append to a list",
                    &[("log.cleanup.policy", APPEND, Some("compact"))],
                ),
                (
                    "all back",
                    &[
                        ("log.retention.ms", DELETE, None),
                        ("message.max.bytes", DELETE, None),
                        ("log.cleanup.policy", DELETE, None),
                        ("no.such.config", DELETE, None),
                    ],
                ),
            ];
            for (what, changes) in cases {
                let request = change(BROKER, name, changes);
                peer.ask(
                    &format!("{scope}: {what}, only checked"),
                    version,
                    &request.clone().with_validate_only(true),
                )
                .await?;
                peer.ask(&format!("{scope}: {what}"), version, &request)
                    .await?;
                settle().await;
                let after = describe(BROKER, &node, keys).with_include_synonyms(true);
                peer.ask(&format!("{scope}: after {what}"), 4, &after)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn incremental_loggers(peer: &mut Peer) -> Result<()> {
    let node = peer.node().to_string();
    for version in 0..=1 {
        let cases: [(&str, &[Change]); 9] = [
            ("a level for root", &[("root", SET, Some("WARN"))]),
            ("a level in small letters", &[("root", SET, Some("info"))]),
            ("no such level", &[("root", SET, Some("LOUD"))]),
            ("no such logger", &[("no.such.Logger", SET, Some("INFO"))]),
            ("root deleted", &[("root", DELETE, None)]),
            (
                "no such logger deleted",
                &[("no.such.Logger", DELETE, None)],
            ),
            ("append", &[("root", APPEND, Some("INFO"))]),
            ("null", &[("root", SET, None)]),
            ("root as it was", &[("root", SET, Some("ERROR"))]),
        ];
        for (what, changes) in cases {
            let request = change(LOGGER, &node, changes);
            peer.ask(
                &format!("{what}, only checked"),
                version,
                &request.clone().with_validate_only(true),
            )
            .await?;
            peer.ask(what, version, &request).await?;
            peer.ask(
                &format!("after {what}"),
                4,
                &describe(LOGGER, &node, Some(&["root"])),
            )
            .await?;
        }
    }
    Ok(())
}
