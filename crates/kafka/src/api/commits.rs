//! What OffsetCommit and TxnOffsetCommit share: their topics, which differ in type only, and how a group is asked.
use sh_coord::{
    Command, GroupError,
    command::{CommitTopic, OffsetCommit},
    reply::OffsetsReply,
};

use super::groups::ask;
use crate::door::Ctx;

/// The topics of a commit's request.
macro_rules! commit_topics {
    ($topics:expr) => {{
        let topics = $topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|p| {
                let metadata = $crate::api::groups::optional(p.committed_metadata);
                sh_coord::command::CommitPartition {
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: metadata.unwrap_or_default(),
                }
            });
            sh_coord::command::CommitTopic {
                topic: topic.name.to_string(),
                partitions: partitions.collect(),
            }
        });
        topics.collect()
    }};
}
pub(super) use commit_topics;

/// The response to a commit: a code for each partition.
macro_rules! commit_response {
    ($reply:expr => $response:ident, $topic:ident, $partition:ident) => {{
        let partition = |index, code| {
            $partition::default()
                .with_partition_index(index)
                .with_error_code(code)
        };
        let topics = $crate::api::groups::codes_by_topic($reply, partition);
        let topic = |(name, partitions)| {
            $topic::default()
                .with_name(name)
                .with_partitions(partitions)
        };
        $response::default().with_topics(topics.map(topic).collect())
    }};
}
pub(super) use commit_response;

type Named = Vec<(String, Vec<i32>)>;

/// Commits; every partition that was named has its code, whatever happens.
pub async fn ask_commit(ctx: &Ctx, group: &str, commit: OffsetCommit) -> OffsetsReply {
    let named = named(&commit);
    let reply = ask!(ctx, group, Command::OffsetCommit(commit) => OffsetCommit);
    reply.unwrap_or_else(|error| refused(named, error))
}

fn named(commit: &OffsetCommit) -> Named {
    let partitions = |topic: &CommitTopic| topic.partitions.iter().map(|p| p.partition).collect();
    let topics = commit.topics.iter();
    topics.map(|t| (t.topic.clone(), partitions(t))).collect()
}

fn refused(named: Named, error: GroupError) -> OffsetsReply {
    let all = |partitions: Vec<i32>| partitions.into_iter().map(|p| (p, Some(error))).collect();
    OffsetsReply {
        error: Some(error),
        topics: named.into_iter().map(|(t, p)| (t, all(p))).collect(),
    }
}
