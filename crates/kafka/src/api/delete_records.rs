//! DeleteRecords (KIP-107).
use std::collections::BTreeMap;

use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse,
    delete_records_request::DeleteRecordsTopic,
    delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
};

use crate::{door::Ctx, errors::code};

/// There is no low watermark to tell.
const NO_OFFSET: i64 = -1;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request
        .topics
        .into_iter()
        .filter(|t| !t.partitions.is_empty())
    {
        topics.push(delete(ctx, topic).await);
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Of a partition that is named twice, the last counts, as with Kafka.
async fn delete(ctx: &Ctx, topic: DeleteRecordsTopic) -> DeleteRecordsTopicResult {
    let offsets: BTreeMap<i32, i64> = topic
        .partitions
        .iter()
        .map(|p| (p.partition_index, p.offset))
        .collect();
    let mut partitions = Vec::with_capacity(offsets.len());
    for (partition, before) in offsets {
        let result = DeleteRecordsPartitionResult::default().with_partition_index(partition);
        let deleted = ctx
            .node()
            .delete_records(&ctx.caller, &topic.name, partition, before)
            .await;
        partitions.push(match deleted {
            Ok(log_start) => result.with_low_watermark(log_start),
            Err(e) => result
                .with_error_code(code(&e))
                .with_low_watermark(NO_OFFSET),
        });
    }
    DeleteRecordsTopicResult::default()
        .with_name(topic.name)
        .with_partitions(partitions)
}
