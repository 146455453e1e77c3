//! Writing records: collected into one batch per partition, several requests in flight, answers per record.
mod accumulator;
mod lane;
mod sender;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sh_base::batch::Codec;
use tokio::sync::watch;

use crate::{Client, Error, Result, partition_for_key};
use accumulator::{Accumulator, Outcome};

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Never: nothing is promised.
    None,
    /// Once the leader has it.
    Leader,
    /// Once it is durable.
    #[default]
    All,
}

impl Acks {
    pub(crate) fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    pub acks: Acks,
    pub codec: Codec,
    /// Whether retries are told apart from new records (KIP-98). Needs [`Acks::All`].
    pub idempotent: bool,
    /// A batch that has grown to this many bytes, before compression, is sent.
    pub batch_bytes: usize,
    /// How long a batch waits for more records before it is sent.
    pub linger: Duration,
    /// Requests that wait for their answers at one broker. At most 5 with `idempotent`.
    pub in_flight: usize,
    /// Bytes of records that wait to be written; beyond, [`Producer::send`] waits.
    pub buffer_bytes: usize,
    /// How long a batch is tried before its records are reported as not written.
    pub delivery_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            acks: Acks::All,
            codec: Codec::None,
            idempotent: true,
            batch_bytes: 256 * 1024,
            linger: Duration::from_millis(5),
            in_flight: 5,
            buffer_bytes: 64 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// A record to write. Time is the caller's to say: this crate reads no clock.
#[derive(Clone, Debug)]
pub struct ProducerRecord {
    pub topic: Arc<str>,
    /// `None`: by the key, as the Java client would; without a key, one partition after the other.
    pub partition: Option<i32>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Where a record was written. The offset is -1 where the broker does not tell ([`Acks::None`], an old duplicate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    pub offset: i64,
}

/// The answer to come for one record. Dropping it drops nothing but the answer.
pub struct Delivery {
    outcome: watch::Receiver<Outcome>,
    partition: i32,
    index: i64,
}

impl Delivery {
    pub async fn wait(mut self) -> Result<Delivered> {
        let outcome = match self
            .outcome
            .wait_for(|o| !matches!(o, Outcome::Pending))
            .await
        {
            Ok(outcome) => outcome.clone(),
            Err(_) => return Err(Error::ProducerClosed("it was dropped".into())),
        };
        match outcome {
            Outcome::Failed(error) => Err(Error::Undelivered(error)),
            Outcome::Written { base_offset } if base_offset >= 0 => Ok(Delivered {
                partition: self.partition,
                offset: base_offset + self.index,
            }),
            _ => Ok(Delivered {
                partition: self.partition,
                offset: -1,
            }),
        }
    }
}

/// Writes records. Dropping it sends nothing more: [`Producer::flush`] first.
pub struct Producer {
    client: Client,
    accumulator: Arc<Accumulator>,
    sender: tokio::task::JoinHandle<()>,
}

impl Producer {
    pub fn new(client: Client, options: ProducerOptions) -> Producer {
        let accumulator = Arc::new(Accumulator::new(options));
        let sender = tokio::spawn(sender::run(client.clone(), accumulator.clone()));
        Producer {
            client,
            accumulator,
            sender,
        }
    }

    /// Takes a record into its partition's batch. Waits while the buffer is full, and for the topic's metadata at first.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let partition = self.partition_of(&record).await?;
        self.accumulator.append(partition, record).await
    }

    /// Waits until everything that was sent is answered. Failures are told by each [`Delivery`], the first also here.
    pub async fn flush(&self) -> Result<()> {
        self.accumulator.flush().await
    }

    async fn partition_of(&self, record: &ProducerRecord) -> Result<i32> {
        let what = format!("topic {}", record.topic);
        let topic = self
            .client
            .retry(&what, || self.client.topic(&record.topic))
            .await?;
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        match (record.partition, &record.key) {
            (Some(partition), _) => topic.partition(partition).map(|p| p.index),
            (None, Some(key)) => Ok(partition_for_key(key, count)),
            (None, None) => Ok(self.accumulator.sticky(&record.topic, count)),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.sender.abort();
    }
}
