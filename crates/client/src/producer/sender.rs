//! The task behind a producer: seals batches, sends them to their leaders, hands out the answers.
use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        InitProducerIdRequest, ProduceRequest, ProduceResponse,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
};
use sh_base::{
    ProducerId,
    batch::{BatchProducer, sequence_add},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Acks,
    accumulator::{Accumulator, OpenBatch, Place},
    lane::{Lane, Sealed},
};
use crate::{Client, Connection, Error, Result, Topic, client::topic_name};

/// A request is closed when its batches have this many bytes.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// What goes to one broker in one request.
struct Sent {
    node: i32,
    batches: Vec<(Place, Sealed)>,
    /// The topics of the batches.
    topics: HashMap<Arc<str>, Arc<Topic>>,
}

/// The answer to one batch: its base offset.
struct Answered {
    node: i32,
    results: Vec<(Place, Sealed, Result<i64>)>,
}

struct Sender {
    client: Client,
    accumulator: Arc<Accumulator>,
    lanes: HashMap<Place, Lane>,
    in_flight: HashMap<i32, usize>,
    producer: Option<(ProducerId, i16)>,
    done: mpsc::UnboundedSender<Answered>,
}

pub(super) async fn run(client: Client, accumulator: Arc<Accumulator>) {
    let (done, mut answers) = mpsc::unbounded_channel();
    let (lanes, in_flight) = (HashMap::new(), HashMap::new());
    let mut sender = Sender {
        client,
        accumulator,
        lanes,
        in_flight,
        producer: None,
        done,
    };
    loop {
        let wake_at = match sender.step().await {
            Ok(wake_at) => wake_at,
            Err(error) => return sender.stop(&error.to_string()),
        };
        tokio::select! {
            () = sender.accumulator.wake.notified() => {}
            Some(answered) = answers.recv() => sender.settle(answered),
            () = tokio::time::sleep_until(wake_at) => {}
        }
        while let Ok(answered) = answers.try_recv() {
            sender.settle(answered);
        }
    }
}

impl Sender {
    /// Seals and sends what is ripe; answers when to look again.
    async fn step(&mut self) -> Result<Instant> {
        let now = Instant::now();
        let (ripe, next) = self.accumulator.take_ripe(now);
        if self.accumulator.options.idempotent && self.producer.is_none() && !ripe.is_empty() {
            match self.init_producer().await {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => {
                    self.fail(ripe, &error.to_string());
                    return Err(error);
                }
            }
        }
        for (place, batch) in ripe {
            self.seal(place, batch);
        }
        while let Some(sent) = self.next_request(now).await {
            self.launch(sent).await;
        }
        let retry = self
            .lanes
            .values()
            .filter_map(|l| l.not_before)
            .filter(|at| *at > now)
            .min();
        let idle = now + Duration::from_secs(1);
        Ok([next, retry].into_iter().flatten().fold(idle, Instant::min))
    }

    fn fail(&self, batches: Vec<(Place, OpenBatch)>, why: &str) {
        for (_, batch) in batches {
            let error = Error::ProducerClosed(why.to_owned());
            self.accumulator
                .settle(&batch.outcome, batch.buffered, Err(error));
        }
    }

    fn seal(&mut self, place: Place, batch: OpenBatch) {
        let lane = self.lanes.entry(place.clone()).or_default();
        let count = batch.builder.count();
        let mut builder = batch.builder;
        if let Some((id, epoch)) = self.producer {
            builder = builder.producer(BatchProducer {
                id,
                epoch,
                base_sequence: lane.next_sequence,
            });
        }
        match builder.build() {
            Ok(built) => {
                lane.next_sequence = sequence_add(lane.next_sequence, count);
                lane.next_ordinal += 1;
                lane.ready.push_back(Sealed {
                    ordinal: lane.next_ordinal,
                    bytes: built.bytes().clone(),
                    since: batch.since,
                    outcome: batch.outcome,
                    buffered: batch.buffered,
                    tried: false,
                });
            }
            Err(error) => {
                let (topic, partition) = place;
                let error = Error::BadBatch {
                    topic: topic.to_string(),
                    partition,
                    problem: error.to_string(),
                };
                self.accumulator
                    .settle(&batch.outcome, batch.buffered, Err(error));
            }
        }
    }

