//! DescribeGroups: groups of the classic protocol, with their members.
use futures::{StreamExt, stream};
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    describe_groups_response::{DescribedGroup, DescribedGroupMember},
};
use sh_coord::{
    Command, GroupError,
    reply::{DescribeReply, DescribedMember},
};
use sh_node::Resource;

use super::{
    groups::{GROUPS_AT_ONCE, ask, optional_text},
    shape::{NO_OPERATIONS, operation_bits, text},
};
use crate::{door::Ctx, errors::group_code};

/// The first version that says that a group does not exist; before, it is "Dead" without an error.
const KNOWS_UNKNOWN: i16 = 6;

pub async fn handle(
    ctx: &Ctx,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations = request.include_authorized_operations;
    let groups = stream::iter(request.groups);
    let described = groups
        .map(|group| describe(ctx, version, operations, group))
        .buffered(GROUPS_AT_ONCE);
    DescribeGroupsResponse::default().with_groups(described.collect().await)
}

async fn describe(ctx: &Ctx, version: i16, operations: bool, group: GroupId) -> DescribedGroup {
    let answer = DescribedGroup::default()
        .with_error_message(None)
        .with_authorized_operations(NO_OPERATIONS);
    let described = match ask!(ctx, &group, Command::DescribeGroup => DescribeGroup) {
        Ok(reply) => fill(version, answer, reply),
        Err(error) => answer.with_error_code(group_code(error)),
    };
    let described = match operations && described.error_code == 0 {
        true => {
            let bits = operation_bits(ctx.node(), &ctx.caller, Resource::Group(&group));
            described.with_authorized_operations(bits)
        }
        false => described,
    };
    described.with_group_id(group)
}

fn fill(version: i16, answer: DescribedGroup, reply: DescribeReply) -> DescribedGroup {
    let answer = match reply.error {
        None => answer,
        Some(refusal) if refusal.code == GroupError::GroupIdNotFound => match version {
            ..KNOWS_UNKNOWN => answer,
            _ => answer
                .with_error_code(group_code(refusal.code))
                .with_error_message(Some(text(refusal.message))),
        },
        Some(refusal) => return answer.with_error_code(group_code(refusal.code)),
    };
    answer
        .with_group_state(text(reply.state.name()))
        .with_protocol_type(text(reply.protocol_type))
        .with_protocol_data(text(reply.protocol))
        .with_members(reply.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.instance_id))
        .with_client_id(text(member.client.id))
        .with_client_host(text(member.client.host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
