//! A producer that remembers everything: what it sent, on which connection, in which order, and what it was told.
//!
//! It speaks the protocol itself, with several requests in flight, and does what a careful client does after an error:
//! waits for what is in flight, then sends what failed again, in order. An idempotent one sends the same bytes again; a
//! plain one makes a new batch of the same records, so that each try can be told from the others.
use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        InitProducerIdRequest, ProduceRequest, ProduceResponse, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};
use parking_lot::Mutex;
use sh_base::{
    ProducerId,
    batch::{BatchBuilder, BatchProducer, Codec, sequence_add},
};
use sh_client::{Acks, Connection, Error, ErrorCode, partition_for_key};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    chance::Chance,
    flights::Flight,
    history::{BatchId, Digest, History, RecordId, Sent},
};

/// Requests in flight, as a default producer has them (idempotent producers must not have more).
const IN_FLIGHT: usize = 5;
/// How long a writer that was told to stop tries to get its last answers.
const FINISH_MAX: Duration = Duration::from_secs(60);

/// What kind of producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The default Java producer: acks=all, each batch stored once.
    Idempotent,
    /// acks=all without idempotence.
    Durable,
    /// acks=1.
    Leader,
    /// Another acks for each request, on one connection.
    Mixed,
}

/// What all writers of a run share.
#[derive(Clone)]
pub struct Shared {
    pub history: Arc<Mutex<History>>,
    pub acknowledged: Arc<AtomicU64>,
    sources: Arc<AtomicU32>,
    pub stop: watch::Receiver<bool>,
}

impl Shared {
    pub fn new(stop: watch::Receiver<bool>) -> Shared {
        Shared {
            history: Arc::default(),
            acknowledged: Arc::default(),
            sources: Arc::default(),
            stop,
        }
    }
}

/// What a writer is to do.
#[derive(Clone)]
pub struct Plan {
    pub kind: Kind,
    /// Where it connects: to the first, and to the next one after a connection is lost.
    pub addresses: Vec<String>,
    pub topic: String,
    pub partitions: i32,
    pub flights: Arc<[Flight]>,
    /// The pause after each request.
    pub pause: Duration,
    /// The longest wait for an answer.
    pub patience: Duration,
    pub chance: Chance,
}

/// Flights to be written to one partition together.
struct Load {
    partition: i32,
    flights: Vec<usize>,
    /// Once it is an idempotent batch.
    sealed: Option<Sealed>,
    /// It was sent before and not acknowledged.
    retried: bool,
}

#[derive(Clone)]
struct Sealed {
    id: BatchId,
    bytes: Bytes,
}

type Answer = Pin<Box<dyn Future<Output = Result<ProduceResponse, Error>> + Send>>;

/// A request on its way.
struct Flying {
    loads: Vec<(Load, BatchId)>,
    answer: Answer,
}

struct Producer {
    id: ProducerId,
    epoch: i16,
    source: u32,
    /// By partition.
    next_sequence: Vec<i32>,
}

/// How one connection's life ended.
enum End {
    /// Nothing is left to do.
    Done,
    /// It is to be opened anew.
    Broken,
}

struct Writer {
    plan: Plan,
    shared: Shared,
    producer: Option<Producer>,
    /// Partitions that have stored a batch of this producer: before that, nothing may follow the first one, as a broker
    /// takes the first sequence that it sees as it comes.
    known: HashSet<i32>,
    /// What failed and what was not sent yet, in order.
    ahead: VecDeque<Load>,
    next_flight: usize,
    /// How many connections it has had.
    connections: u32,
    /// The current connection's source, if each has its own, and the next batch's position in it.
    source: u32,
    position: u32,
    stop_seen: Option<Instant>,
}

/// Writes until it is told to stop and everything is answered. An error says what no careful client could have got over.
pub async fn write(plan: Plan, shared: Shared) -> Result<()> {
    let mut writer = Writer {
        next_flight: 0,
        producer: None,
        known: HashSet::new(),
        ahead: VecDeque::new(),
        connections: 0,
        source: 0,
        position: 0,
        stop_seen: None,
        plan,
        shared,
    };
    for attempt in 0.. {
        let address = writer.plan.addresses[attempt % writer.plan.addresses.len()].clone();
        writer.give_up_when_late()?;
        let Ok(connection) = Connection::open(&address, "torture", writer.plan.patience).await
        else {
            if writer.is_done() {
                break;
            }
            sleep(Duration::from_millis(30)).await;
            continue;
        };
        writer.connections += 1;
        match writer.live(&connection).await? {
            End::Done => break,
            End::Broken => sleep(Duration::from_millis(10)).await,
        }
    }
    Ok(())
}

