//! A producer whose transactions stay open: clients that end well leave nothing to look at.
use std::time::Duration;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        AddPartitionsToTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId, TopicName,
        TransactionalId,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};
use sh_base::batch::{BatchBuilder, BatchProducer, Codec};
use sh_client::{Client, CoordinatorKind, Options};

use crate::running::Running;

/// A producer in the classic flow of transactions, which adds partitions before it writes to them.
pub struct Writer {
    runtime: tokio::runtime::Runtime,
    client: Client,
    id: String,
    pub producer: i64,
    epoch: i16,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Writer {
    pub fn start(house: &Running, id: &str) -> Writer {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(house.address(), Options::default()));
        let mut writer = Writer {
            runtime,
            client: client.unwrap(),
            id: id.to_owned(),
            producer: -1,
            epoch: -1,
        };
        let begun = writer.runtime.block_on(writer.init());
        (writer.producer, writer.epoch) = begun;
        writer
    }

    async fn init(&self) -> (i64, i16) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&self.id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        // A coordinator that has just started is not there yet.
        for _ in 0..100 {
            let coordinator = self
                .client
                .coordinator(CoordinatorKind::Transaction, &self.id);
            if let Ok(coordinator) = coordinator.await {
                let answer = coordinator.call(&request, 4).await.unwrap();
                if answer.error_code == 0 {
                    return (answer.producer_id.0, answer.producer_epoch);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no producer id within 10 s");
    }

    /// Writes one record in a transaction that stays open.
    pub fn write(&self, topic: &str, partition: i32) -> Result<i64, ResponseError> {
        self.runtime.block_on(async {
            self.add(topic, partition).await;
            self.produce(topic, partition).await
        })
    }

    /// The same, and no coordinator knows of it.
    pub fn write_behind(&self, topic: &str, partition: i32) -> Result<i64, ResponseError> {
        self.runtime.block_on(self.produce(topic, partition))
    }

    async fn add(&self, topic: &str, partition: i32) {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
            .with_v3_and_below_producer_id(ProducerId(self.producer))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let coordinator = self
            .client
            .coordinator(CoordinatorKind::Transaction, &self.id);
        let coordinator = coordinator.await.unwrap();
        let answer = coordinator.call(&request, 3).await.unwrap();
        let added = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
        assert_eq!(added.partition_error_code, 0);
    }

    async fn produce(&self, topic: &str, partition: i32) -> Result<i64, ResponseError> {
        let producer = BatchProducer {
            id: sh_base::ProducerId(self.producer),
            epoch: self.epoch,
            base_sequence: 0,
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let mut batch = BatchBuilder::new(Codec::None)
            .producer(producer)
            .transactional();
        batch.push(now.as_millis() as i64, None, Some(b"open"), &[]);
        let part = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.build().unwrap().bytes().clone()));
        let data = TopicProduceData::default()
            .with_name(TopicName(text(topic)))
            .with_partition_data(vec![part]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&self.id))))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let (leader, _) = self.client.leader(topic, partition).await.unwrap();
        let answer = leader.call(&request, 9).await.unwrap();
        let written = &answer.responses[0].partition_responses[0];
        match ResponseError::try_from_code(written.error_code) {
            None => Ok(written.base_offset),
            Some(error) => Err(error),
        }
    }
}
