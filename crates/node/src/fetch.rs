//! Reading: whole batches from an offset on, with Kafka's long poll.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use sh_base::{ErrorCode, Failure, Offset, PartitionIndex, ProducerId, TopicPartition};
use sh_log::{Ends, ReadAnswer, ReadError, ReadRequest, StoredBatch};
use tokio::time::{Instant, timeout_at};

use crate::{
    Caller, Node, Operation, Resource, Room, Topic, TopicChoice, lookup::check_partition,
    offsets::check_epoch_known,
};

/// Partitions of one fetch that are read at once; their GETs overlap.
const READS_AT_ONCE: usize = 16;

/// What a consumer asks for.
#[derive(Clone, Debug)]
pub struct FetchPlan {
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Fewer bytes of records than this are not worth an answer before `max_wait`.
    pub min_bytes: usize,
    /// Of all partitions together. One batch always fits.
    pub max_bytes: usize,
    /// Nothing at or past a last stable offset.
    pub read_committed: bool,
    /// In the order in which they share `max_bytes`.
    pub partitions: Vec<FetchPartition>,
}

impl FetchPlan {
    /// What an answer can hold at most.
    fn bytes_wanted(&self) -> usize {
        let of_partitions = self.partitions.iter().map(|p| p.max_bytes);
        of_partitions
            .fold(0, usize::saturating_add)
            .min(self.max_bytes)
    }
}

#[derive(Clone, Debug)]
pub struct FetchPartition {
    pub topic: TopicChoice,
    pub index: PartitionIndex,
    pub offset: Offset,
    pub max_bytes: usize,
    /// The leader epoch that the consumer knows. One that we do not know yet is an error; an older one is not, as any agent
    /// serves any partition.
    pub leader_epoch: Option<i32>,
    /// The leader epoch of the last record that the consumer has (KIP-595): where it is not on our log's line, it is told where
    /// the two part instead of being given records.
    pub last_fetched_epoch: Option<i32>,
}

/// What one partition has to say.
#[derive(Clone, Debug)]
pub struct Records {
    /// Those that fit. The first may begin before the offset that was asked for.
    pub batches: Vec<StoredBatch>,
    pub ends: Ends,
    /// Aborted transactions that reach into the batches (read_committed only): producer, first offset.
    pub aborted: Vec<(ProducerId, Offset)>,
    /// The consumer's log parts from ours: the epoch, and its end here.
    pub diverging: Option<(i32, Offset)>,
}

pub type Fetched = Result<Records, Failure>;

/// One look at all partitions.
#[derive(Default)]
struct Round {
    fetched: Vec<Fetched>,
    bytes: usize,
    /// Something has to be told at once.
    urgent: bool,
    /// Partitions without an error, each with its next offset.
    seen: Vec<(TopicPartition, Offset)>,
}

/// What the partitions of one look share.
struct Share {
    whole: usize,
    /// Not taken by the partitions that were read.
    left: AtomicUsize,
}

type Found = Result<Arc<Topic>, Failure>;

impl Node {
    /// Reads the partitions of a plan; the results are in its order. Answers when there are `min_bytes`, when a partition has an
    /// error, or after `max_wait` with what there is. The room is to be held until the answer is sent; where memory for answers
    /// is short, there are fewer records in one.
    pub async fn fetch(&self, caller: &Caller, plan: &FetchPlan) -> (Vec<Fetched>, Room) {
        let deadline = Instant::now() + plan.max_wait;
        let mut topics = Vec::with_capacity(plan.partitions.len());
        for partition in &plan.partitions {
            topics.push(self.readable(caller, &partition.topic).await);
        }
        loop {
            let wanted = plan.bytes_wanted();
            let mut room = self.answers().take(wanted);
            let max_bytes = match room.bytes() {
                all if all == wanted => plan.max_bytes,
                short => short,
            };
            let round = self.look(plan, max_bytes, &topics).await;
            room.shrink(round.bytes);
            let enough = plan.min_bytes.min(max_bytes);
            if round.urgent || round.bytes >= enough || round.seen.is_empty() {
                return (round.told(), room);
            }
            let waiter = self.reader().waiter(&round.seen);
            if timeout_at(deadline, waiter.wait()).await.is_err() {
                return (round.told(), room);
            }
        }
    }

    async fn readable(&self, caller: &Caller, choice: &TopicChoice) -> Found {
        let topic = self.topic(caller, choice).await?;
        self.authorize(caller, Operation::Read, Resource::Topic(&topic.name))?;
        Ok(topic)
    }

