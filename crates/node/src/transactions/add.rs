//! What is added to a transaction before it is written to: partitions and groups (the classic flow).
use sh_base::{ErrorCode, Failure, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use sh_log::transaction::{add, verify};
use sh_meta::{Plan, View};

use super::{key, put_row, row_in};
use crate::{
    Caller, Node, Operation, Resource, TopicChoice,
    control::{Refusal, decision},
    lookup::check_partition,
};

/// Partitions of one topic, as a caller names them.
#[derive(Clone, Debug)]
pub struct TransactionPartitions {
    pub topic: String,
    pub partitions: Vec<PartitionIndex>,
}

/// The outcome of each partition, by topic, as they were given.
type Outcomes = Vec<Vec<Result<(), Failure>>>;

impl Node {
    /// Adds partitions to the producer's transaction, and opens it if none is open. **All or none**: where one is refused, the
    /// others are `OperationNotAttempted`. With `verify_only` it only tells whether they are in it.
    ///
    /// Errors of the whole: `InvalidProducerIdMapping`, `ProducerFenced`, `InvalidRequest`.
    pub async fn add_partitions_to_transaction(
        &self,
        caller: &Caller,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        topics: &[TransactionPartitions],
        verify_only: bool,
    ) -> Result<Outcomes, Failure> {
        self.check_id(caller, id)?;
        let mut found = Vec::with_capacity(topics.len());
        for topic in topics {
            found.push(self.find_partitions(caller, topic).await);
        }
        if found.iter().flatten().any(Result::is_err) {
            return Ok(found.into_iter().map(not_attempted).collect());
        }
        let all: Vec<TopicPartition> = found
            .iter()
            .flatten()
            .filter_map(|p| p.clone().ok())
            .collect();
        if verify_only {
            let (_, row) = self.transaction_row(&caller.org, id).await?;
            let check = |p: Result<TopicPartition, Failure>| verify(row.as_ref(), producer, p?);
            let check_topic = |of_topic: Vec<_>| of_topic.into_iter().map(check).collect();
            return Ok(found.into_iter().map(check_topic).collect());
        }
        self.add_to_transaction(caller, id, producer, all, None)
            .await?;
        let added = |of_topic: Vec<_>| of_topic.iter().map(|_| Ok(())).collect();
        Ok(found.into_iter().map(added).collect())
    }

    /// Adds a group to the producer's transaction: offsets will be committed for it.
    ///
    /// Errors: as for partitions.
    pub async fn add_group_to_transaction(
        &self,
        caller: &Caller,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        group: &str,
    ) -> Result<(), Failure> {
        self.check_id(caller, id)?;
        self.authorize(caller, Operation::Read, Resource::Group(group))?;
        let group = Some(group.to_owned());
        self.add_to_transaction(caller, id, producer, vec![], group)
            .await
    }

    async fn add_to_transaction(
        &self,
        caller: &Caller,
        id: &str,
        producer: (ProducerId, ProducerEpoch),
        partitions: Vec<TopicPartition>,
        group: Option<String>,
    ) -> Result<(), Failure> {
        let (key, now_ms) = (key(&caller.org, id), self.env().wall_ms());
        let plan = Plan {
            locks: vec![key.clone()],
            ..Plan::default()
        };
        let apply = move |view: &View| {
            let added = row_in(view, &key).and_then(|row| {
                add(
                    row.as_ref(),
                    producer,
                    &partitions,
                    group.as_deref(),
                    now_ms,
                )
            });
            match added {
                Ok(row) => {
                    let writes = row.iter().map(|row| put_row(&key, row)).collect();
                    decision(writes, &None::<Refusal>)
                }
                Err(failure) => decision(vec![], &Some(Refusal::from(failure))),
            }
        };
        let lane = self.transaction_lanes().of(id);
        let refusal: Option<Refusal> = self.change_on(lane, plan, apply).await?;
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    async fn find_partitions(
        &self,
        caller: &Caller,
        TransactionPartitions { topic, partitions }: &TransactionPartitions,
    ) -> Vec<Result<TopicPartition, Failure>> {
        let found = self.topic(caller, &TopicChoice::Name(topic.clone())).await;
        let found = found.and_then(|topic| {
            self.authorize(caller, Operation::Write, Resource::Topic(&topic.name))?;
            Ok(topic)
        });
        let find = |index: &PartitionIndex| {
            let topic = found.as_ref().map_err(Failure::clone)?;
            check_partition(topic, *index)?;
            Ok(topic.partition(*index))
        };
        partitions.iter().map(find).collect()
    }
}

fn not_attempted(partitions: Vec<Result<TopicPartition, Failure>>) -> Vec<Result<(), Failure>> {
    let told = |partition: Result<TopicPartition, Failure>| match partition {
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new(
            ErrorCode::OperationNotAttempted,
            "another partition of the request was refused",
        )),
    };
    partitions.into_iter().map(told).collect()
}
