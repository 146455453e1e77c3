//! Reading records: partitions and offsets are given, not negotiated; one call is one round of fetches.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::future::join_all;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse,
    fetch_request::{FetchPartition, FetchTopic},
    fetch_response::{AbortedTransaction, PartitionData},
};
use sh_base::batch::{Batch, Marker, Record};

use crate::{Client, Connection, Error, Result, Topic, TopicPartition, client::topic_name};

/// What a consumer sees of transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    ReadUncommitted,
    ReadCommitted,
}

#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    pub isolation: Isolation,
    /// The most bytes of one fetch, and of one partition in it. One batch always comes, however large it is.
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    /// The broker waits for so many bytes, but no longer than `max_wait`.
    pub min_bytes: i32,
    pub max_wait: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            isolation: Isolation::default(),
            max_bytes: 50 * 1024 * 1024,
            partition_max_bytes: 1024 * 1024,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch, -1 for none.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What one fetch brought of one partition, not decoded.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The offset that was asked for; earlier ones may come in the first batch.
    pub offset: i64,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// -1 where the broker does not tell.
    pub log_start_offset: i64,
    pub records: Bytes,
    aborted: Vec<AbortedTransaction>,
}

/// Reads from assigned partitions, each from its position on.
pub struct Consumer {
    client: Client,
    options: ConsumerOptions,
    positions: BTreeMap<TopicPartition, i64>,
    /// Rounds so far: each begins with another partition, so that none starves behind a full answer.
    rounds: usize,
}

impl Consumer {
    pub fn new(client: Client, options: ConsumerOptions) -> Consumer {
        Consumer {
            client,
            options,
            positions: BTreeMap::new(),
            rounds: 0,
        }
    }

    /// Reads this partition from `offset` on (also to seek).
    pub fn assign(&mut self, topic: &str, partition: i32, offset: i64) {
        self.positions.insert((topic.into(), partition), offset);
    }

    pub fn unassign(&mut self, topic: &str, partition: i32) {
        self.positions.remove(&(Arc::from(topic), partition));
    }

