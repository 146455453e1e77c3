//! DescribeTransactions (KIP-664).
use kafka_protocol::{
    messages::{
        DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId, TopicName,
        TransactionalId,
        describe_transactions_response::{TopicData, TransactionState},
    },
    protocol::StrBytes,
};
use sh_node::DescribedTransaction;

use crate::{door::Ctx, errors};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let described = ctx.node().describe_transaction(&ctx.caller, &id).await;
        states.push(match described {
            Ok(described) => state(id, described),
            Err(failure) => TransactionState::default()
                .with_transactional_id(id)
                .with_error_code(errors::code(&failure)),
        });
    }
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

fn state(id: TransactionalId, described: DescribedTransaction) -> TransactionState {
    let topics = described.partitions.into_iter().map(|(name, partitions)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions)
    });
    TransactionState::default()
        .with_transactional_id(id)
        .with_transaction_state(StrBytes::from_static_str(described.state.name()))
        .with_transaction_timeout_ms(described.timeout_ms)
        .with_transaction_start_time_ms(described.started_ms)
        .with_producer_id(ProducerId(described.producer.0))
        .with_producer_epoch(described.epoch)
        .with_topics(topics.collect())
}
