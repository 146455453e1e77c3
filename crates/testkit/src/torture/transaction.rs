//! A transactional producer that speaks the protocol itself, in the classic flow or that of transactions version 2.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::future::try_join_all;
use kafka_protocol::{
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, EndTxnResponse, GroupId,
        InitProducerIdRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
        TxnOffsetCommitRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    protocol::{Request, StrBytes},
};
use sh_base::batch::{BatchBuilder, BatchProducer, Codec, sequence_add};
use sh_client::{Author, Client, CoordinatorKind, Error, Result, TopicPartition};

/// How a client and the server speak of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// KIP-98: partitions are added by requests of their own, a session keeps its epoch.
    Classic,
    /// KIP-890: the first batch adds its partition, each end bumps the epoch.
    Second,
}

impl Flow {
    /// The highest version of Produce, TxnOffsetCommit and EndTxn that belongs to this flow.
    fn max_version<R: Request>(self) -> i16 {
        match (self, R::KEY) {
            (Flow::Second, PRODUCE) => 12,
            (Flow::Second, _) => 5,
            (Flow::Classic, PRODUCE) => 11,
            (Flow::Classic, TXN_OFFSET_COMMIT) => 3,
            (Flow::Classic, _) => 4,
        }
    }
}

const PRODUCE: i16 = 0;
const TXN_OFFSET_COMMIT: i16 = 28;
/// Later versions of AddPartitionsToTxn are for brokers.
const ADD_PARTITIONS: i16 = 3;

/// One session of a transactional id. What it asks is asked again until it is answered, as long as its client is patient.
pub struct Session {
    client: Client,
    id: String,
    flow: Flow,
    producer: (i64, i16),
    sequences: BTreeMap<TopicPartition, i32>,
    /// What the open transaction has.
    partitions: BTreeSet<TopicPartition>,
    has_offsets: bool,
}