    /// The next offset to read.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.positions.get(&(Arc::from(topic), partition)).copied()
    }

    /// What is read, in order.
    pub fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.positions.keys()
    }

    /// One round: records of all partitions that have some; none after `max_wait`. Retriable errors are retried as the
    /// client's options say; `OffsetOutOfRange` is told, and the position stays.
    pub async fn poll(&mut self) -> Result<Vec<ConsumerRecord>> {
        let mut records = Vec::new();
        for fetched in self.fetch().await? {
            let next = fetched.decode(self.options.isolation, &mut records)?;
            self.positions
                .insert((fetched.topic, fetched.partition), next);
        }
        Ok(records)
    }

    /// One round without decoding: positions move behind the last whole batch.
    pub async fn poll_raw(&mut self) -> Result<Vec<Fetched>> {
        let fetched = self.fetch().await?;
        for part in &fetched {
            let end = part
                .batches()
                .last()
                .transpose()?
                .map(|b| b.base_offset() + b.offsets());
            let next = end.unwrap_or(part.offset).max(part.offset);
            self.positions
                .insert((part.topic.clone(), part.partition), next);
        }
        Ok(fetched)
    }

    async fn fetch(&mut self) -> Result<Vec<Fetched>> {
        self.rounds = self.rounds.wrapping_add(1);
        let this = &*self;
        this.client.retry("Fetch", || this.round()).await
    }

    async fn round(&self) -> Result<Vec<Fetched>> {
        let rounds = join_all(
            self.by_leader()
                .await?
                .into_values()
                .map(|(leader, wanted)| self.ask(leader, wanted)),
        );
        let mut fetched = Vec::new();
        let mut failed = None;
        for part in rounds.await.into_iter().flatten() {
            match part {
                Ok(part) => fetched.push(part),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // Data first: the error comes back with the next round if it lasts.
            Some(error) if fetched.iter().all(|f| f.records.is_empty()) => Err(error),
            _ => Ok(fetched),
        }
    }

    /// Who is to be asked for what, in this round's order.
    async fn by_leader(&self) -> Result<HashMap<String, (Arc<Connection>, Vec<Wanted>)>> {
        let turn = self.rounds % self.positions.len().max(1);
        let mut leaders: HashMap<String, (Arc<Connection>, Vec<Wanted>)> = HashMap::new();
        for ((name, partition), offset) in self
            .positions
            .iter()
            .cycle()
            .skip(turn)
            .take(self.positions.len())
        {
            let (leader, topic) = self.client.leader(name, *partition).await?;
            let wanted = Wanted {
                topic,
                partition: *partition,
                offset: *offset,
            };
            leaders
                .entry(leader.address().to_owned())
                .or_insert_with(|| (leader, Vec::new()))
                .1
                .push(wanted);
        }
        Ok(leaders)
    }

    async fn ask(&self, leader: Arc<Connection>, wanted: Vec<Wanted>) -> Vec<Result<Fetched>> {
        let answer = async {
            let with_ids = wanted.iter().all(|w| !w.topic.id.is_nil());
            let version =
                leader
                    .version_of::<FetchRequest>()?
                    .min(if with_ids { i16::MAX } else { 12 });
            let answer = leader
                .call(&self.request(version, &wanted), version)
                .await?;
            Error::check("Fetch", answer.error_code, None)?;
            Ok(answer)
        };
        match answer.await {
            Ok(answer) => wanted
                .iter()
                .filter_map(|w| self.part(&answer, w))
                .collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn request(&self, version: i16, wanted: &[Wanted]) -> FetchRequest {
        let topics = wanted.iter().map(|w| {
            let part = FetchPartition::default()
                .with_partition(w.partition)
                .with_fetch_offset(w.offset)
                .with_partition_max_bytes(self.options.partition_max_bytes);
            let topic = FetchTopic::default().with_partitions(vec![part]);
            if version >= 13 {
                topic.with_topic_id(w.topic.id)
            } else {
                topic.with_topic(topic_name(&w.topic.name))
            }
        });
        let request = FetchRequest::default()
            .with_max_wait_ms(i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(self.options.min_bytes)
            .with_max_bytes(self.options.max_bytes)
            .with_isolation_level(i8::from(self.options.isolation == Isolation::ReadCommitted))
            .with_topics(topics.collect());
        // Outside of any session: what is asked is what is wanted.
        let request = if version >= 7 {
            request.with_session_epoch(-1)
        } else {
            request
        };
        if version < 15 {
            request.with_replica_id(BrokerId(-1))
        } else {
            request
        }
    }

    fn part(&self, answer: &FetchResponse, wanted: &Wanted) -> Option<Result<Fetched>> {
        let is_topic = |name: &str, id| {
            name == &*wanted.topic.name || (name.is_empty() && id == wanted.topic.id)
        };
        let mut parts = answer
            .responses
            .iter()
            .filter(|t| is_topic(&t.topic, t.topic_id))
            .flat_map(|t| &t.partitions);
        let part = parts.find(|p| p.partition_index == wanted.partition)?;
        let what = format!(
            "{} partition {} at offset {}",
            wanted.topic.name, wanted.partition, wanted.offset
        );
        if let Err(error) = Error::check(what, part.error_code, None) {
            self.client.forget(&wanted.topic.name);
            return Some(Err(error));
        }
        Some(Ok(Fetched::new(wanted, part)))
    }
}

/// A partition of one round.
struct Wanted {
    topic: Arc<Topic>,
    partition: i32,
    offset: i64,
}

impl Fetched {
    fn new(wanted: &Wanted, part: &PartitionData) -> Fetched {
        Fetched {
            topic: wanted.topic.name.clone(),
            partition: wanted.partition,
            offset: wanted.offset,
            high_watermark: part.high_watermark,
            last_stable_offset: part.last_stable_offset,
            log_start_offset: part.log_start_offset,
            records: part.records.clone().unwrap_or_default(),
            aborted: part.aborted_transactions.clone().unwrap_or_default(),
        }
    }

    /// The whole batches, CRCs checked. A partial one at the end is left out, as every client does.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch>> {
        let mut rest = self.records.clone();
        std::iter::from_fn(move || {
            let size = usize::try_from(rest.get(8..12)?.get_i32())
                .ok()?
                .checked_add(12)?;
            if size > rest.len() {
                return None;
            }
            Some(Batch::parse(rest.split_to(size)).map_err(|e| self.bad(e)))
        })
    }

    /// Appends the records that are to be seen; answers the next offset to read.
    fn decode(&self, isolation: Isolation, out: &mut Vec<ConsumerRecord>) -> Result<i64> {
        let mut aborted = Aborted::new(isolation, &self.aborted);
        let mut next = self.offset;
        for batch in self.batches() {
            let batch = batch?;
            next = next.max(batch.base_offset() + batch.offsets());
            if aborted.hides(&batch) {
                continue;
            }
            for record in batch.records().map_err(|e| self.bad(e))? {
                let record = record.map_err(|e| self.bad(e))?;
                let offset = batch.base_offset() + i64::from(record.offset_delta);
                if offset >= self.offset {
                    out.push(self.record(offset, record));
                }
            }
        }
        Ok(next)
    }

    fn record(&self, offset: i64, record: Record) -> ConsumerRecord {
        ConsumerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record
                .headers
                .into_iter()
                .map(|h| (h.name, h.value))
                .collect(),
        }
    }

    fn bad(&self, problem: impl ToString) -> Error {
        let (topic, partition) = (self.topic.to_string(), self.partition);
        Error::BadBatch {
            topic,
            partition,
            problem: problem.to_string(),
        }
    }
}

/// Which producers' batches are hidden, at this place of the log (KIP-98).
struct Aborted {
    /// Not yet begun, the next one last.
    ahead: Vec<(i64, i64)>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(isolation: Isolation, list: &[AbortedTransaction]) -> Aborted {
        let listed = if isolation == Isolation::ReadCommitted {
            list
        } else {
            &[]
        };
        let mut ahead: Vec<_> = listed
            .iter()
            .map(|a| (a.first_offset, a.producer_id.0))
            .collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Aborted {
            ahead,
            open: HashSet::new(),
        }
    }

    /// Control batches are never records of a consumer; they end what they abort.
    fn hides(&mut self, batch: &Batch) -> bool {
        let last = batch.base_offset() + batch.offsets() - 1;
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= last) {
            self.open.insert(producer);
        }
        let producer = batch.header().producer.map(|p| p.id.0);
        if batch.header().is_control() {
            if batch.marker() == Some(Marker::Abort) {
                producer.map(|id| self.open.remove(&id));
            }
            return true;
        }
        batch.header().is_transactional() && producer.is_some_and(|id| self.open.contains(&id))
    }
}
