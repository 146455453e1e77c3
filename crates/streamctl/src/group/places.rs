//! Topics and partitions as arguments name them, and as results show them.
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use sh_client::{Admin, Client, ErrorCode, TopicPartition};

use crate::{
    failure::Failure,
    session::{existing, partitions},
};

/// `orders`, or `orders:0,1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArg {
    pub topic: String,
    /// None: all.
    pub partitions: Vec<i32>,
}

impl FromStr for TopicArg {
    type Err = String;
    fn from_str(text: &str) -> Result<TopicArg, String> {
        let (topic, list) = match text.split_once(':') {
            Some((topic, list)) => (topic, Some(list)),
            None => (text, None),
        };
        let index = |text: &str| text.trim().parse::<i32>().ok().filter(|p| *p >= 0);
        let partitions: Option<Vec<i32>> = list.map_or(Some(Vec::new()), |list| {
            list.split(',').map(index).collect()
        });
        match partitions {
            Some(partitions) if !topic.is_empty() => Ok(TopicArg {
                topic: topic.to_owned(),
                partitions,
            }),
            _ => Err("write TOPIC, or TOPIC:0,1 for some of its partitions".to_owned()),
        }
    }
}

/// The partitions that were named; topics and partitions that do not exist are a failure.
pub async fn resolve(
    client: &Client,
    topics: &[TopicArg],
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let mut places = BTreeSet::new();
    for arg in topics {
        let topic = existing(client, &arg.topic).await?;
        let named = partitions(&topic, &arg.partitions)?;
        places.extend(named.into_iter().map(|p| (topic.name.clone(), p)));
    }
    Ok(places)
}

pub async fn exists(admin: &Admin, topic: &str, partition: i32) -> Result<bool, Failure> {
    match admin.client().topic(topic).await {
        Ok(topic) => Ok(topic.partition(partition).is_ok()),
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub fn by_topic(places: &BTreeSet<TopicPartition>) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics
            .entry(topic.to_string())
            .or_default()
            .push(*partition);
    }
    topics
}

/// `orders:0,1 users:3`; `-` for none.
pub fn shown(topics: &BTreeMap<String, Vec<i32>>) -> String {
    if topics.is_empty() {
        return "-".to_owned();
    }
    let list = |partitions: &[i32]| {
        let numbers: Vec<String> = partitions.iter().map(i32::to_string).collect();
        numbers.join(",")
    };
    let topics = topics
        .iter()
        .map(|(topic, partitions)| format!("{topic}:{}", list(partitions)));
    topics.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_whole_or_in_parts() {
        let parts: TopicArg = "orders:0,2".parse().unwrap();
        assert_eq!(
            (parts.topic.as_str(), parts.partitions),
            ("orders", vec![0, 2])
        );
        assert!("orders".parse::<TopicArg>().unwrap().partitions.is_empty());
        for wrong in ["", ":1", "orders:", "orders:x", "orders:-1"] {
            assert!(wrong.parse::<TopicArg>().is_err(), "{wrong}");
        }
    }
}