impl Writer {
    fn is_stopping(&mut self) -> bool {
        let stopping = *self.shared.stop.borrow();
        if stopping {
            self.stop_seen.get_or_insert_with(Instant::now);
        }
        stopping
    }

    fn is_done(&mut self) -> bool {
        self.is_stopping() && self.ahead.is_empty()
    }

    fn give_up_when_late(&self) -> Result<()> {
        match self.stop_seen {
            Some(since) if since.elapsed() > FINISH_MAX => bail!(
                "a {:?} writer got no answers for {FINISH_MAX:?} after the trouble was over",
                self.plan.kind
            ),
            _ => Ok(()),
        }
    }

    /// Uses one connection until it breaks or everything is done.
    async fn live(&mut self, connection: &Connection) -> Result<End> {
        if self.plan.kind == Kind::Idempotent {
            if self.producer.is_none() && !self.init_producer(connection).await {
                return Ok(End::Broken);
            }
        } else {
            self.source = self.shared.sources.fetch_add(1, Ordering::Relaxed);
            self.position = 0;
        }
        let mut flying = VecDeque::new();
        loop {
            self.top_up(connection, &mut flying).await;
            if flying.is_empty() {
                match self.is_done() {
                    _ if connection.is_closed() => return Ok(End::Broken),
                    true => return Ok(End::Done),
                    false => continue,
                }
            }
            if self.settle_next(&mut flying).await? {
                return Ok(End::Broken);
            }
            self.give_up_when_late()?;
        }
    }

    /// Sends until as many requests as may are in flight.
    async fn top_up(&mut self, connection: &Connection, flying: &mut VecDeque<Flying>) {
        while flying.len() < IN_FLIGHT && !connection.is_closed() {
            let Some(request) = self.next_request(flying) else {
                return;
            };
            self.launch(connection, request, flying);
            sleep(self.plan.pause).await;
        }
    }

    /// Waits for the next answer, and for all that are in flight once something has failed: it goes out again before
    /// anything newer. Says whether the connection is done for.
    async fn settle_next(&mut self, flying: &mut VecDeque<Flying>) -> Result<bool> {
        let (mut failed, mut broken) = (Vec::new(), false);
        while let Some(next) = flying.pop_front() {
            if broken {
                failed.extend(next.loads.into_iter().map(|(load, _)| load));
            } else {
                broken = self.settle(next, &mut failed).await?;
            }
            if failed.is_empty() {
                return Ok(false);
            }
        }
        for mut load in failed.into_iter().rev() {
            load.retried = true;
            self.ahead.push_front(load);
        }
        sleep(Duration::from_millis(20)).await;
        Ok(broken)
    }

    async fn init_producer(&mut self, connection: &Connection) -> bool {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        let Ok(version) = connection.version_of::<InitProducerIdRequest>() else {
            return false;
        };
        let Ok(answer) = connection.call(&request, version).await else {
            return false;
        };
        if answer.error_code != 0 {
            return false;
        }
        self.producer = Some(Producer {
            id: ProducerId(answer.producer_id.0),
            epoch: answer.producer_epoch,
            source: self.shared.sources.fetch_add(1, Ordering::Relaxed),
            next_sequence: vec![0; self.plan.partitions as usize],
        });
        true
    }

    /// The next loads that may go into one request: one for each partition.
    fn next_request(&mut self, flying: &VecDeque<Flying>) -> Option<Vec<Load>> {
        let is_known = |p: i32| self.producer.is_none() || self.known.contains(&p);
        let mut in_flight = flying.iter().flat_map(|f| &f.loads);
        if in_flight.any(|(load, _)| !is_known(load.partition)) {
            return None;
        }
        if self.ahead.is_empty() {
            if self.is_stopping() {
                return None;
            }
            self.collect();
        }
        // A broker knows the last five batches of a producer. Nothing newer is sent before what is sent again is answered: it
        // may be lost once more, and must still be known then.
        let mut in_flight = flying.iter().flat_map(|f| &f.loads);
        let retrying = self.producer.is_some() && in_flight.any(|(load, _)| load.retried);
        let is_known = |p: i32| self.producer.is_none() || self.known.contains(&p);
        let mut loads: Vec<Load> = Vec::new();
        while let Some(next) = self.ahead.front() {
            let fits = loads.iter().all(|l| l.partition != next.partition);
            let alone = !is_known(next.partition) && !flying.is_empty();
            let newer = retrying || loads.iter().any(|l| l.retried);
            if !fits || alone || newer && !next.retried && self.producer.is_some() {
                break;
            }
            loads.extend(self.ahead.pop_front());
        }
        (!loads.is_empty()).then_some(loads)
    }

