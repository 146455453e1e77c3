//! What topics there are, and what one looks like.
use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{Admin, ConfigEntry, ConfigResource, Topic};

use super::DescribeArgs;
use crate::{
    failure::Failure,
    offsets::{Bounds, bounds},
    output::{count, table},
    session::{Session, existing},
};

#[derive(Serialize)]
struct Listed {
    topic: String,
    topic_id: String,
    partitions: usize,
    internal: bool,
}

/// All topics; those that hold the server's own state only if `internal`.
pub async fn list(internal: bool, session: &Session) -> Result<(), Failure> {
    let topics = session.connect().await?.topics().await?;
    let shown = topics.iter().filter(|topic| internal || !topic.internal);
    let listed: Vec<Listed> = shown.map(|topic| listed(topic)).collect();
    session.output().show(&listed, |topics| {
        let row = |t: &Listed| {
            [
                t.topic.clone(),
                t.partitions.to_string(),
                t.topic_id.clone(),
            ]
        };
        table(["topic", "partitions", "topic id"], topics.iter().map(row))
    })
}

fn listed(topic: &Topic) -> Listed {
    Listed {
        topic: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partitions: topic.partitions.len(),
        internal: topic.internal,
    }
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    topic: Listed,
    partition_list: Vec<PartitionView>,
    configs: BTreeMap<String, Option<String>>,
}

#[derive(Serialize)]
struct PartitionView {
    leader: i32,
    leader_epoch: i32,
    #[serde(flatten)]
    bounds: Bounds,
}

pub async fn describe(args: DescribeArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let topic = existing(&client, &args.topic).await?;
    let admin = Admin::new(client);
    let views = topic.partitions.iter().map(async |p| {
        let bounds = bounds(&admin, &topic.name, p.index).await?;
        Ok::<_, Failure>(PartitionView {
            leader: p.leader,
            leader_epoch: p.leader_epoch,
            bounds,
        })
    });
    let partition_list = try_join_all(views).await?;
    let configs = admin
        .describe_configs(&ConfigResource::Topic(args.topic.clone()))
        .await?;
    let described = Described {
        topic: listed(&topic),
        partition_list,
        configs: configs
            .into_iter()
            .filter(|c| args.all || is_set_on_topic(c))
            .map(|c| (c.name, c.value))
            .collect(),
    };
    session.output().show(&described, text)
}

/// DescribeConfigs' source 1: a setting of this topic, not one that it inherits.
fn is_set_on_topic(config: &ConfigEntry) -> bool {
    config.source == 1
}

fn text(described: &Described) -> String {
    let Described {
        topic,
        partition_list,
        configs,
    } = described;
    let row = |p: &PartitionView| {
        let Bounds {
            partition,
            earliest,
            latest,
        } = p.bounds;
        let held = count(u64::try_from(latest - earliest).unwrap_or(0));
        [
            partition.to_string(),
            p.leader.to_string(),
            earliest.to_string(),
            latest.to_string(),
            held,
        ]
    };
    let partitions = table(
        ["partition", "leader", "earliest", "latest", "offsets"],
        partition_list.iter().map(row),
    );
    let setting = |(name, value): (&String, &Option<String>)| {
        [name.clone(), value.clone().unwrap_or_default()]
    };
    let settings = match configs.is_empty() {
        true => "no settings of its own (--all shows the defaults)".to_owned(),
        false => table(["setting", "value"], configs.iter().map(setting)),
    };
    format!(
        "topic {} (id {})\n\n{partitions}\n\n{settings}",
        topic.topic, topic.topic_id
    )
}
