//! ConsumerGroupDescribe: groups of KIP-848, with what their members have and what they shall have.
use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
        consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions},
    },
    protocol::StrBytes,
};
use sh_coord::{
    Command, GroupError, Refusal,
    reply::{ConsumerDescription, ConsumerMemberDescription, DescribedTopic},
};

use super::{
    groups::{ask, each, operations_on, optional_text},
    shape::{text, topic_name},
};
use crate::{door::Ctx, errors::group_code};

/// The first version that tells members of the two protocols apart.
const MEMBER_TYPES: i16 = 1;
const UNKNOWN_TYPE: i8 = -1;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let operations = request.include_authorized_operations;
    let about = |group| describe(ctx, version, operations, group);
    ConsumerGroupDescribeResponse::default().with_groups(each(request.group_ids, about).await)
}

async fn describe(ctx: &Ctx, version: i16, operations: bool, group: GroupId) -> DescribedGroup {
    let answer = DescribedGroup::default().with_error_message(None);
    if !ctx.node().has_consumer_groups() {
        let off = group_code(GroupError::UnsupportedVersion);
        return answer.with_error_code(off).with_group_id(group);
    }
    let reply = ask!(ctx, &group, Command::ConsumerGroupDescribe => ConsumerGroupDescribe);
    let described = match reply.unwrap_or_else(|error| Err(Refusal::from(error))) {
        Ok(description) => fill(version, answer, description),
        Err(refusal) => answer
            .with_error_code(group_code(refusal.code))
            .with_error_message(why(refusal)),
    };
    let wanted = operations && described.error_code == 0;
    let bits = operations_on(ctx, &group, wanted);
    described
        .with_authorized_operations(bits)
        .with_group_id(group)
}

/// Kafka has no sentence for a group without a name.
fn why(refusal: Refusal) -> Option<StrBytes> {
    (refusal.code != GroupError::InvalidGroupId).then(|| text(refusal.message))
}

fn fill(version: i16, answer: DescribedGroup, group: ConsumerDescription) -> DescribedGroup {
    let members = group.members.into_iter().map(|m| member(version, m));
    answer
        .with_group_state(text(group.state.name()))
        .with_group_epoch(group.group_epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(text(group.assignor))
        .with_members(members.collect())
}

fn member(version: i16, member: ConsumerMemberDescription) -> Member {
    let names = member.subscribed_topic_names.iter().map(topic_name);
    Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(optional_text(member.instance_id))
        .with_rack_id(optional_text(member.rack_id))
        .with_member_epoch(member.member_epoch)
        .with_client_id(text(member.client.id))
        .with_client_host(text(member.client.host))
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(Some(text(member.subscribed_topic_regex)))
        .with_assignment(assignment(member.assignment))
        .with_target_assignment(assignment(member.target_assignment))
        .with_member_type(match version {
            ..MEMBER_TYPES => UNKNOWN_TYPE,
            _ => member.member_type,
        })
}

fn assignment(topics: Vec<DescribedTopic>) -> Assignment {
    let topic = |topic: DescribedTopic| {
        TopicPartitions::default()
            .with_topic_id(topic.id.0)
            .with_topic_name(topic_name(topic.name))
            .with_partitions(topic.partitions)
    };
    Assignment::default().with_topic_partitions(topics.into_iter().map(topic).collect())
}
