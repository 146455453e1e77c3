//! DescribeGroups: groups of the classic protocol, with their members.
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    describe_groups_response::{DescribedGroup, DescribedGroupMember},
};
use sh_coord::{
    Command, GroupError,
    reply::{DescribeReply, DescribedMember},
};

use super::{
    groups::{ask, each, operations_on, optional_text},
    shape::text,
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
    let about = |group| describe(ctx, version, operations, group);
    DescribeGroupsResponse::default().with_groups(each(request.groups, about).await)
}

async fn describe(ctx: &Ctx, version: i16, operations: bool, group: GroupId) -> DescribedGroup {
    let answer = DescribedGroup::default().with_error_message(None);
    let described = match ask!(ctx, &group, Command::DescribeGroup => DescribeGroup) {
        Ok(reply) => fill(version, answer, reply),
        Err(error) => answer.with_error_code(group_code(error)),
    };
    let wanted = operations && described.error_code == 0;
    let bits = operations_on(ctx, &group, wanted);
    described
        .with_authorized_operations(bits)
        .with_group_id(group)
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