/// A record to be written: time, key, value and headers.
pub struct NewRecord {
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Session {
    /// Ends whatever earlier sessions of this id have left open. The transactions of this one may last `timeout_ms`.
    pub async fn begin(client: Client, id: &str, flow: Flow, timeout_ms: i32) -> Result<Session> {
        let mut session = Session {
            client,
            id: id.to_owned(),
            flow,
            producer: (-1, -1),
            sequences: BTreeMap::new(),
            partitions: BTreeSet::new(),
            has_offsets: false,
        };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(session.transactional_id()))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = session
            .coordinator("InitProducerId", 5, |_| request.clone(), |a| a.error_code)
            .await?;
        session.producer = (answer.producer_id.0, answer.producer_epoch);
        Ok(session)
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    /// Whether there is something to be ended.
    pub fn is_open(&self) -> bool {
        self.has_offsets || !self.partitions.is_empty()
    }

    /// Writes to one partition of a topic for each entry, all at the same time.
    pub async fn write(&mut self, topic: &str, loads: BTreeMap<i32, Vec<NewRecord>>) -> Result<()> {
        let places = loads.keys().map(|p| (Arc::from(topic), *p));
        let new: BTreeSet<TopicPartition> =
            places.filter(|p| !self.partitions.contains(p)).collect();
        if self.flow == Flow::Classic && !new.is_empty() {
            self.add_partitions(topic, &new).await?;
        }
        self.partitions.extend(new);
        let mut batches = Vec::new();
        for (partition, records) in loads {
            batches.push((partition, self.seal(topic, partition, &records)));
        }
        let this = &*self;
        let writes = batches
            .into_iter()
            .map(|(p, bytes)| this.produce(topic, p, bytes));
        try_join_all(writes).await.map(drop)
    }

    /// The batch that follows what this session has sent to the partition.
    fn seal(&mut self, topic: &str, partition: i32, records: &[NewRecord]) -> Bytes {
        let next = self.sequences.entry((topic.into(), partition)).or_default();
        let mut builder = BatchBuilder::new(Codec::None)
            .producer(BatchProducer {
                id: sh_base::ProducerId(self.producer.0),
                epoch: self.producer.1,
                base_sequence: *next,
            })
            .transactional();
        *next = sequence_add(*next, i32::try_from(records.len()).unwrap_or(i32::MAX));
        for record in records {
            let headers: Vec<(&[u8], Option<&[u8]>)> = record
                .headers
                .iter()
                .map(|(name, value)| (&name[..], value.as_deref()))
                .collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.push(record.timestamp, key, value, &headers);
        }
        let built = builder
            .build()
            .expect("what was read as records is one batch");
        built.bytes().clone()
    }

    async fn produce(&self, topic: &str, partition: i32, records: Bytes) -> Result<()> {
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records));
        let data = TopicProduceData::default()
            .with_name(TopicName(text(topic)))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let once = || async {
            let (leader, _) = self.client.leader(topic, partition).await?;
            let version = self.flow.max_version::<ProduceRequest>();
            let answer = leader.call(&request, version).await?;
            let answered = answer
                .responses
                .first()
                .and_then(|t| t.partition_responses.first());
            let code = answered.map_or(UNKNOWN, |p| p.error_code);
            Error::check(format!("Produce of {}", self.id), code, None)
        };
        let again = || async {
            let outcome = once().await;
            if outcome.is_err() {
                self.client.forget(topic);
            }
            outcome
        };
        self.client.retry("Produce", again).await
    }

    async fn add_partitions(&self, topic: &str, places: &BTreeSet<TopicPartition>) -> Result<()> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(places.iter().map(|(_, p)| *p).collect());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(self.producer.0))
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![topic]);
        let code = |a: &kafka_protocol::messages::AddPartitionsToTxnResponse| {
            let topics = a.results_by_topic_v3_and_below.iter();
            let codes = topics
                .flat_map(|t| &t.results_by_partition)
                .map(|p| p.partition_error_code);
            codes.max_by_key(|c| *c != 0).unwrap_or(UNKNOWN)
        };
        self.coordinator(
            "AddPartitionsToTxn",
            ADD_PARTITIONS,
            |_| request.clone(),
            code,
        )
        .await
        .map(drop)
    }

    /// Makes a group's offsets a part of the transaction.
    pub async fn commit_offsets(
        &mut self,
        group: &str,
        author: &Author,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<()> {
        if self.flow == Flow::Classic && !self.has_offsets {
            self.add_offsets(group).await?;
        }
        self.has_offsets = true;
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            topics.entry(topic).or_default().push(
                TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(*offset)
                    .with_committed_metadata(Some(StrBytes::default())),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(TopicName(text(name)))
                .with_partitions(partitions)
        });
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_group_id(GroupId(text(group)))
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_generation_id(author.generation)
            .with_member_id(text(&author.member_id))
            .with_group_instance_id(author.instance_id.as_deref().map(text))
            .with_topics(topics.collect());
        let code = |a: &kafka_protocol::messages::TxnOffsetCommitResponse| {
            let parts = a.topics.iter().flat_map(|t| &t.partitions);
            parts
                .map(|p| p.error_code)
                .max_by_key(|c| *c != 0)
                .unwrap_or(UNKNOWN)
        };
        let max = self.flow.max_version::<TxnOffsetCommitRequest>();
        let (kind, what) = (CoordinatorKind::Group, "TxnOffsetCommit");
        self.ask((kind, group), what, max, |_| request.clone(), code)
            .await
            .map(drop)
    }

    async fn add_offsets(&self, group: &str) -> Result<()> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_group_id(GroupId(text(group)));
        self.coordinator("AddOffsetsToTxn", 3, |_| request.clone(), |a| a.error_code)
            .await
            .map(drop)
    }

    /// Ends the transaction. After an error nobody knows how it ended: only a new session may go on.
    pub async fn end(&mut self, commit: bool) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_committed(commit);
        let max = self.flow.max_version::<EndTxnRequest>();
        let code = |a: &EndTxnResponse| a.error_code;
        let answer = self
            .coordinator("EndTxn", max, |_| request.clone(), code)
            .await?;
        if self.flow == Flow::Second {
            self.producer = (answer.producer_id.0, answer.producer_epoch);
            self.sequences.clear();
        }
        self.partitions.clear();
        self.has_offsets = false;
        Ok(())
    }

    async fn coordinator<R: Request>(
        &self,
        what: &str,
        max: i16,
        build: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let key = (CoordinatorKind::Transaction, self.id.as_str());
        self.ask(key, what, max, build, code).await
    }

    async fn ask<R: Request>(
        &self,
        (kind, key): (CoordinatorKind, &str),
        what: &str,
        max: i16,
        build: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let (build, code) = (&build, &code);
        let once = || async move {
            let coordinator = self.client.coordinator(kind, key).await?;
            let version = coordinator.version_of::<R>()?.min(max);
            let answer = coordinator.call(&build(version), version).await?;
            Error::check(format!("{what} of {}", self.id), code(&answer), None)?;
            Ok(answer)
        };
        self.client.retry(what, once).await
    }
}

/// For answers that leave out what was asked about.
const UNKNOWN: i16 = -1;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
