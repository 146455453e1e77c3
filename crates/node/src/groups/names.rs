//! Topics in requests of groups: clients name them, rows are under their ids.
use std::{collections::HashMap, sync::Arc};

use sh_base::{PartitionIndex, TopicId};
use sh_coord::{
    Command, GroupError, Reply,
    reply::{OffsetsReply, PartitionCodes},
};

use crate::{Caller, Node};

/// The ids of the topics that a request names.
pub(super) type Names = Arc<HashMap<String, TopicId>>;

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
        let mut names = HashMap::new();
        for name in topic_names(&command).unwrap_or_default() {
            match self.topic_of_name(caller, name).await {
                Ok(topic) => names.extend(topic.map(|topic| (name.to_owned(), topic.id))),
                Err(code) => return Err(Box::new(Reply::refused(&command, code))),
            }
        }
        let (command, unknown) = split(command, &names);
        let asks = !matches!(topic_names(&command), Some(names) if names.is_empty());
        Ok(Named {
            command,
            asks,
            names: Arc::new(names),
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

/// Takes out what names topics that do not exist.
fn split(mut command: Command, names: &HashMap<String, TopicId>) -> (Command, Vec<PartitionCodes>) {
    let mut unknown = Vec::new();
    let mut refuse = |topic: &str, partitions: &mut dyn Iterator<Item = PartitionIndex>| {
        let known = names.contains_key(topic);
        if !known {
            let refused = Some(GroupError::UnknownTopicOrPartition);
            unknown.push((topic.to_owned(), partitions.map(|p| (p, refused)).collect()));
        }
        known
    };
    match &mut command {
        Command::OffsetCommit(commit) => commit.topics.retain(|t| {
            let mut partitions = t.partitions.iter().map(|p| p.partition);
            refuse(&t.topic, &mut partitions)
        }),
        Command::OffsetDelete(delete) => delete
            .topics
            .retain(|(topic, partitions)| refuse(topic, &mut partitions.iter().copied())),
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

/// Puts the answer of the group and what it was not asked about together.
pub(super) fn join(mut reply: Reply, mut unknown: Vec<PartitionCodes>) -> Reply {
    if let Reply::OffsetCommit(reply) | Reply::OffsetDelete(reply) = &mut reply {
        unknown.append(&mut reply.topics);
        reply.topics = unknown;
    }
    reply
}
