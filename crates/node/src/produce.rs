//! Writing: batches from any door are checked once, stored as they came, and appended in the order of the calls.
use std::{cell::Cell, sync::Arc, time::Duration};

use bytes::Bytes;
use sh_base::{
    ErrorCode, Failure, Offset, PartitionIndex, TopicPartition,
    batch::{Batch, BatchError, Codec, Invalid, RecordError, TimestampType, ValidateRules},
};
use sh_log::{Ack, Append, Charge, Ticket, Transactional};
use tokio::time::{Instant, timeout_at};

use crate::{
    Caller, Node, Operation, Resource, Topic, TopicChoice, lookup::check_partition,
    topics::check_writable, transactions::check_id_fits,
};

/// Batches to write, of one request.
#[derive(Debug)]
pub struct Produce {
    pub ack: Ack,
    /// How long the caller waits. After that the outcome is REQUEST_TIMED_OUT: the batch may still be stored.
    pub timeout: Duration,
    /// Holds the memory of the request until the batches are committed.
    pub charge: Arc<Charge>,
    /// What the request's transactional batches are part of.
    pub transaction: Option<Transactional>,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Debug)]
pub struct ProduceTopic {
    pub topic: TopicChoice,
    pub partitions: Vec<ProducePartition>,
}

/// Exactly one record batch for a partition.
#[derive(Debug)]
pub struct ProducePartition {
    pub index: PartitionIndex,
    pub records: Bytes,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// -1 where nobody waited for it ([`Ack::None`]).
    pub base_offset: Offset,
    /// Milliseconds; for topics with LogAppendTime.
    pub log_append_time: Option<i64>,
    pub log_start: Offset,
}

/// Why a batch was not stored, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub failure: Failure,
    /// The records at fault (KIP-467), where single ones are.
    pub records: Vec<RecordError>,
    /// Told with what the log itself refused, as Apache Kafka does.
    pub log_start: Option<Offset>,
}

pub type Produced = Result<Stored, Refused>;

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Refused {
            failure,
            records: Vec::new(),
            log_start: None,
        }
    }
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        Invalid::from(error).into()
    }
}

impl From<Invalid> for Refused {
    fn from(
        Invalid {
            code,
            message,
            records,
        }: Invalid,
    ) -> Self {
        Refused {
            failure: Failure::new(code, message),
            records,
            log_start: None,
        }
    }
}

/// A batch on its way, or refused already.
struct Begun {
    /// The partition that it was held against; `None` if it did not come so far.
    partition: Option<TopicPartition>,
    transactional: bool,
    underway: Result<Underway, Refused>,
}

struct Underway {
    ticket: Ticket,
    log_append_time: Option<i64>,
}

impl Begun {
    fn refused(partition: Option<TopicPartition>, why: impl Into<Refused>) -> Begun {
        Begun {
            partition,
            transactional: false,
            underway: Err(why.into()),
        }
    }
}

type Found = Result<Arc<Topic>, Failure>;