    async fn look(&self, plan: &FetchPlan, max_bytes: usize, topics: &[Found]) -> Round {
        let share = Share {
            whole: max_bytes,
            left: AtomicUsize::new(max_bytes),
        };
        let reads: Vec<_> = plan
            .partitions
            .iter()
            .zip(topics)
            .map(|(partition, topic)| self.read_partition(plan, partition, topic, &share))
            .collect();
        let mut reads = stream::iter(reads).buffered(READS_AT_ONCE);
        let mut round = Round::default();
        while let Some((tp, fetched)) = reads.next().await {
            round.add(max_bytes, tp, fetched);
            let left = max_bytes.saturating_sub(round.bytes);
            share.left.store(left, Ordering::Relaxed);
        }
        round
    }

    async fn read_partition(
        &self,
        plan: &FetchPlan,
        partition: &FetchPartition,
        topic: &Found,
        share: &Share,
    ) -> (Option<TopicPartition>, Fetched) {
        let topic = match topic {
            Ok(topic) => topic,
            Err(failure) => return (None, Err(failure.clone())),
        };
        if let Err(failure) = check_partition(topic, partition.index) {
            return (None, Err(failure));
        }
        let tp = topic.partition(partition.index);
        (
            Some(tp),
            self.read_on_line(plan, partition, tp, share).await,
        )
    }

    /// Reads, unless the consumer's log is not on the line of ours.
    async fn read_on_line(
        &self,
        plan: &FetchPlan,
        partition: &FetchPartition,
        tp: TopicPartition,
        share: &Share,
    ) -> Fetched {
        if let Some(diverging) = self.diverging(partition, tp).await? {
            let ends = self.reader().ends(tp).await?;
            check_epoch_known(partition.leader_epoch, &ends)?;
            return Ok(Records {
                batches: Vec::new(),
                ends,
                aborted: Vec::new(),
                diverging: Some(diverging),
            });
        }
        let left = share.left.load(Ordering::Relaxed);
        let request = ReadRequest {
            partition: tp,
            offset: partition.offset,
            max_bytes: partition.max_bytes.min(left),
            at_least_one: left == share.whole,
            read_committed: plan.read_committed,
        };
        let answer = self.reader().read(request).await;
        let ReadAnswer {
            batches,
            ends,
            aborted,
        } = answer.map_err(|error| refused(partition, error))?;
        check_epoch_known(partition.leader_epoch, &ends)?;
        Ok(Records {
            batches,
            ends,
            aborted,
            diverging: None,
        })
    }

    /// Where the consumer's log parts from ours: the epoch, and its end here. An epoch that has not been here is as wrong as an
    /// offset that has not.
    async fn diverging(
        &self,
        partition: &FetchPartition,
        tp: TopicPartition,
    ) -> Result<Option<(i32, Offset)>, Failure> {
        let Some(epoch) = partition.last_fetched_epoch else {
            return Ok(None);
        };
        let (known, end) = self.reader().epoch_end(tp, epoch).await?;
        if known < 0 {
            let text = format!("there was no leader epoch {epoch} in this partition");
            return Err(Failure::new(ErrorCode::OffsetOutOfRange, text));
        }
        Ok((known < epoch || end < partition.offset).then_some((known, end)))
    }
}

fn refused(partition: &FetchPartition, error: ReadError) -> Failure {
    match error {
        ReadError::OutOfRange(ends) => match check_epoch_known(partition.leader_epoch, &ends) {
            Err(unknown) => unknown,
            Ok(()) => out_of_range(partition, &ends),
        },
        ReadError::Deleted => partition.topic.deleted(),
        ReadError::Storage(failure) => failure,
    }
}

fn out_of_range(partition: &FetchPartition, ends: &Ends) -> Failure {
    let FetchPartition { offset, index, .. } = partition;
    let Ends {
        log_start, next, ..
    } = ends;
    let text = format!("offset {offset} of partition {index} is not within [{log_start}, {next}]");
    Failure::new(ErrorCode::OffsetOutOfRange, text)
}

impl Round {
    fn add(&mut self, max_bytes: usize, tp: Option<TopicPartition>, mut fetched: Fetched) {
        match (&mut fetched, tp) {
            (Ok(records), Some(tp)) => {
                self.fit(max_bytes, &mut records.batches);
                self.urgent |= records.diverging.is_some();
                self.seen.push((tp, records.ends.next));
            }
            _ => self.urgent = true,
        }
        self.fetched.push(fetched);
    }

    /// Partitions are read side by side, each as if it had the room to itself; what does not fit is left for the next fetch.
    fn fit(&mut self, max_bytes: usize, batches: &mut Vec<StoredBatch>) {
        let fitting = batches.iter().take_while(|batch| {
            let fits = self.bytes == 0 || self.bytes + batch.bytes.len() <= max_bytes;
            if fits {
                self.bytes += batch.bytes.len();
            }
            fits
        });
        let count = fitting.count();
        batches.truncate(count);
    }

    fn told(self) -> Vec<Fetched> {
        metrics::counter!("streamhouse_fetch_bytes_total").increment(self.bytes as u64);
        self.fetched
    }
}
