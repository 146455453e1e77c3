//! Adding partitions to topics.
use std::collections::BTreeSet;

use sh_base::{ErrorCode, Failure};
use sh_meta::Key;

use super::{
    PARTITIONS_PER_REQUEST_MAX, assignment, duplicate_name, repeated, too_many_partitions,
};
use crate::{
    Caller, Node, Operation, Resource, TopicRow, control::put, topic::living_row,
    topic_table::unknown_name,
};

/// How many partitions a topic shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub name: String,
    /// In all, not more.
    pub count: i32,
    /// The brokers of each new partition. `None`: none by hand.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl Node {
    /// Adds partitions, to each topic for itself, in the order of the request (a repeated name is answered once, at the end).
    ///
    /// Errors: `UnknownTopicOrPartition`, `InvalidPartitions`, `InvalidReplicaAssignment`, `InvalidRequest`.
    pub async fn create_partitions(
        &self,
        caller: &Caller,
        topics: Vec<NewPartitions>,
        validate_only: bool,
    ) -> Vec<(String, Result<(), Failure>)> {
        let twice = repeated(topics.iter().map(|t| t.name.as_str()));
        let mut answers = Vec::new();
        for topic in topics.into_iter().filter(|t| !twice.contains(&t.name)) {
            answers.push((
                topic.name.clone(),
                self.grow_topic(caller, topic, validate_only).await,
            ));
        }
        answers.extend(twice.into_iter().map(|name| (name, Err(duplicate_name()))));
        answers
    }

    async fn grow_topic(
        &self,
        caller: &Caller,
        wanted: NewPartitions,
        validate_only: bool,
    ) -> Result<(), Failure> {
        let name = wanted
            .name
            .as_str()
            .try_into()
            .map_err(|_| unknown_name(&wanted.name))?;
        self.authorize(caller, Operation::Alter, Resource::Topic(&name))?;
        let topic = self.topics().by_name(&caller.org, &name).await?;
        let brokers = self
            .cluster()
            .await?
            .agents
            .iter()
            .map(|a| a.id.0 as i32)
            .collect();
        let row = self.row(Key::Topic(topic.id)).await?;
        let row = row.value.ok_or_else(|| unknown_name(&wanted.name))?;
        grow(&TopicRow::decode(&row)?, &wanted, &brokers)?;
        if validate_only {
            return Ok(());
        }
        let id = topic.id;
        self.try_change(vec![Key::Topic(id)], move |view| {
            let row = living_row(view, id).ok_or_else(|| unknown_name(&wanted.name))?;
            Ok(vec![put(
                Key::Topic(id),
                grow(&row, &wanted, &brokers)?.encode(),
            )])
        })
        .await
    }
}

/// Pure: the topic with its new number of partitions, by Kafka's rules.
fn grow(
    row: &TopicRow,
    wanted: &NewPartitions,
    brokers: &BTreeSet<i32>,
) -> Result<TopicRow, Failure> {
    let refused = |text| Err(Failure::new(ErrorCode::InvalidPartitions, text));
    let (now, count) = (row.partitions, wanted.count);
    if count == now {
        return refused(format!("Topic already has {now} partition(s)."));
    }
    if count < now {
        return refused(format!(
            "The topic {} currently has {now} partition(s); {count} would not be an increase.",
            wanted.name
        ));
    }
    let added = count - now;
    if added > PARTITIONS_PER_REQUEST_MAX {
        return Err(too_many_partitions());
    }
    if let Some(assignments) = &wanted.assignments {
        let factor = factor_of(row, assignments);
        assignment::of_new_partitions(assignments, added, factor, brokers)?;
    }
    Ok(TopicRow {
        partitions: count,
        ..row.clone()
    })
}

/// How many brokers each new partition must name. The topic's own factor may be more than there are brokers (any is
/// accepted), so only that the new partitions agree is asked for.
fn factor_of(row: &TopicRow, assignments: &[Vec<i32>]) -> i16 {
    assignments
        .first()
        .map_or(row.replication_factor, |first| first.len() as i16)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn topic(partitions: i32) -> TopicRow {
        TopicRow {
            org: "default".into(),
            name: "t".into(),
            partitions,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
            deletion: None,
        }
    }

    fn wanted(count: i32, assignments: Option<Vec<Vec<i32>>>) -> NewPartitions {
        NewPartitions {
            name: "t".into(),
            count,
            assignments,
        }
    }

    #[test]
    fn a_topic_only_grows() {
        let brokers = BTreeSet::from([1]);
        let try_grow = |n, a| grow(&topic(2), &wanted(n, a), &brokers);
        assert_eq!(try_grow(5, None).unwrap().partitions, 5);
        assert_eq!(
            try_grow(2, None).unwrap_err().message,
            "Topic already has 2 partition(s)."
        );
        assert!(
            try_grow(1, None)
                .unwrap_err()
                .message
                .contains("1 would not be an increase")
        );
        let few = try_grow(4, Some(vec![vec![1]])).unwrap_err();
        assert_eq!(few.code, ErrorCode::InvalidReplicaAssignment);
        assert!(
            few.message
                .contains("add 2 additional partition(s), but only 1")
        );
        assert!(try_grow(3, Some(vec![vec![1]])).is_ok());
    }
}
