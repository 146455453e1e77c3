//! Looking up offsets: by position, by time, by leader epoch; and who has written to a partition.
use std::sync::Arc;

use sh_base::{ErrorCode, Failure, Offset, PartitionIndex, ProducerId};
use sh_log::{Ends, ProducerState};

use crate::{Caller, Node, Operation, Resource, Topic, TopicChoice, lookup::check_partition};

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start.
    Earliest,
    /// The high watermark, or the last stable offset where only committed records are read.
    Latest,
    /// The first record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record whose timestamp, milliseconds, is at or after this one.
    At(i64),
}

/// An offset that was found; -1 in all places where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub offset: Offset,
    /// That of the record; -1 where no record was looked for.
    pub timestamp: i64,
    pub leader_epoch: i32,
}

impl FoundOffset {
    pub const NONE: FoundOffset = FoundOffset {
        offset: -1,
        timestamp: -1,
        leader_epoch: -1,
    };
}

/// A producer that a partition remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub state: ProducerState,
    /// The first offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

/// A partition, as a caller names it.
#[derive(Clone, Debug)]
pub struct PartitionChoice {
    pub topic: TopicChoice,
    pub index: PartitionIndex,
    /// The leader epoch that the caller knows; another one is an error.
    pub leader_epoch: Option<i32>,
}

impl Node {
    /// The offset that `spec` names. Read from the store: an end is never taken from a cache.
    pub async fn list_offset(
        &self,
        caller: &Caller,
        partition: &PartitionChoice,
        spec: OffsetSpec,
        read_committed: bool,
    ) -> Result<FoundOffset, Failure> {
        let (topic, ends) = self.current(caller, partition).await?;
        let tp = topic.partition(partition.index);
        let end = if read_committed {
            ends.last_stable
        } else {
            ends.next
        };
        let found = match spec {
            OffsetSpec::Earliest => Some((ends.log_start, -1, epoch_at(&ends, ends.log_start))),
            OffsetSpec::Latest => Some((end, -1, ends.leader_epoch)),
            OffsetSpec::At(timestamp) => self.reader().offset_at(tp, timestamp, end).await?,
            OffsetSpec::MaxTimestamp => self.reader().max_timestamp(tp).await?,
        };
        Ok(match found {
            Some((offset, timestamp, leader_epoch)) if offset <= end => FoundOffset {
                offset,
                timestamp,
                leader_epoch,
            },
            _ => FoundOffset::NONE,
        })
    }

    /// Where a leader epoch ended (KIP-101, KIP-320): the greatest epoch not after `epoch`, and the offset at which the next one
    /// began; (-1, -1) where there is none.
    pub async fn offset_for_leader_epoch(
        &self,
        caller: &Caller,
        partition: &PartitionChoice,
        epoch: i32,
    ) -> Result<(i32, Offset), Failure> {
        let (topic, _) = self.current(caller, partition).await?;
        self.reader()
            .epoch_end(topic.partition(partition.index), epoch)
            .await
    }

    /// The producers that a partition remembers.
    pub async fn describe_producers(
        &self,
        caller: &Caller,
        topic: &TopicChoice,
        index: PartitionIndex,
    ) -> Result<Vec<ActiveProducer>, Failure> {
        topic.check_name()?;
        let topic = self.topic(caller, topic).await?;
        self.authorize(caller, Operation::Read, Resource::Topic(&topic.name))?;
        check_partition(&topic, index)?;
        let tp = topic.partition(index);
        let open = self.reader().open_transactions(tp).await?;
        let mut producers = self.reader().producers(tp).await?;
        let (now_ms, expiry_ms) = (
            self.env().wall_ms(),
            self.broker().number("producer.id.expiration.ms"),
        );
        producers.retain(|(_, state)| !state.is_expired(now_ms, expiry_ms));
        let active = |(id, state)| ActiveProducer {
            id,
            state,
            transaction_start: open
                .iter()
                .find(|t| t.producer == id)
                .map(|t| t.first_offset),
        };
        Ok(producers.into_iter().map(active).collect())
    }

    /// The topic and the partition's bounds, for a caller who knows the current leader epoch.
    async fn current(
        &self,
        caller: &Caller,
        partition: &PartitionChoice,
    ) -> Result<(Arc<Topic>, Ends), Failure> {
        let topic = self.topic(caller, &partition.topic).await?;
        self.authorize(caller, Operation::Describe, Resource::Topic(&topic.name))?;
        check_partition(&topic, partition.index)?;
        let ends = self.reader().ends(topic.partition(partition.index)).await?;
        if ends.deleted {
            return Err(partition.topic.deleted());
        }
        check_epoch_known(partition.leader_epoch, &ends)?;
        check_epoch_current(partition.leader_epoch, &ends)?;
        Ok((topic, ends))
    }
}

/// A caller may be ahead of us: its metadata came from an agent that has heard of a repair before us.
pub(crate) fn check_epoch_known(epoch: Option<i32>, ends: &Ends) -> Result<(), Failure> {
    match epoch {
        Some(epoch) if epoch > ends.leader_epoch => {
            let text = format!(
                "the leader epoch here is {}, not yet {epoch}",
                ends.leader_epoch
            );
            Err(Failure::new(ErrorCode::UnknownLeaderEpoch, text))
        }
        _ => Ok(()),
    }
}

fn check_epoch_current(epoch: Option<i32>, ends: &Ends) -> Result<(), Failure> {
    match epoch {
        Some(epoch) if epoch < ends.leader_epoch => {
            let text = format!(
                "the leader epoch is {}, no longer {epoch}",
                ends.leader_epoch
            );
            Err(Failure::new(ErrorCode::FencedLeaderEpoch, text))
        }
        _ => Ok(()),
    }
}

/// The leader epoch that an offset was, or would be, written under.
fn epoch_at(ends: &Ends, offset: Offset) -> i32 {
    let begun = ends.epochs.iter().rev().find(|(_, began)| *began <= offset);
    begun.map_or(0, |(epoch, _)| *epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends {
            log_start: 0,
            last_stable: 30,
            next: 30,
            leader_epoch: 5,
            epochs: vec![(2, 10), (5, 20)],
            deleted: false,
        }
    }

    #[test]
    fn an_offset_belongs_to_the_epoch_that_had_begun_by_then() {
        let epochs = [0, 9, 10, 19, 20, 30].map(|offset| epoch_at(&ends(), offset));
        assert_eq!(epochs, [0, 0, 2, 2, 5, 5]);
    }

    #[test]
    fn callers_ahead_of_us_wait_and_callers_behind_us_refresh() {
        let known = |epoch| check_epoch_known(epoch, &ends()).map_err(|f| f.code);
        let current = |epoch| check_epoch_current(epoch, &ends()).map_err(|f| f.code);
        assert_eq!((known(None), current(None)), (Ok(()), Ok(())));
        assert_eq!((known(Some(5)), current(Some(5))), (Ok(()), Ok(())));
        assert_eq!(known(Some(6)), Err(ErrorCode::UnknownLeaderEpoch));
        assert_eq!(current(Some(4)), Err(ErrorCode::FencedLeaderEpoch));
    }
}
