//! From rows to acknowledged records.
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use sh_client::{Acks, Client, Delivery, Error, Producer, ProducerRecord};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    ProduceArgs,
    input::{self, Input},
    progress::Progress,
    row::Row,
};
use crate::{
    failure::Failure,
    output::{self, bytes, count},
};

/// Rows that are taken from the reader in one go.
const ROWS_AT_ONCE: usize = 1024;
/// Records whose answers are waited for, at most.
const UNANSWERED_MAX: usize = 1 << 20;

/// What was done.
#[derive(Serialize)]
pub struct Written {
    topic: String,
    records: u64,
    /// Of the input.
    bytes: u64,
    seconds: f64,
    #[serde(skip)]
    acknowledged: bool,
}

impl Written {
    pub fn text(&self) -> String {
        let Written {
            topic,
            records,
            bytes: read,
            seconds,
            acknowledged,
        } = self;
        let verb = if *acknowledged {
            "wrote"
        } else {
            "sent, without an answer,"
        };
        let rate = count((*records as f64 / seconds.max(0.001)) as u64);
        let (records, read) = (output::records(*records), bytes(*read));
        format!("{verb} {records} to {topic} in {seconds:.1} s ({read}, {rate} records/s)")
    }
}

/// Writes all rows and waits for all answers.
pub async fn write(client: Client, args: ProduceArgs) -> Result<Written, Failure> {
    let start = Instant::now();
    let options = args.options();
    let acknowledged = options.acks != Acks::None;
    let input = input::open(args.files, args.shape)?;
    let bytes_read = input.bytes_read.clone();
    let producer = Producer::new(client, options);
    let target = Target {
        topic: args.topic.as_str().into(),
        partition: args.partition,
    };
    let (deliveries, answers) = Answers::collect();
    let sent = target.send_all(input, &producer, deliveries).await;
    // What was sent before a bad row is written: the message says how much that is.
    let flushed = producer.flush().await;
    let records = answers.count().await;
    let done = || match records.as_ref() {
        Ok(records) => format!("before this, {} went through", output::records(*records)),
        Err(_) => "not all records before this were written".to_owned(),
    };
    sent.map_err(|failure| failure.during(done()))?;
    flushed?;
    Ok(Written {
        topic: args.topic,
        records: records?,
        bytes: bytes_read.load(Ordering::Relaxed),
        seconds: start.elapsed().as_secs_f64(),
        acknowledged,
    })
}

/// Where records go.
struct Target {
    topic: Arc<str>,
    partition: Option<i32>,
}

impl Target {
    async fn send_all(
        &self,
        mut input: Input,
        producer: &Producer,
        deliveries: mpsc::Sender<Delivery>,
    ) -> Result<(), Failure> {
        let mut progress = Progress::new(input.bytes_total);
        let mut rows = Vec::with_capacity(ROWS_AT_ONCE);
        let mut sent = 0u64;
        while input.rows.recv_many(&mut rows, ROWS_AT_ONCE).await > 0 {
            let now = now_ms();
            for row in rows.drain(..) {
                let delivery = producer.send(self.record(row?, now)).await?;
                // The collector ends early when a record was not written; the flush tells why.
                if deliveries.send(delivery).await.is_err() {
                    return Ok(());
                }
                sent += 1;
            }
            progress.show(input.bytes_read.load(Ordering::Relaxed), sent);
        }
        progress.finish();
        Ok(())
    }

    fn record(&self, row: Row, now: i64) -> ProducerRecord {
        ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            timestamp: row.timestamp.unwrap_or(now),
            key: row.key,
            value: row.value,
            headers: Vec::new(),
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits for the answers while records are still sent, so that a failure ends an input that has no end.
struct Answers(JoinHandle<Result<u64, Error>>);

impl Answers {
    fn collect() -> (mpsc::Sender<Delivery>, Answers) {
        let (sender, mut deliveries) = mpsc::channel::<Delivery>(UNANSWERED_MAX);
        let collector = tokio::spawn(async move {
            let mut written = 0;
            while let Some(delivery) = deliveries.recv().await {
                delivery.wait().await?;
                written += 1;
            }
            Ok(written)
        });
        (sender, Answers(collector))
    }

    /// How many records were answered; all of them, or the first failure.
    async fn count(self) -> Result<u64, Failure> {
        let answered = self
            .0
            .await
            .map_err(|e| Failure::failed(format!("the answers were lost: {e}")))?;
        Ok(answered?)
    }
}
