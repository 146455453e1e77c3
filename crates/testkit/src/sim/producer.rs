//! Producers of the simulated world. An idempotent one sends again what it does not know of, in order, with the sequence that
//! it had; a plain one never does: what it sends on a new connection is new.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesOrdered};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProducerId,
    produce_request::{PartitionProduceData, TopicProduceData},
};
use sh_base::batch::{Batch, BatchBuilder, BatchProducer, Codec};
use sh_client::{Acks, Connection};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    client::{connect, topic_name},
    plan::{AcksPlan, ProducerPlan},
    world::World,
};
use crate::torture::{
    chance::Chance,
    history::{BatchId, RecordId, Sent},
    writer::record_digest,
};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;
/// How long an idempotent producer whose past is lost tries before it begins anew.
const PAST_IS_LOST: Duration = Duration::from_secs(20);

/// A batch that is not settled.
struct Out {
    id: BatchId,
    partition: i32,
    acks: Acks,
    batch: Batch,
}

/// What became of a request: the base offset, or an error code (`None`: no answer).
type Answer = (BatchId, Result<i64, Option<i16>>);

pub struct Producer {
    world: Arc<World>,
    name: String,
    plan: ProducerPlan,
    chance: Chance,
    connection: Option<Connection>,
    /// The how many-th it is.
    connections: u32,
    source: u32,
    position: u32,
    producer: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    /// Idempotent: what is not acknowledged, oldest first; the first `sent` are on their way.
    unsettled: VecDeque<Out>,
    sent: usize,
    answers: FuturesOrdered<BoxFuture<'static, Answer>>,
    refused_since: Option<Instant>,
    /// Batches that were made, and whether one that was made after the faults was acknowledged.
    made: u32,
    done: bool,
    last: Option<BatchId>,
}

impl Producer {
    pub fn new(world: &Arc<World>, number: usize) -> Producer {
        Producer {
            world: world.clone(),
            name: format!("producer {number}"),
            plan: world.plan.producers[number].clone(),
            chance: world.chance(6, number as u64),
            connection: None,
            connections: 0,
            source: world.new_source(),
            position: 0,
            producer: None,
            sequences: BTreeMap::new(),
            unsettled: VecDeque::new(),
            sent: 0,
            answers: FuturesOrdered::new(),
            refused_since: None,
            made: 0,
            done: false,
            last: None,
        }
    }

    /// Writes all its batches, and one more when the faults are over, which must be acknowledged.
    pub async fn run(mut self) {
        let mut next = Instant::now();
        while !self.done {
            self.open().await;
            self.send_what_is_due();
            tokio::select! {
                biased;
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.hear(answer).await,
                () = sleep_until(next), if self.may_make() => {
                    self.make();
                    next = Instant::now() + self.chance.millis(0, self.plan.pace_ms * 2);
                }
                () = sleep(Duration::from_millis(250)) => {}
            }
        }
        self.world.note(|| format!("{} is done", self.name));
    }

    fn may_make(&self) -> bool {
        let room =
            self.answers.len() < self.plan.in_flight && self.unsettled.len() <= self.plan.in_flight;
        let last = self.world.is_calm() && self.last.is_none();
        room && (self.made < self.plan.batches && !self.world.is_calm() || last)
    }

    async fn open(&mut self) {
        while self.connection.is_none() {
            let connection = connect(&self.world, &mut self.chance, &self.name).await;
            self.connections += 1;
            if !self.plan.idempotent || self.producer.is_some() {
                self.connection = Some(connection);
                return;
            }
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
            match connection.call(&request, 4).await {
                Ok(answer) if answer.error_code == 0 => {
                    self.producer = Some((answer.producer_id.0, answer.producer_epoch));
                    self.connection = Some(connection);
                }
                _ => sleep(self.chance.millis(50, 500)).await,
            }
        }
    }

    fn acks(&mut self) -> Acks {
        match self.plan.acks {
            AcksPlan::None => Acks::None,
            AcksPlan::Leader => Acks::Leader,
            AcksPlan::All => Acks::All,
            AcksPlan::Mixed => self.chance.one_of(&[Acks::None, Acks::Leader, Acks::All]),
        }
    }

    fn make(&mut self) {
        self.made += 1;
        let partition = self.chance.below(self.world.plan.partitions as usize) as i32;
        let id = BatchId {
            source: self.source,
            position: self.position,
        };
        self.position += 1;
        let mut acks = self.acks();
        if self.world.is_calm() {
            acks = if acks == Acks::None { Acks::All } else { acks };
            self.last = Some(id);
        }
        let (batch, digests) = self.build(id, partition);
        let sent = Sent::new(partition, acks, digests);
        self.world.history.lock().batches.insert(id, sent);
        let out = Out {
            id,
            partition,
            acks,
            batch,
        };
        if self.plan.idempotent {
            self.unsettled.push_back(out);
        } else {
            self.send(&out);
        }
    }

