//! DescribeLogDirs (KIP-113, KIP-827): the bucket is shown as the one log directory.
use kafka_protocol::messages::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
    describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    },
};
use sh_base::Failure;
use sh_node::log_dirs::{LogDir, TopicSize};

use super::shape::{text, topic_name};
use crate::{door::Ctx, errors::code};

/// The first version whose answer can fail as a whole.
const FAILS_WHOLE: i16 = 3;
/// Kafka's "unknown": a bucket has no size.
const UNKNOWN_BYTES: i64 = -1;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let asked: Option<Vec<(String, Vec<i32>)>> = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|t| (t.topic.to_string(), t.partitions))
            .collect()
    });
    match ctx
        .node()
        .describe_log_dir(&ctx.caller, asked.as_deref())
        .await
    {
        Ok(dir) => DescribeLogDirsResponse::default().with_results(vec![result(dir)]),
        Err(e) => failed(version, &e),
    }
}

fn result(dir: LogDir) -> DescribeLogDirsResult {
    DescribeLogDirsResult::default()
        .with_log_dir(text(dir.name))
        .with_topics(dir.topics.into_iter().map(topic).collect())
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES)
}

fn topic(topic: TopicSize) -> DescribeLogDirsTopic {
    let partition = |(index, bytes): (i32, u64)| {
        DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX))
    };
    DescribeLogDirsTopic::default()
        .with_name(topic_name(topic.name.as_str()))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn failed(version: i16, e: &Failure) -> DescribeLogDirsResponse {
    let response = DescribeLogDirsResponse::default();
    match version {
        FAILS_WHOLE.. => response.with_error_code(code(e)),
        _ => response.with_results(vec![
            DescribeLogDirsResult::default().with_error_code(code(e)),
        ]),
    }
}
