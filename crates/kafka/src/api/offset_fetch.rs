//! OffsetFetch: the committed offsets of a group, or (version 8 on, KIP-709) of several.
use futures::{StreamExt, stream};
use kafka_protocol::{
    messages::{
        GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
        offset_fetch_request::OffsetFetchRequestGroup,
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};
use sh_coord::{GroupError, command::OffsetFetch};
use sh_node::{CommittedPartition, CommittedTopic};

use super::{
    groups::{GROUPS_AT_ONCE, client, optional},
    shape::{text, topic_name},
};
use crate::{door::Ctx, errors::group_code};

/// The first version with an error of the whole answer.
const GROUP_ERROR: i16 = 2;
/// The first version with leader epochs (KIP-320).
const LEADER_EPOCHS: i16 = 5;
/// The first version that asks for several groups.
const SEVERAL: i16 = 8;

/// One group of a request.
struct Asked {
    group: GroupId,
    fetch: OffsetFetch,
    /// `None`: all that have an offset.
    topics: Option<Vec<(String, Vec<i32>)>>,
}

type Outcome = Result<Vec<CommittedTopic>, GroupError>;

pub async fn handle(ctx: &Ctx, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if version < SEVERAL {
        let asked = only(request);
        let named = asked.topics.clone();
        let (_, outcome) = ask(ctx, asked, stable).await;
        return one(version, named, outcome);
    }
    let groups = stream::iter(request.groups.into_iter().map(of_several));
    let answers = groups
        .map(|asked| ask(ctx, asked, stable))
        .buffered(GROUPS_AT_ONCE);
    let groups: Vec<_> = answers.map(one_of_several).collect().await;
    OffsetFetchResponse::default().with_groups(groups)
}

fn only(request: OffsetFetchRequest) -> Asked {
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|t| named(&t.name, t.partition_indexes))
            .collect()
    });
    let fetch = OffsetFetch {
        member_id: None,
        member_epoch: -1,
    };
    Asked {
        group: request.group_id,
        fetch,
        topics,
    }
}

fn of_several(group: OffsetFetchRequestGroup) -> Asked {
    let topics = group.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|t| named(&t.name, t.partition_indexes))
            .collect()
    });
    let fetch = OffsetFetch {
        member_id: optional(group.member_id),
        member_epoch: group.member_epoch,
    };
    Asked {
        group: group.group_id,
        fetch,
        topics,
    }
}

fn named(name: &TopicName, partitions: Vec<i32>) -> (String, Vec<i32>) {
    (name.to_string(), partitions)
}

async fn ask(ctx: &Ctx, asked: Asked, stable: bool) -> (GroupId, Outcome) {
    let Asked {
        group,
        fetch,
        topics,
    } = asked;
    let offsets =
        ctx.node()
            .committed_offsets(&ctx.caller, &group, client(ctx), fetch, topics, stable);
    let outcome = offsets.await;
    (group, outcome)
}

/// The fields of one partition's answer.
struct Told {
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    code: i16,
}

fn told(committed: &CommittedPartition) -> Told {
    let nothing = |code| Told {
        offset: -1,
        leader_epoch: -1,
        metadata: text(""),
        code,
    };
    match &committed.committed {
        Ok(None) => nothing(0),
        Err(error) => nothing(group_code(*error)),
        Ok(Some(row)) => Told {
            offset: row.offset,
            leader_epoch: row.leader_epoch,
            metadata: text(&row.metadata),
            code: 0,
        },
    }
}

fn one(
    version: i16,
    named: Option<Vec<(String, Vec<i32>)>>,
    outcome: Outcome,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    let topics = |topics: Vec<CommittedTopic>| {
        let topics = topics.into_iter().map(|topic| one_topic(version, topic));
        topics.collect::<Vec<_>>()
    };
    match outcome {
        Ok(found) => response.with_topics(topics(found)),
        Err(error) if version < GROUP_ERROR => {
            response.with_topics(topics(everywhere(named.unwrap_or_default(), error)))
        }
        Err(error) => response.with_error_code(group_code(error)),
    }
}

/// The group's error at each partition, for clients that look for it nowhere else.
fn everywhere(named: Vec<(String, Vec<i32>)>, error: GroupError) -> Vec<CommittedTopic> {
    let partition = |partition| CommittedPartition {
        partition,
        committed: Err(error),
    };
    let topic = |(topic, partitions): (String, Vec<i32>)| CommittedTopic {
        topic,
        partitions: partitions.into_iter().map(partition).collect(),
    };
    named.into_iter().map(topic).collect()
}

fn one_topic(version: i16, topic: CommittedTopic) -> OffsetFetchResponseTopic {
    let partition = |committed: &CommittedPartition| {
        let told = told(committed);
        OffsetFetchResponsePartition::default()
            .with_partition_index(committed.partition)
            .with_committed_offset(told.offset)
            .with_committed_leader_epoch(match version {
                ..LEADER_EPOCHS => -1,
                _ => told.leader_epoch,
            })
            .with_metadata(Some(told.metadata))
            .with_error_code(told.code)
    };
    OffsetFetchResponseTopic::default()
        .with_partitions(topic.partitions.iter().map(partition).collect())
        .with_name(topic_name(topic.topic))
}

fn one_of_several((group, outcome): (GroupId, Outcome)) -> OffsetFetchResponseGroup {
    let answer = OffsetFetchResponseGroup::default().with_group_id(group);
    match outcome {
        Ok(topics) => answer.with_topics(topics.into_iter().map(topic_of_several).collect()),
        Err(error) => answer.with_error_code(group_code(error)),
    }
}

fn topic_of_several(topic: CommittedTopic) -> OffsetFetchResponseTopics {
    let partition = |committed: &CommittedPartition| {
        let told = told(committed);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(committed.partition)
            .with_committed_offset(told.offset)
            .with_committed_leader_epoch(told.leader_epoch)
            .with_metadata(Some(told.metadata))
            .with_error_code(told.code)
    };
    OffsetFetchResponseTopics::default()
        .with_partitions(topic.partitions.iter().map(partition).collect())
        .with_name(topic_name(topic.topic))
}
