//! Topics in requests of groups: clients name them, rows are under their ids.
use std::{collections::HashMap, sync::Arc};

use sh_base::{PartitionIndex, TopicId};
use sh_coord::{
    Command, GroupError, Reply,
    reply::{OffsetsReply, PartitionCodes},
};

use crate::{Caller, Node, Topic};

/// The ids of the topics that a request names.
pub(super) type Names = Arc<HashMap<String, TopicId>>;

/// The topics that exist, of those that a request names.
type Known = HashMap<String, Arc<Topic>>;

/// A request whose topics all exist, and what the others are answered.
pub(super) struct Named {
    pub command: Command,
    /// False: nothing is left to ask the group. As in Kafka, such a request does not reach it.
    pub asks: bool,
    pub names: Names,
    pub unknown: Vec<PartitionCodes>,
}

impl Node {
    /// Finds the topics of a commit or of a deletion of offsets.
    pub(super) async fn name_topics(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<Named, Box<Reply>> {
        let mut known = Known::new();
        for name in topic_names(&command).unwrap_or_default() {
            match self.topic_of_name(caller, name).await {
                Ok(topic) => known.extend(topic.map(|topic| (name.to_owned(), topic))),
                Err(code) => return Err(Box::new(Reply::refused(&command, code))),
            }
        }
        let (command, unknown) = split(command, &known);
        let asks = !matches!(topic_names(&command), Some(names) if names.is_empty());
        let names = known.into_iter().map(|(name, topic)| (name, topic.id));
        Ok(Named {
            command,
            asks,
            names: Arc::new(names.collect()),
            unknown,
        })
    }
}

/// The topics of a request that names any.
fn topic_names(command: &Command) -> Option<Vec<&str>> {
    match command {
        Command::OffsetCommit(commit) => Some(commit.topics.iter().map(|t| &*t.topic).collect()),
        Command::OffsetDelete(delete) => Some(delete.topics.iter().map(|(t, _)| &**t).collect()),
        _ => None,
    }
}

/// Takes out what names topics and partitions that do not exist.
fn split(mut command: Command, known: &Known) -> (Command, Vec<PartitionCodes>) {
    let mut unknown = Vec::new();
    let mut refuse = |topic: &str, refused: Vec<PartitionIndex>| {
        let code = Some(GroupError::UnknownTopicOrPartition);
        if !refused.is_empty() {
            let codes = refused.into_iter().map(|p| (p, code));
            unknown.push((topic.to_owned(), codes.collect()));
        }
    };
    let exists = |topic: &str, partition: PartitionIndex| {
        let count = known.get(topic).map_or(0, |topic| topic.partitions);
        (0..count).contains(&partition)
    };
    match &mut command {
        Command::OffsetCommit(commit) => commit.topics.retain_mut(|t| {
            let lost = t
                .partitions
                .extract_if(.., |p| !exists(&t.topic, p.partition));
            refuse(&t.topic, lost.map(|p| p.partition).collect());
            !t.partitions.is_empty()
        }),
        Command::OffsetDelete(delete) => delete.topics.retain_mut(|(topic, partitions)| {
            let lost = partitions.extract_if(.., |p| !exists(topic, *p));
            refuse(topic, lost.collect());
            !partitions.is_empty()
        }),
        _ => {}
    }
    (command, unknown)
}

/// The answer to a request that has nothing left to ask.
pub(super) fn nothing(command: &Command) -> Reply {
    match command {
        Command::OffsetDelete(_) => Reply::OffsetDelete(OffsetsReply::default()),
        _ => Reply::OffsetCommit(OffsetsReply::default()),
    }
}

/// Puts the answer of the group and what it was not asked about together, topic by topic.
pub(super) fn join(mut reply: Reply, unknown: Vec<PartitionCodes>) -> Reply {
    if let Reply::OffsetCommit(reply) | Reply::OffsetDelete(reply) = &mut reply {
        for (topic, codes) in unknown {
            match reply.topics.iter_mut().find(|(name, _)| *name == topic) {
                Some((_, told)) => told.extend(codes),
                None => reply.topics.push((topic, codes)),
            }
        }
    }
    reply
}