    /// Up to one batch of each partition that one broker leads.
    async fn next_request(&mut self, now: Instant) -> Option<Sent> {
        let places: Vec<Place> = self
            .lanes
            .iter()
            .filter(|(_, l)| l.may_send(now))
            .map(|(place, _)| place.clone())
            .collect();
        let mut sent: Option<Sent> = None;
        let mut bytes = 0;
        for place in places {
            let (node, topic) = match self.leader(&place).await {
                Ok(leader) => leader,
                Err(error) => {
                    self.postpone(&place, error);
                    continue;
                }
            };
            let busy = self.in_flight.get(&node).copied().unwrap_or(0)
                >= self.accumulator.options.in_flight;
            if busy || sent.as_ref().is_some_and(|s| s.node != node) || bytes > REQUEST_BYTES {
                continue;
            }
            let Some(lane) = self.lanes.get_mut(&place) else {
                continue;
            };
            let Some(batch) = lane.ready.pop_front() else {
                continue;
            };
            lane.in_flight += 1;
            bytes += batch.bytes.len();
            let sent = sent.get_or_insert_with(|| Sent {
                node,
                batches: Vec::new(),
                topics: HashMap::new(),
            });
            sent.topics.insert(place.0.clone(), topic);
            sent.batches.push((place, batch));
        }
        sent
    }

    async fn leader(&self, (topic, partition): &Place) -> Result<(i32, Arc<Topic>)> {
        let topic = self.client.topic(topic).await?;
        Ok((topic.partition(*partition)?.leader, topic))
    }

    /// The first batch of a lane cannot be sent at the moment.
    fn postpone(&mut self, place: &Place, error: Error) {
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        let Some(batch) = lane.ready.pop_front() else {
            return;
        };
        lane.in_flight += 1;
        self.settle_one(place.clone(), batch, Err(error));
    }

    /// Sends now, so that the order on the connection is the order of the batches; awaits the answer in a task of its own.
    async fn launch(&mut self, sent: Sent) {
        *self.in_flight.entry(sent.node).or_default() += 1;
        let acks = self.accumulator.options.acks;
        let started = async {
            let connection = self.client.node(sent.node).await?;
            start(
                &connection,
                acks,
                self.client.options().request_timeout,
                &sent,
            )
        };
        let done = self.done.clone();
        match started.await {
            Ok(answer) => {
                tokio::spawn(async move { drop(done.send(answered(sent, answer.await))) });
            }
            Err(error) => drop(done.send(answered(sent, Err(error)))),
        }
    }

    fn settle(&mut self, answered: Answered) {
        if let Some(n) = self.in_flight.get_mut(&answered.node) {
            *n = n.saturating_sub(1);
        }
        for (place, batch, result) in answered.results {
            self.settle_one(place, batch, result);
        }
    }

    fn settle_one(&mut self, place: Place, batch: Sealed, result: Result<i64>) {
        let lane = self.lanes.entry(place.clone()).or_default();
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let error = match result {
            Ok(offset) => {
                lane.known = true;
                return self
                    .accumulator
                    .settle(&batch.outcome, batch.buffered, Ok(offset));
            }
            Err(error) => error,
        };
        if error.code() == Some(ResponseError::DuplicateSequenceNumber) {
            return self
                .accumulator
                .settle(&batch.outcome, batch.buffered, Ok(-1));
        }
        let out_of_order = error.code() == Some(ResponseError::OutOfOrderSequenceNumber);
        let again = error.is_retriable() || out_of_order && lane.has_earlier(batch.ordinal);
        if again && batch.since.elapsed() < self.accumulator.options.delivery_timeout {
            tracing::debug!(topic = %place.0, partition = place.1, %error, "sending a batch again");
            self.client.forget(&place.0);
            return lane.put_back(batch, Instant::now() + self.client.options().backoff);
        }
        let fatal = self.producer.is_some().then(|| error.to_string());
        self.accumulator
            .settle(&batch.outcome, batch.buffered, Err(error));
        if let Some(why) = fatal {
            // The sequence has a hole now: what follows would be refused as out of order.
            self.stop(&why);
        }
    }

