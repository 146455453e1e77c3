//! What the APIs of consumer groups share: asking a group, and its words on the wire.
use bytes::Bytes;
use futures::{StreamExt, stream};
use kafka_protocol::{
    messages::{GroupId, TopicName},
    protocol::StrBytes,
};
use sh_base::PartitionIndex;
use sh_coord::{
    Client, GroupError,
    reply::{OffsetsReply, PartitionCodes},
};
use sh_node::Resource;

use super::shape::{NO_OPERATIONS, operation_bits, text, topic_name};
use crate::{door::Ctx, errors};

/// Groups of one request that are asked at the same time.
pub const GROUPS_AT_ONCE: usize = 16;

/// Who asks, as a group remembers it: the address as Kafka prints it.
pub fn client(ctx: &Ctx) -> Client {
    Client {
        id: ctx.caller.client_id.clone().unwrap_or_default(),
        host: format!("/{}", ctx.caller.host),
    }
}

/// Asks a group, and takes the reply to that kind of question: `Ok` of what the reply holds. `Err` would be a bug of the
/// group's.
macro_rules! ask {
    ($ctx:expr, $group:expr, $command:expr => $reply:ident) => {{
        let client = $crate::api::groups::client($ctx);
        let reply = $ctx.node().group(&$ctx.caller, $group, client, $command);
        match reply.await {
            sh_coord::Reply::$reply(reply) => Ok(reply),
            _ => Err(sh_coord::GroupError::UnknownServerError),
        }
    }};
}
pub(crate) use ask;

/// Asks about groups one by one, a few at the same time; the answers in the order of the groups.
pub async fn each<D, F: Future<Output = D>>(
    groups: Vec<GroupId>,
    about: impl Fn(GroupId) -> F,
) -> Vec<D> {
    let asked = stream::iter(groups).map(about);
    asked.buffered(GROUPS_AT_ONCE).collect().await
}

/// What the caller may do with a group that exists, if the request asks for that.
pub fn operations_on(ctx: &Ctx, group: &GroupId, wanted: bool) -> i32 {
    match wanted {
        true => operation_bits(ctx.node(), &ctx.caller, Resource::Group(group)),
        false => NO_OPERATIONS,
    }
}

/// The code of an outcome.
pub fn code(error: Option<GroupError>) -> i16 {
    error.map_or(errors::NONE, errors::group_code)
}

pub fn optional(name: Option<StrBytes>) -> Option<String> {
    name.map(|name| name.to_string())
}

pub fn optional_text(name: Option<String>) -> Option<StrBytes> {
    name.map(text)
}

pub fn group_id(id: impl AsRef<str>) -> GroupId {
    GroupId(text(id))
}

/// Bytes that only members understand; what the wire holds in a frame must not keep the frame in memory.
pub fn owned(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

/// The codes of a reply about offsets, topic by topic.
pub fn codes_by_topic<P>(
    reply: OffsetsReply,
    partition: impl Fn(PartitionIndex, i16) -> P,
) -> impl Iterator<Item = (TopicName, Vec<P>)> {
    let topic = move |(name, partitions): PartitionCodes| {
        let partitions = partitions.into_iter();
        let partitions = partitions.map(|(index, error)| partition(index, code(error)));
        (topic_name(name), partitions.collect())
    };
    reply.topics.into_iter().map(topic)
}