impl Node {
    /// Are all these topics in the cache? Then [`Node::produce`] appends before it returns.
    pub fn knows<'a>(
        &self,
        caller: &Caller,
        mut topics: impl Iterator<Item = &'a TopicChoice>,
    ) -> bool {
        topics.all(|topic| self.known_topic(caller, topic).is_some())
    }

    /// Writes the batches; the results come by topic and partition, as they were given.
    ///
    /// **Order**: where [`Node::knows`] all topics, the batches have their place in the log's order when this returns, and the
    /// future only waits for the outcome. Else the topics are looked up first, and the place is taken in the future.
    pub fn produce(
        &self,
        caller: Caller,
        produce: Produce,
    ) -> impl Future<Output = Vec<Vec<Produced>>> + Send + 'static {
        let deadline = Instant::now() + produce.timeout;
        let ack = produce.ack;
        let known: Option<Vec<Found>> = produce
            .topics
            .iter()
            .map(|t| self.known_topic(&caller, &t.topic))
            .collect();
        let begun = match known {
            Some(topics) => Ok(self.append_all(&caller, topics, produce)),
            None => Err((caller, produce)),
        };
        let node = self.clone();
        async move {
            let begun = match begun {
                Ok(begun) => begun,
                Err((caller, produce)) => node.look_up_and_append(&caller, produce).await,
            };
            node.outcomes(begun, ack, deadline).await
        }
    }

    async fn look_up_and_append(&self, caller: &Caller, produce: Produce) -> Vec<Vec<Begun>> {
        let mut topics = Vec::with_capacity(produce.topics.len());
        for topic in &produce.topics {
            topics.push(self.topic(caller, &topic.topic).await);
        }
        self.append_all(caller, topics, produce)
    }

    fn append_all(&self, caller: &Caller, topics: Vec<Found>, produce: Produce) -> Vec<Vec<Begun>> {
        let Produce {
            ack,
            charge,
            transaction,
            topics: asked,
            timeout: _,
        } = produce;
        let with = With {
            ack,
            charge,
            transaction: self.writable(caller, transaction),
            bytes: Cell::new(0),
            records: Cell::new(0),
        };
        let append_topic = |(asked, topic): (ProduceTopic, Found)| {
            let topic = topic.and_then(|topic| {
                let allowed =
                    self.authorize(caller, Operation::Write, Resource::Topic(&topic.name));
                allowed.map(|()| topic)
            });
            let append = |p: ProducePartition| match &topic {
                Ok(topic) => self.append(topic, &with, p),
                Err(failure) => Begun::refused(None, failure.clone()),
            };
            asked.partitions.into_iter().map(append).collect()
        };
        let begun = asked.into_iter().zip(topics).map(append_topic).collect();
        with.report();
        begun
    }

    /// The transaction, if the caller may write with its transactional id.
    fn writable(
        &self,
        caller: &Caller,
        transaction: Option<Transactional>,
    ) -> Result<Option<Transactional>, Failure> {
        if let Some(transaction) = &transaction {
            check_id_fits(&transaction.id)?;
            let id = Resource::TransactionalId(&transaction.id);
            self.authorize(caller, Operation::Write, id)?;
        }
        Ok(transaction)
    }

    /// Checks one batch and gives it its place.
    fn append(
        &self,
        topic: &Topic,
        with: &With,
        ProducePartition { index, records }: ProducePartition,
    ) -> Begun {
        let place = check_partition(topic, index).and_then(|()| check_writable(topic));
        if let Err(failure) = place {
            return Begun::refused(None, failure);
        }
        let tp = topic.partition(index);
        let admitted = match Batch::parse(records) {
            Ok(batch) => self.admit(topic, index, batch),
            Err(error) => return Begun::refused(is_a_batch(&error).then_some(tp), error),
        };
        let (batch, log_append_time) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Begun::refused(Some(tp), refused),
        };
        let transaction = match with.transaction_of(&batch) {
            Ok(transaction) => transaction,
            Err(failure) => return Begun::refused(Some(tp), failure),
        };
        with.meter(&batch);
        let transactional = transaction.is_some();
        let ticket = self.log().append(Append {
            partition: tp,
            org: topic.org.clone(),
            ack: with.ack,
            batch,
            charge: with.charge.clone(),
            transaction,
            lease_allowed: !topic.settings.compacted,
        });
        Begun {
            partition: Some(tp),
            transactional,
            underway: Ok(Underway {
                ticket,
                log_append_time,
            }),
        }
    }

    /// The batch as the topic stores it, and the time it was stamped with.
    fn admit(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
        batch: Batch,
    ) -> Result<(Batch, Option<i64>), Refused> {
        let settings = &topic.settings;
        let now_ms = self.env().wall_ms();
        let batch = batch.admit(&ValidateRules {
            topic: topic.name.as_str(),
            partition,
            compacted: settings.compacted,
            timestamp_type: settings.timestamp_type,
            timestamp_before_max_ms: settings.timestamp_before_max_ms,
            timestamp_after_max_ms: settings.timestamp_after_max_ms,
            max_message_bytes: usize::try_from(settings.max_message_bytes).unwrap_or(0),
            now_ms,
        })?;
        let plain = batch.header().codec() == Codec::None;
        let segment_codec = self.segment_codec().filter(|_| plain);
        let batch = match settings.compression.or(segment_codec) {
            Some(codec) => batch.recompress(codec)?,
            None => batch,
        };
        let stamped = settings.timestamp_type == TimestampType::LogAppendTime;
        Ok((batch, stamped.then_some(now_ms)))
    }
}