    fn stop(&mut self, why: &str) {
        self.accumulator.stop(why);
        for batch in self
            .lanes
            .values_mut()
            .flat_map(|l| std::mem::take(&mut l.ready))
        {
            let error = Error::ProducerClosed(why.to_owned());
            self.accumulator
                .settle(&batch.outcome, batch.buffered, Err(error));
        }
    }

    async fn init_producer(&self) -> Result<(ProducerId, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        let once = || async {
            let connection = self.client.any().await?;
            let answer = self.client.call(&connection, |_| request.clone()).await?;
            Error::check("InitProducerId", answer.error_code, None)?;
            Ok((ProducerId(answer.producer_id.0), answer.producer_epoch))
        };
        self.client.retry("InitProducerId", once).await
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Option<ProduceResponse>>> + Send>>;

fn start(connection: &Connection, acks: Acks, timeout: Duration, sent: &Sent) -> Result<Answer> {
    let with_ids = sent.topics.values().all(|t| !t.id.is_nil());
    let version =
        connection
            .version_of::<ProduceRequest>()?
            .min(if with_ids { i16::MAX } else { 12 });
    let request = request(version, acks, timeout, sent);
    if acks == Acks::None {
        let written = connection.tell(&request, version)?;
        return Ok(Box::pin(async { written.await.map(|()| None) }));
    }
    let answer = connection.start(&request, version)?;
    Ok(Box::pin(async { answer.await.map(Some) }))
}

fn request(version: i16, acks: Acks, timeout: Duration, sent: &Sent) -> ProduceRequest {
    let data = sent.topics.values().map(|topic| {
        let of_topic = sent
            .batches
            .iter()
            .filter(|((name, _), _)| *name == topic.name);
        let parts = of_topic.map(|((_, partition), batch)| {
            PartitionProduceData::default()
                .with_index(*partition)
                .with_records(Some(batch.bytes.clone()))
        });
        let data = TopicProduceData::default().with_partition_data(parts.collect());
        match version {
            ..=12 => data.with_name(topic_name(&topic.name)),
            _ => data.with_topic_id(topic.id),
        }
    });
    ProduceRequest::default()
        .with_acks(acks.code())
        .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(data.collect())
}

/// Gives each batch its part of the answer.
fn answered(sent: Sent, answer: Result<Option<ProduceResponse>>) -> Answered {
    let answer = answer.map_err(Arc::new);
    let topics = sent.topics;
    let results = sent.batches.into_iter().map(|(place, batch)| {
        let result = match &answer {
            Ok(None) => Ok(-1),
            Ok(Some(response)) => result_of(response, topics.get(&place.0), &place),
            Err(error) => Err(copy(error)),
        };
        (place, batch, result)
    });
    Answered {
        node: sent.node,
        results: results.collect(),
    }
}

/// The topic is named by name up to version 12, by id from 13 on.
fn result_of(
    response: &ProduceResponse,
    topic: Option<&Arc<Topic>>,
    (name, partition): &Place,
) -> Result<i64> {
    let what = format!("{name} partition {partition}");
    let id = topic.map(|t| t.id).filter(|id| !id.is_nil());
    let mut found = response
        .responses
        .iter()
        .filter(|t| t.name.as_str() == &**name || Some(t.topic_id) == id)
        .flat_map(|t| &t.partition_responses)
        .filter(|p| p.index == *partition);
    match found.next() {
        Some(p) => {
            Error::check(what, p.error_code, p.error_message.as_deref()).map(|()| p.base_offset)
        }
        None => Err(Error::Malformed {
            address: "the leader".into(),
            what,
            problem: "no answer for it".into(),
        }),
    }
}

/// One failed request fails all its batches, each with an error of its own.
fn copy(error: &Arc<Error>) -> Error {
    match &**error {
        Error::Closed { address } => Error::Closed {
            address: address.clone(),
        },
        Error::Timeout {
            address,
            what,
            after,
        } => Error::Timeout {
            address: address.clone(),
            what: what.clone(),
            after: *after,
        },
        _ => Error::Undelivered(error.clone()),
    }
}
