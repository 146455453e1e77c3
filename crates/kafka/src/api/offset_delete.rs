//! OffsetDelete (KIP-496).
use kafka_protocol::messages::{
    OffsetDeleteRequest, OffsetDeleteResponse,
    offset_delete_request::OffsetDeleteRequestTopic,
    offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
};
use sh_coord::{Command, command::OffsetDelete};

use super::groups::{ask, code, codes_by_topic};
use crate::{door::Ctx, errors::group_code};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let group = request.group_id.to_string();
    let topics = request.topics.into_iter().map(topic).collect();
    let command = Command::OffsetDelete(OffsetDelete { topics });
    let response = OffsetDeleteResponse::default();
    match ask!(ctx, &group, command => OffsetDelete) {
        Ok(reply) => {
            let error = code(reply.error);
            let topics = codes_by_topic(reply, partition).map(|(name, partitions)| {
                OffsetDeleteResponseTopic::default()
                    .with_name(name)
                    .with_partitions(partitions)
            });
            response
                .with_error_code(error)
                .with_topics(topics.collect())
        }
        Err(error) => response.with_error_code(group_code(error)),
    }
}

fn topic(topic: OffsetDeleteRequestTopic) -> (String, Vec<i32>) {
    let partitions = topic.partitions.iter().map(|p| p.partition_index);
    (topic.name.to_string(), partitions.collect())
}

fn partition(index: i32, code: i16) -> OffsetDeleteResponsePartition {
    OffsetDeleteResponsePartition::default()
        .with_partition_index(index)
        .with_error_code(code)
}
