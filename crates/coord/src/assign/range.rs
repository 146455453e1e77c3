//! Range: for each topic the subscribers in a fixed order, each with a run of neighbouring partitions.
use std::collections::BTreeMap;

use sh_base::{PartitionIndex, TopicId};

use super::Subscriber;
use crate::row::Target;

pub(super) fn assign(
    subscribers: &BTreeMap<String, Subscriber>,
    partitions: &BTreeMap<TopicId, PartitionIndex>,
) -> BTreeMap<String, Target> {
    let mut targets: BTreeMap<String, Target> = subscribers
        .keys()
        .map(|id| (id.clone(), Target::default()))
        .collect();
    let order = in_order(subscribers);
    for (topic, count) in partitions {
        let of_topic: Vec<&String> = order
            .iter()
            .copied()
            .filter(|id| subscribers[*id].topics.contains(topic))
            .collect();
        for (id, range) in of_topic.iter().zip(ranges(*count, of_topic.len())) {
            let target = targets.entry((*id).clone()).or_default();
            range.for_each(|partition| target.insert(*topic, partition));
        }
    }
    targets
}

/// Static members first, by instance id: their ranges survive restarts. The others by member id.
fn in_order(subscribers: &BTreeMap<String, Subscriber>) -> Vec<&String> {
    let mut order: Vec<&String> = subscribers.keys().collect();
    order.sort_by_key(|id| {
        let instance = subscribers[*id].instance_id.as_ref();
        (instance.is_none(), instance, *id)
    });
    order
}

/// `count` partitions in `parts` runs; the first runs are longer by one where it does not divide.
fn ranges(
    count: PartitionIndex,
    parts: usize,
) -> impl Iterator<Item = std::ops::Range<PartitionIndex>> {
    let parts_i32 = (parts as PartitionIndex).max(1);
    let (each, longer) = (count / parts_i32, count % parts_i32);
    (0..parts as PartitionIndex).map(move |i| {
        let start = i * each + i.min(longer);
        start..start + each + PartitionIndex::from(i < longer)
    })
}
