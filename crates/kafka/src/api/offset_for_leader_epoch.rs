//! OffsetForLeaderEpoch (KIP-101, KIP-320): how a consumer finds out whether the log it has read is still the log.
use kafka_protocol::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    offset_for_leader_epoch_request::OffsetForLeaderPartition,
    offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
};
use sh_node::{PartitionChoice, TopicChoice};

use super::names;
use crate::{door::Ctx, errors};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let choice = names::by_name(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            partitions.push(end(ctx, &choice, partition).await);
        }
        let result = OffsetForLeaderTopicResult::default();
        topics.push(result.with_topic(topic.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn end(
    ctx: &Ctx,
    topic: &TopicChoice,
    partition: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let choice = PartitionChoice {
        topic: topic.clone(),
        index: partition.partition,
        leader_epoch: Some(partition.current_leader_epoch).filter(|epoch| *epoch >= 0),
    };
    let asked = partition.leader_epoch;
    let answer = EpochEndOffset::default().with_partition(partition.partition);
    match ctx
        .node()
        .offset_for_leader_epoch(&ctx.caller, &choice, asked)
        .await
    {
        Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
        Err(failure) => answer.with_error_code(errors::code(&failure)),
    }
}
