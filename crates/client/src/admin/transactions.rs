//! Transactions: what is open, and how to end what nobody ends (KIP-664).
use std::collections::BTreeSet;

use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListTransactionsRequest, ProducerId, TransactionalId,
    WriteTxnMarkersRequest,
    describe_producers_response::ProducerState,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
};

use super::Admin;
use crate::{
    CoordinatorKind, Error, ErrorCode, Result, TopicPartition,
    client::{text, topic_name},
    group::protocol::places,
};

/// Which transactions; empty lists and `None` mean all.
#[derive(Clone, Debug, Default)]
pub struct TransactionFilter {
    pub states: Vec<String>,
    pub producer_ids: Vec<i64>,
    /// Running for longer than this.
    pub older_than_ms: Option<i64>,
    /// An RE2 expression that the whole transactional id matches (KIP-1152).
    pub id_pattern: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub coordinator: i32,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub state: String,
    pub timeout_ms: i32,
    /// `None` while no transaction is open.
    pub start_ms: Option<i64>,
    /// What the open transaction has written to.
    pub partitions: BTreeSet<TopicPartition>,
}

impl Admin {
    /// The transactional ids of all brokers that fit.
    pub async fn list_transactions(
        &self,
        filter: &TransactionFilter,
    ) -> Result<Vec<TransactionListing>> {
        let needed = match filter {
            TransactionFilter {
                id_pattern: Some(_),
                ..
            } => 2,
            TransactionFilter {
                older_than_ms: Some(_),
                ..
            } => 1,
            _ => 0,
        };
        self.require_version::<ListTransactionsRequest>("ListTransactions", needed)
            .await?;
        let build = |version| {
            let mut request = ListTransactionsRequest::default()
                .with_state_filters(filter.states.iter().map(|s| text(s)).collect())
                .with_producer_id_filters(
                    filter
                        .producer_ids
                        .iter()
                        .map(|id| ProducerId(*id))
                        .collect(),
                );
            if version >= 1 {
                request = request.with_duration_filter(filter.older_than_ms.unwrap_or(-1));
            }
            if version >= 2 {
                request =
                    request.with_transactional_id_pattern(filter.id_pattern.as_deref().map(text));
            }
            request
        };
        let answers = self
            .ask_all("ListTransactions", &build, |a| a.error_code)
            .await?;
        let mut listed = BTreeSet::new();
        for answer in answers {
            listed.extend(
                answer
                    .transaction_states
                    .into_iter()
                    .map(|t| TransactionListing {
                        transactional_id: t.transactional_id.to_string(),
                        producer_id: t.producer_id.0,
                        state: t.transaction_state.to_string(),
                    }),
            );
        }
        Ok(listed.into_iter().collect())
    }

    /// A filter that a broker would ignore is refused.
    async fn require_version<R: kafka_protocol::protocol::Request>(
        &self,
        what: &str,
        needed: i16,
    ) -> Result<()> {
        let broker = self.client.any().await?;
        let spoken = broker.version_of::<R>()?;
        if spoken >= needed {
            return Ok(());
        }
        Err(Error::UnsupportedVersion {
            address: broker.address().to_owned(),
            what: format!("this filter of {what}"),
            ours: needed.to_string(),
            theirs: format!("up to {spoken}"),
        })
    }

    /// `TransactionalIdNotFound` where the coordinator does not know the id.
    pub async fn describe_transaction(&self, id: &str) -> Result<TransactionDescription> {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(text(id))]);
        let find = || {
            self.client
                .find_coordinator(CoordinatorKind::Transaction, id)
        };
        let coordinator = self.client.retry("FindCoordinator", find).await?.id;
        let read = |answer| read_description(id, coordinator, answer);
        let key = (CoordinatorKind::Transaction, id);
        self.client
            .ask_coordinator(
                key,
                "DescribeTransactions",
                i16::MAX,
                |_| request.clone(),
                read,
            )
            .await
    }

    /// Fences the producer of a transactional id: its open transaction is aborted, its epoch bumped. That is what a new
    /// producer with this id does when it starts; `timeout_ms` is the id's transaction timeout from now on.
    pub async fn fence_producer(&self, id: &str, timeout_ms: i32) -> Result<()> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let what = format!("transactional id {id}");
        let read = |answer: InitProducerIdResponse| {
            // The abort of the open transaction is still being written.
            let waits = ErrorCode::try_from_code(answer.error_code)
                == Some(ErrorCode::ConcurrentTransactions);
            if waits {
                return Err(Error::Refused {
                    what: what.clone(),
                    code: ErrorCode::CoordinatorLoadInProgress,
                    message: Some("its transaction is being aborted".into()),
                });
            }
            Error::check(what.clone(), answer.error_code, None)
        };
        let key = (CoordinatorKind::Transaction, id);
        self.client
            .ask_coordinator(key, "InitProducerId", 5, |_| request.clone(), read)
            .await
    }

    /// Writes an abort marker for `producer` into one partition, without any coordinator: for a transaction that none
    /// knows any more.
    pub async fn abort_in_partition(
        &self,
        topic: &str,
        partition: i32,
        producer: &ProducerState,
    ) -> Result<()> {
        let epoch = i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX);
        let wanted = WritableTxnMarkerTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(producer.producer_id)
            .with_producer_epoch(epoch)
            .with_transaction_result(false)
            // -1: no marker was written yet, so that any coordinator's epoch is new.
            .with_coordinator_epoch(producer.coordinator_epoch.max(0))
            .with_topics(vec![wanted]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let what = format!(
            "the transaction of producer {} in {topic} partition {partition}",
            producer.producer_id.0
        );
        let once = || async {
            let (leader, _) = self.client.leader(topic, partition).await?;
            let answer = self.client.call(&leader, |_| request.clone()).await?;
            let topics = answer.markers.iter().flat_map(|m| &m.topics);
            for result in topics.flat_map(|t| &t.partitions) {
                Error::check(&what, result.error_code, None)?;
            }
            Ok(())
        };
        self.client.retry(&what, once).await
    }
}

fn read_description(
    id: &str,
    coordinator: i32,
    answer: DescribeTransactionsResponse,
) -> Result<TransactionDescription> {
    let what = format!("transactional id {id}");
    let Some(found) = answer.transaction_states.into_iter().next() else {
        return Err(Error::Refused {
            what,
            code: ErrorCode::TransactionalIdNotFound,
            message: None,
        });
    };
    Error::check(what, found.error_code, None)?;
    Ok(TransactionDescription {
        transactional_id: found.transactional_id.to_string(),
        coordinator,
        producer_id: found.producer_id.0,
        producer_epoch: found.producer_epoch,
        state: found.transaction_state.to_string(),
        timeout_ms: found.transaction_timeout_ms,
        start_ms: Some(found.transaction_start_time_ms).filter(|ms| *ms >= 0),
        partitions: found
            .topics
            .iter()
            .flat_map(|t| places(&t.topic, &t.partitions))
            .collect(),
    })
}
