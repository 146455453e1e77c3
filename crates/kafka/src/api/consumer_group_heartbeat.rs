//! ConsumerGroupHeartbeat: the one request by which members of KIP-848 groups join, stay, and leave.
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    consumer_group_heartbeat_request,
    consumer_group_heartbeat_response::{Assignment, TopicPartitions},
};
use sh_base::TopicId;
use sh_coord::{
    Command, GroupError, Refusal,
    command::{self, ConsumerGroupHeartbeat},
    reply::HeartbeatReply,
};

use super::{
    groups::{ask, optional},
    shape::text,
};
use crate::{door::Ctx, errors::group_code};

/// The first version in which the member chooses its id.
const MEMBER_CHOOSES_ID: i16 = 1;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !ctx.node().has_consumer_groups() {
        return ConsumerGroupHeartbeatResponse::default()
            .with_error_code(group_code(GroupError::UnsupportedVersion))
            .with_error_message(None)
            .with_assignment(None);
    }
    let group = request.group_id.to_string();
    let command = Command::ConsumerGroupHeartbeat(beat(version, request));
    let reply = ask!(ctx, &group, command => ConsumerGroupHeartbeat);
    let refused = |error: GroupError| Err(Refusal::from(error));
    response(reply.unwrap_or_else(refused))
}

fn beat(version: i16, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeat {
    let names = request.subscribed_topic_names;
    let names = names.map(|names| names.iter().map(|name| name.to_string()).collect());
    let owned = request.topic_partitions;
    ConsumerGroupHeartbeat {
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        instance_id: optional(request.instance_id),
        rack_id: optional(request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        subscribed_topic_names: names,
        subscribed_topic_regex: optional(request.subscribed_topic_regex),
        server_assignor: optional(request.server_assignor),
        topic_partitions: owned.map(|owned| owned.into_iter().map(partitions_of).collect()),
        member_chooses_id: version >= MEMBER_CHOOSES_ID,
    }
}

fn partitions_of(topic: consumer_group_heartbeat_request::TopicPartitions) -> (TopicId, Vec<i32>) {
    (TopicId(topic.topic_id), topic.partitions)
}

fn response(reply: Result<HeartbeatReply, Refusal>) -> ConsumerGroupHeartbeatResponse {
    let response = ConsumerGroupHeartbeatResponse::default()
        .with_error_message(None)
        .with_assignment(None);
    match reply {
        Ok(reply) => response
            .with_member_id(Some(text(reply.member_id)))
            .with_member_epoch(reply.member_epoch)
            .with_heartbeat_interval_ms(reply.heartbeat_interval_ms)
            .with_assignment(reply.assignment.map(assignment)),
        Err(refusal) => response
            .with_error_code(group_code(refusal.code))
            .with_error_message(Some(text(refusal.message))),
    }
}

fn assignment(assigned: command::TopicPartitions) -> Assignment {
    let topic = |(id, partitions): (TopicId, Vec<i32>)| {
        TopicPartitions::default()
            .with_topic_id(id.0)
            .with_partitions(partitions)
    };
    Assignment::default().with_topic_partitions(assigned.into_iter().map(topic).collect())
}
