//! ListOffsets (KIP-79, KIP-734): earliest, latest, by time, the greatest time.
use std::collections::HashSet;

use futures::{StreamExt, stream};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
};
use sh_base::{ErrorCode, Failure};
use sh_node::{FoundOffset, OffsetSpec, PartitionChoice, TopicChoice};

use super::names;
use crate::{door::Ctx, errors};

/// Partitions that are looked up at once.
const LOOK_UPS_AT_ONCE: usize = 16;
const READ_COMMITTED: i8 = 1;

/// Timestamps below zero are questions of their own, each since some version.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub async fn handle(ctx: &Ctx, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let repeated = repeated(&request);
    let mut refused = HashSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for ListOffsetsTopic {
        name,
        mut partitions,
        ..
    } in request.topics
    {
        let choice = names::by_name(&name);
        let key = |p: &ListOffsetsPartition| (choice.clone(), p.partition_index);
        partitions.retain(|p| !repeated.contains(&key(p)) || refused.insert(key(p)));
        if partitions.is_empty() {
            continue;
        }
        let look_ups: Vec<_> = partitions
            .iter()
            .map(|p| {
                look_up(
                    ctx,
                    version,
                    &choice,
                    p,
                    committed,
                    repeated.contains(&key(p)),
                )
            })
            .collect();
        let look_ups = stream::iter(look_ups).buffered(LOOK_UPS_AT_ONCE);
        let found = look_ups.collect().await;
        let response = ListOffsetsTopicResponse::default();
        topics.push(response.with_name(name).with_partitions(found));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Partitions that are named more than once: they get one answer, an error.
fn repeated(request: &ListOffsetsRequest) -> HashSet<(TopicChoice, i32)> {
    let mut seen = HashSet::new();
    let named = request.topics.iter().flat_map(|topic| {
        let choice = names::by_name(&topic.name);
        topic
            .partitions
            .iter()
            .map(move |p| (choice.clone(), p.partition_index))
    });
    named
        .filter(|partition| !seen.insert(partition.clone()))
        .collect()
}

async fn look_up(
    ctx: &Ctx,
    version: i16,
    topic: &TopicChoice,
    partition: &ListOffsetsPartition,
    committed: bool,
    repeated: bool,
) -> ListOffsetsPartitionResponse {
    let choice = PartitionChoice {
        topic: topic.clone(),
        index: partition.partition_index,
        leader_epoch: Some(partition.current_leader_epoch).filter(|epoch| *epoch >= 0),
    };
    let found = match spec(partition.timestamp, version) {
        _ if repeated => Err(Failure::new(
            ErrorCode::InvalidRequest,
            "a partition is named twice",
        )),
        Err(failure) => Err(failure),
        // Nothing is tiered: all of the log is in the bucket, and all of it is local.
        Ok(None) => Ok(FoundOffset::NONE),
        Ok(Some(spec)) => {
            ctx.node()
                .list_offset(&ctx.caller, &choice, spec, committed)
                .await
        }
    };
    let (code, found) = match found {
        Ok(found) => (errors::NONE, found),
        Err(failure) => (errors::code(&failure), FoundOffset::NONE),
    };
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(code)
        .with_timestamp(found.timestamp)
        .with_offset(found.offset);
    if version >= 4 {
        answer.with_leader_epoch(found.leader_epoch)
    } else {
        answer
    }
}

/// What a timestamp asks for; `None` for the end of a tier that we do not have.
fn spec(timestamp: i64, version: i16) -> Result<Option<OffsetSpec>, Failure> {
    match timestamp {
        0.. => Ok(Some(OffsetSpec::At(timestamp))),
        LATEST => Ok(Some(OffsetSpec::Latest)),
        EARLIEST => Ok(Some(OffsetSpec::Earliest)),
        MAX_TIMESTAMP if version >= 7 => Ok(Some(OffsetSpec::MaxTimestamp)),
        EARLIEST_LOCAL if version >= 8 => Ok(Some(OffsetSpec::Earliest)),
        LATEST_TIERED if version >= 9 => Ok(None),
        _ => {
            let text = format!("timestamp {timestamp} means nothing at version {version}");
            Err(Failure::new(ErrorCode::UnsupportedVersion, text))
        }
    }
}