    fn build(&mut self, id: BatchId, partition: i32) -> (Batch, Vec<u64>) {
        let count = 1 + self.chance.below(3) as u32;
        let mut builder = BatchBuilder::new(self.chance.one_of(&[Codec::None, Codec::Lz4]));
        if let Some((producer, epoch)) = self.producer {
            let next = self.sequences.entry(partition).or_default();
            builder = builder.producer(BatchProducer {
                id: sh_base::ProducerId(producer),
                epoch,
                base_sequence: *next,
            });
            *next += count as i32;
        }
        let mut digests = Vec::new();
        for index in 0..count {
            let record = RecordId { batch: id, index };
            let size = self.chance.one_of(&[0, 5, 40, 400]);
            let value = format!("{record}|{}", "x".repeat(size));
            let timestamp = self.world.wall_ms() - self.chance.below(2_000) as i64;
            builder.push(timestamp, None, Some(value.as_bytes()), &[]);
            digests.push(record_digest(None, Some(value.as_bytes()), &[], timestamp));
        }
        let batch = builder.build().expect("a batch of a few small records");
        (batch, digests)
    }

    /// Idempotent: puts on its way what may be.
    fn send_what_is_due(&mut self) {
        while self.connection.is_some()
            && self.sent < self.unsettled.len()
            && self.answers.len() < self.plan.in_flight
        {
            let out = self.unsettled[self.sent].take_copy();
            self.sent += 1;
            self.send(&out);
        }
    }

    fn send(&mut self, out: &Out) {
        let Some(connection) = &self.connection else {
            return;
        };
        self.world.note(|| {
            let (id, acks) = (out.id, out.acks);
            let (source, position) = (id.source, id.position);
            format!(
                "{} sends {source}.{position} to {}, acks {acks:?}",
                self.name, out.partition
            )
        });
        if let Some(sent) = self.world.history.lock().batches.get_mut(&out.id) {
            sent.connections.push(self.connections);
        }
        let acks = match out.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let data = PartitionProduceData::default()
            .with_index(out.partition)
            .with_records(Some(out.batch.bytes().clone()));
        let topic = TopicProduceData::default()
            .with_name(topic_name())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(3_000)
            .with_topic_data(vec![topic]);
        let id = out.id;
        if out.acks == Acks::None {
            // Nobody is told what becomes of it.
            let _ = connection.tell(&request, 9);
        } else {
            match connection.start(&request, 9) {
                Ok(answer) => self.answers.push_back(Box::pin(async move {
                    let answer = answer.await.map_err(|_| None);
                    let told = answer.and_then(|a| {
                        let p = &a.responses[0].partition_responses[0];
                        match p.error_code {
                            0 => Ok(p.base_offset),
                            DUPLICATE_SEQUENCE_NUMBER => Ok(-1),
                            code => Err(Some(code)),
                        }
                    });
                    (id, told)
                })),
                Err(_) => self
                    .answers
                    .push_back(Box::pin(async move { (id, Err(None)) })),
            }
        }
        if self.chance.below(100) < self.plan.hangs_up && !self.world.is_calm() {
            self.hang_up();
        }
    }

    /// Leaves the connection, whatever is on its way.
    fn hang_up(&mut self) {
        self.world.note(|| format!("{} hangs up", self.name));
        self.connection = None;
        if !self.plan.idempotent {
            self.begin_anew();
        }
    }

    /// What follows is of another source: nothing binds it to the order of what was.
    fn begin_anew(&mut self) {
        self.source = self.world.new_source();
        self.position = 0;
        self.last = None;
        self.answers = FuturesOrdered::new();
    }

    async fn hear(&mut self, (id, told): Answer) {
        if self.settle(id, told) {
            self.refused_since = None;
            return;
        }
        let mut no_answer = told == Err(None);
        if self.plan.idempotent {
            while let Some((id, told)) = self.answers.next().await {
                no_answer |= told == Err(None);
                self.settle(id, told);
            }
            self.sent = 0;
            self.consider_the_past(told);
        } else if self.last == Some(id) {
            self.last = None;
        }
        if no_answer || self.chance.below(4) == 0 {
            self.hang_up();
        }
        sleep(self.chance.millis(10, 400)).await;
    }

    /// Notes an answer; whether it is an acknowledgement.
    fn settle(&mut self, id: BatchId, told: Result<i64, Option<i16>>) -> bool {
        let (source, position) = (id.source, id.position);
        self.world
            .note(|| format!("{} hears of {source}.{position}: {told:?}", self.name));
        let Ok(base) = told else {
            return false;
        };
        let mut history = self.world.history.lock();
        let Some(sent) = history.batches.get_mut(&id) else {
            return true;
        };
        sent.told.push(base);
        if sent.acks == Acks::All && base >= 0 {
            let end = base + sent.digests.len() as i64;
            self.world.must_be_past(sent.partition, end);
        }
        drop(history);
        if let Some(at) = self.unsettled.iter().position(|out| out.id == id) {
            self.unsettled.remove(at);
            self.sent = self.sent.saturating_sub(1);
        }
        if self.last == Some(id) {
            self.done = true;
        }
        true
    }

    /// The records that its sequences build on may be lost with a disk: then, and only then, it begins anew.
    fn consider_the_past(&mut self, told: Result<i64, Option<i16>>) {
        let code = told.err().flatten();
        let unknown =
            code.is_some_and(|c| matches!(c, OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID));
        if !unknown {
            return;
        }
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if self.world.plan.loses_disks() && since.elapsed() > PAST_IS_LOST {
            self.world
                .note(|| format!("{} begins anew: its past is lost", self.name));
            self.producer = None;
            self.connection = None;
            self.sequences.clear();
            self.unsettled.clear();
            self.refused_since = None;
            self.begin_anew();
        }
    }
}

impl Out {
    fn take_copy(&self) -> Out {
        Out {
            id: self.id,
            partition: self.partition,
            acks: self.acks,
            batch: self.batch.clone(),
        }
    }
}
