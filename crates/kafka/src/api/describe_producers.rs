//! DescribeProducers (KIP-664): who has written to a partition.
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerId,
    describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
};

use sh_node::ActiveProducer;

use super::names;
use crate::{door::Ctx, errors};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let choice = names::by_name(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let answer = PartitionResponse::default().with_partition_index(index);
            let producers = ctx
                .node()
                .describe_producers(&ctx.caller, &choice, index)
                .await;
            partitions.push(match producers {
                Ok(all) => answer.with_active_producers(all.into_iter().map(active).collect()),
                Err(failure) => answer
                    .with_error_code(errors::code(&failure))
                    .with_error_message(names::message(failure.message)),
            });
        }
        let response = TopicResponse::default();
        topics.push(response.with_name(topic.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn active(producer: ActiveProducer) -> ProducerState {
    let ActiveProducer {
        id,
        state,
        transaction_start,
    } = producer;
    let last = state.batches.back();
    ProducerState::default()
        .with_producer_id(ProducerId(id.0))
        .with_producer_epoch(state.epoch.into())
        .with_last_sequence(last.map_or(-1, |b| b.last_sequence))
        .with_last_timestamp(last.map_or(state.updated_ms, |b| b.max_timestamp))
        .with_coordinator_epoch(state.coordinator_epoch)
        .with_current_txn_start_offset(transaction_start.unwrap_or(-1))
}
