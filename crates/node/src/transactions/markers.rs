//! Markers that an administrator writes (WriteTxnMarkers, KIP-664): for transactions that no row knows any more.
use sh_base::{ErrorCode, Failure, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use sh_log::{
    ProducerState, TransactionMarker,
    ingest::await_unleased,
    transaction::{leased, mark},
};
use sh_meta::{Key, Plan, View, Write};

use super::malformed;
use crate::{
    Caller, Node, Operation, Resource, TopicChoice,
    control::{Refusal, decision},
    lookup::check_partition,
};

/// A marker, as a caller asks for it.
#[derive(Clone, Copy, Debug)]
pub struct MarkerChoice {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub commit: bool,
    /// From 2 on (KIP-1228) the marker's epoch is that of the transaction after it: it must be higher than the one that the
    /// partition knows, so that no marker ends the next transaction.
    pub transaction_version: i8,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Reply {
    Written,
    Leased,
    Refused(Refusal),
}

impl Node {
    /// Ends a producer's transaction in one partition, whatever its transactional id says.
    ///
    /// Errors: `UnknownTopicOrPartition`, `InvalidProducerEpoch` (the partition knows a later one),
    /// `TransactionCoordinatorFenced`, `ClusterAuthorizationFailed`.
    pub async fn write_marker(
        &self,
        caller: &Caller,
        topic: &str,
        index: PartitionIndex,
        choice: MarkerChoice,
    ) -> Result<(), Failure> {
        self.authorize(caller, Operation::ClusterAction, Resource::Cluster)?;
        let topic = self
            .topic(caller, &TopicChoice::Name(topic.to_owned()))
            .await?;
        check_partition(&topic, index)?;
        let tp = topic.partition(index);
        let (lane, now_ms) = (self.control(), self.env().wall_ms());
        loop {
            let plan = Plan {
                locks: vec![Key::Head(tp), Key::Producer(tp, choice.producer)],
                ..Plan::default()
            };
            let apply = move |view: &View| match leased(view, &[tp]).map_err(malformed) {
                Ok(leased) if !leased.is_empty() => decision(vec![], &Reply::Leased),
                Ok(_) => match marked(view, tp, &choice, now_ms) {
                    Ok(writes) => decision(writes, &Reply::Written),
                    Err(failure) => decision(vec![], &Reply::Refused(failure.into())),
                },
                Err(failure) => decision(vec![], &Reply::Refused(failure.into())),
            };
            match self.change_on(lane, plan, apply).await? {
                Reply::Written => return Ok(()),
                Reply::Refused(refusal) => return Err(refusal.into()),
                Reply::Leased => {
                    await_unleased(self.store(), lane, self.env(), lane.id().by, tp).await
                }
            }
        }
    }
}

fn marked(
    view: &View,
    tp: TopicPartition,
    choice: &MarkerChoice,
    now_ms: i64,
) -> Result<Vec<Write>, Failure> {
    let known = view.value(&Key::Producer(tp, choice.producer));
    let known = known.map(|value| ProducerState::decode(value)).transpose();
    if let Some(state) = known.map_err(malformed)? {
        check(&state, choice)?;
    }
    let marker = TransactionMarker {
        producer: choice.producer,
        epoch: choice.epoch,
        coordinator_epoch: choice.coordinator_epoch,
        committed: choice.commit,
    };
    mark(view, tp, &marker, now_ms).map_err(malformed)
}

/// **Neither a producer's epoch nor its coordinator's goes back.**
fn check(state: &ProducerState, choice: &MarkerChoice) -> Result<(), Failure> {
    let is_old = match choice.transaction_version {
        ..2 => choice.epoch < state.epoch,
        2.. => choice.epoch <= state.epoch,
    };
    if is_old {
        let text = format!("the partition knows epoch {} of this producer", state.epoch);
        return Err(Failure::new(ErrorCode::InvalidProducerEpoch, text));
    }
    if choice.coordinator_epoch < state.coordinator_epoch {
        let text = format!(
            "the partition knows coordinator epoch {}",
            state.coordinator_epoch
        );
        return Err(Failure::new(ErrorCode::TransactionCoordinatorFenced, text));
    }
    Ok(())
}