    /// Takes the next flights, by partition.
    fn collect(&mut self) {
        let count = 1 + self.plan.chance.below(150);
        let mut by_partition = vec![Vec::new(); self.plan.partitions as usize];
        for _ in 0..count {
            let n = self.next_flight % self.plan.flights.len();
            let partition = partition_for_key(&self.plan.flights[n].carrier, self.plan.partitions);
            by_partition[partition as usize].push(n);
            self.next_flight += 1;
        }
        let loads = by_partition.into_iter().enumerate();
        let loads = loads.filter(|(_, flights)| !flights.is_empty());
        self.ahead.extend(loads.map(|(partition, flights)| Load {
            partition: partition as i32,
            flights,
            sealed: None,
            retried: false,
        }));
    }

    /// Sends a request now; its answer is awaited later.
    fn launch(&mut self, connection: &Connection, loads: Vec<Load>, flying: &mut VecDeque<Flying>) {
        let acks = self.acks();
        let mut sent = Vec::new();
        let mut data = Vec::new();
        for mut load in loads {
            let sealed = self.seal(&mut load, acks);
            if let Some(sent) = self.shared.history.lock().batches.get_mut(&sealed.id) {
                sent.connections.push(self.connections);
            }
            data.push(
                PartitionProduceData::default()
                    .with_index(load.partition)
                    .with_records(Some(sealed.bytes)),
            );
            sent.push((load, sealed.id));
        }
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(self.plan.topic.clone())))
            .with_partition_data(data);
        let request = ProduceRequest::default()
            .with_acks(code(acks))
            .with_timeout_ms(self.plan.patience.as_millis() as i32 / 2)
            .with_topic_data(vec![topic]);
        // Topics go by name up to version 12.
        const VERSION: i16 = 12;
        if acks == Acks::None {
            // Nothing is promised and nothing is sent again.
            drop(connection.tell(&request, VERSION));
            return;
        }
        let answer: Answer = match connection.start(&request, VERSION) {
            Ok(answer) => Box::pin(answer),
            Err(error) => Box::pin(async move { Err(error) }),
        };
        flying.push_back(Flying {
            loads: sent,
            answer,
        });
    }

    fn acks(&mut self) -> Acks {
        match self.plan.kind {
            Kind::Idempotent | Kind::Durable => Acks::All,
            Kind::Leader => Acks::Leader,
            Kind::Mixed => {
                self.plan
                    .chance
                    .one_of(&[Acks::All, Acks::Leader, Acks::Leader, Acks::None])
            }
        }
    }

    /// The batch of a load: the same again for an idempotent producer, a new one otherwise.
    fn seal(&mut self, load: &mut Load, acks: Acks) -> Sealed {
        if let Some(sealed) = &load.sealed {
            return sealed.clone();
        }
        let source = self.producer.as_ref().map_or(self.source, |p| p.source);
        let position = self.position;
        let id = BatchId { source, position };
        self.position += 1;
        let mut builder = BatchBuilder::new(self.codec());
        if let Some(producer) = &mut self.producer {
            let next = &mut producer.next_sequence[load.partition as usize];
            builder = builder.producer(BatchProducer {
                id: producer.id,
                epoch: producer.epoch,
                base_sequence: *next,
            });
            *next = sequence_add(*next, load.flights.len() as i32);
        }
        let mut digests = Vec::with_capacity(load.flights.len());
        for (index, n) in load.flights.iter().enumerate() {
            let index = index as u32;
            let flight = &self.plan.flights[*n];
            let record = RecordId { batch: id, index };
            let value = [record.to_string().as_bytes(), b"|", &flight.line].concat();
            let time = 1_356_998_400_000 + *n as i64;
            let headers: [(&[u8], Option<&[u8]>); 1] = [(b"carrier", Some(&flight.carrier))];
            builder.push(time, Some(&flight.carrier), Some(&value), &headers);
            digests.push(record_digest(
                Some(&flight.carrier),
                Some(&value),
                &headers,
                time,
            ));
        }
        let built = builder.build().expect("flights are smaller than a batch");
        let sealed = Sealed {
            id,
            bytes: built.bytes().clone(),
        };
        if self.producer.is_some() {
            load.sealed = Some(sealed.clone());
        }
        let sent = Sent::new(load.partition, acks, digests);
        self.shared.history.lock().batches.insert(id, sent);
        sealed
    }

    fn codec(&mut self) -> Codec {
        self.plan
            .chance
            .one_of(&[Codec::None, Codec::None, Codec::Lz4, Codec::Zstd])
    }

    /// Waits for an answer and notes it; what is to be sent again goes to `failed`. Says whether the connection is done for.
    async fn settle(&mut self, flying: Flying, failed: &mut Vec<Load>) -> Result<bool> {
        let answer = flying.answer.await;
        let broken = answer.is_err();
        for (load, id) in flying.loads {
            let result = match &answer {
                Ok(response) => result_of(response, load.partition),
                Err(_) => None,
            };
            match result {
                Some(Ok(offset)) => self.told(&load, id, offset),
                Some(Err(code)) => {
                    self.refused(code, &load, id, failed.is_empty())?;
                    failed.push(load);
                }
                None => failed.push(load),
            }
        }
        Ok(broken)
    }

    fn told(&mut self, load: &Load, id: BatchId, offset: i64) {
        self.known.insert(load.partition);
        if let Some(sent) = self.shared.history.lock().batches.get_mut(&id) {
            sent.told.push(offset);
        }
        let count = load.flights.len() as u64;
        self.shared.acknowledged.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes a refusal; an error for one after which a client would give up. `first`: nothing before it has failed.
    fn refused(&mut self, code: ErrorCode, load: &Load, id: BatchId, first: bool) -> Result<()> {
        let (kind, idempotent) = (self.plan.kind, self.producer.is_some());
        let out_of_order = code == ErrorCode::OutOfOrderSequenceNumber;
        if !(code.is_retriable() || out_of_order && !first) {
            bail!(
                "a {kind:?} writer of {} was refused for good: {code:?} for {} records in partition {}, batch {id:?}, {}",
                self.plan.topic,
                load.flights.len(),
                load.partition,
                self.sequences_of(load.partition)
            );
        }
        // What is sent again as the same batch may well be stored yet.
        if !may_be_stored(code)
            && !idempotent
            && let Some(sent) = self.shared.history.lock().batches.get_mut(&id)
        {
            sent.refused = true;
        }
        Ok(())
    }
}