/// What all batches of a request have in common.
struct With {
    ack: Ack,
    charge: Arc<Charge>,
    transaction: Result<Option<Transactional>, Failure>,
    /// What was admitted; told once a request, as finding a counter costs as much as the rest of a small batch.
    bytes: Cell<u64>,
    records: Cell<u64>,
}

impl With {
    fn meter(&self, batch: &Batch) {
        let header = batch.header();
        self.bytes.set(self.bytes.get() + u64::from(header.size));
        self.records.set(self.records.get() + header.count as u64);
    }

    fn report(&self) {
        metrics::counter!("streamhouse_produce_bytes_total").increment(self.bytes.get());
        metrics::counter!("streamhouse_produce_records_total").increment(self.records.get());
    }

    /// The transaction of a batch: that of its request, if it is a transactional one.
    fn transaction_of(&self, batch: &Batch) -> Result<Option<Transactional>, Failure> {
        if !batch.header().is_transactional() {
            return Ok(None);
        }
        match self.transaction.clone()? {
            Some(transaction) => Ok(Some(transaction)),
            None => {
                let text = "a transactional batch in a request without a transactional id";
                Err(Failure::new(ErrorCode::InvalidTxnState, text))
            }
        }
    }
}

impl Node {
    async fn outcomes(
        &self,
        begun: Vec<Vec<Begun>>,
        ack: Ack,
        deadline: Instant,
    ) -> Vec<Vec<Produced>> {
        let mut topics = Vec::with_capacity(begun.len());
        for partitions in begun {
            let mut produced = Vec::with_capacity(partitions.len());
            for Begun {
                partition,
                transactional,
                underway,
            } in partitions
            {
                produced.push(match outcome(underway, ack, deadline).await {
                    Ok(stored) => Ok(stored),
                    Err(refused) => {
                        let code = refused.failure.code;
                        let by_log = partition.filter(|_| is_said_by_the_log(code, transactional));
                        Err(self.with_log_start(refused, by_log, deadline).await)
                    }
                });
            }
            topics.push(produced);
        }
        topics
    }

    /// Adds the log start to what the log of a partition refused.
    async fn with_log_start(
        &self,
        refused: Refused,
        partition: Option<TopicPartition>,
        deadline: Instant,
    ) -> Refused {
        let Some(tp) = partition else {
            return refused;
        };
        let ends = timeout_at(deadline, self.reader().ends(tp)).await;
        Refused {
            log_start: ends.ok().and_then(Result::ok).map(|ends| ends.log_start),
            ..refused
        }
    }
}

/// What a producer has to look into itself, where other errors speak of the request, of the transaction or of the server.
fn is_said_by_the_log(code: ErrorCode, transactional: bool) -> bool {
    match code {
        ErrorCode::InvalidRecord
        | ErrorCode::InvalidTimestamp
        | ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnsupportedCompressionType => true,
        // A transactional batch is held against its transaction first.
        ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidTxnState => !transactional,
        _ => false,
    }
}

/// Is there one whole batch at least, with something wrong in its header?
fn is_a_batch(error: &BatchError) -> bool {
    !matches!(
        error,
        BatchError::Truncated { .. } | BatchError::TrailingBytes { .. }
    )
}

async fn outcome(underway: Result<Underway, Refused>, ack: Ack, deadline: Instant) -> Produced {
    let Underway {
        ticket,
        log_append_time,
    } = underway?;
    if ack == Ack::None {
        return Ok(Stored {
            base_offset: -1,
            log_append_time,
            log_start: -1,
        });
    }
    match timeout_at(deadline, ticket).await {
        Ok(Ok(a)) => Ok(Stored {
            base_offset: a.base_offset,
            // What a duplicate was stamped with the first time is not known here.
            log_append_time: log_append_time.filter(|_| !a.duplicate),
            log_start: a.log_start,
        }),
        Ok(Err(failure)) => Err(failure.into()),
        Err(_) => Err(timed_out().into()),
    }
}

fn timed_out() -> Failure {
    let text = "the batch was not stored within the request's timeout; it may still be stored";
    Failure::new(ErrorCode::RequestTimedOut, text)
}
