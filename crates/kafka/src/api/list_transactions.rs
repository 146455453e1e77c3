//! ListTransactions (KIP-664, KIP-994, KIP-1152): by state, producer id, duration and a pattern.
use kafka_protocol::{
    messages::{
        ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
        list_transactions_response::TransactionState,
    },
    protocol::StrBytes,
};
use sh_node::{ListedTransaction, TransactionFilter, TransactionState as State};

use crate::{door::Ctx, errors};

/// States that Kafka has and we are never in: known, and found of nothing.
const NEVER: [&str; 4] = ["PrepareCommit", "PrepareAbort", "PrepareEpochFence", "Dead"];

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let mut response = ListTransactionsResponse::default();
    let (mut states, mut none) = (Vec::new(), false);
    for name in request.state_filters {
        match State::ALL.into_iter().find(|s| s.name() == name.as_str()) {
            Some(state) => states.push(state),
            None if NEVER.contains(&name.as_str()) => none = true,
            None => response.unknown_state_filters.push(name),
        }
    }
    if states.is_empty() && (none || !response.unknown_state_filters.is_empty()) {
        return response;
    }
    let filter = TransactionFilter {
        states,
        producers: request
            .producer_id_filters
            .iter()
            .map(|id| sh_base::ProducerId(id.0))
            .collect(),
        longer_than_ms: Some(request.duration_filter).filter(|ms| *ms >= 0),
        pattern: request
            .transactional_id_pattern
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| pattern.to_string()),
    };
    match ctx.node().list_transactions(&ctx.caller, &filter).await {
        Ok(listed) => response.with_transaction_states(listed.into_iter().map(told).collect()),
        Err(failure) => response.with_error_code(errors::code(&failure)),
    }
}

fn told(listed: ListedTransaction) -> TransactionState {
    TransactionState::default()
        .with_transactional_id(TransactionalId(StrBytes::from_string(listed.id)))
        .with_producer_id(ProducerId(listed.producer.0))
        .with_transaction_state(StrBytes::from_static_str(listed.state.name()))
}