/// What an error tells of a partition's last batches.
const TOLD: usize = 12;

impl Writer {
    /// The last batches that this producer has sent to a partition, with what it was told of each.
    fn sequences_of(&self, partition: i32) -> String {
        let Some(producer) = &self.producer else {
            return "no idempotent producer".to_owned();
        };
        let history = self.shared.history.lock();
        let mine = history.batches.iter().rev();
        let mine =
            mine.filter(|(id, sent)| id.source == producer.source && sent.partition == partition);
        let (mut end, mut shown) = (producer.next_sequence[partition as usize], Vec::new());
        for (id, sent) in mine.take(TOLD) {
            let first = end - sent.digests.len() as i32;
            shown.push(format!(
                "{}: {first}..{end} told {:?}",
                id.position, sent.told
            ));
            end = first;
        }
        format!(
            "producer {}; newest first: {}",
            producer.id.0,
            shown.join(", ")
        )
    }
}

fn result_of(response: &ProduceResponse, partition: i32) -> Option<Result<i64, ErrorCode>> {
    let mut parts = response
        .responses
        .iter()
        .flat_map(|t| &t.partition_responses);
    let part = parts.find(|p| p.index == partition)?;
    Some(match ErrorCode::try_from_code(part.error_code) {
        None => Ok(part.base_offset),
        Some(code) => Err(code),
    })
}

/// Whether an error leaves it open what happened.
fn may_be_stored(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownServerError
            | ErrorCode::RequestTimedOut
            | ErrorCode::NetworkException
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::KafkaStorageError
    )
}

fn code(acks: Acks) -> i16 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    }
}

/// What a writer notes of a record, and a reader of what it reads.
pub fn record_digest(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
    timestamp: i64,
) -> u64 {
    let start = Digest::default()
        .field(key)
        .field(value)
        .field(Some(&timestamp.to_be_bytes()));
    let add = |digest: Digest, (name, value): &(&[u8], Option<&[u8]>)| {
        digest.field(Some(name)).field(*value)
    };
    headers.iter().fold(start, add).value()
}
