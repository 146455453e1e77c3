//! LeaveGroup (the classic protocol): one member, or (version 3 on, KIP-345) several, by id or by instance.
use kafka_protocol::{
    messages::{
        LeaveGroupRequest, LeaveGroupResponse, leave_group_request::MemberIdentity,
        leave_group_response::MemberResponse,
    },
    protocol::StrBytes,
};
use sh_coord::{
    Command,
    command::{LeaveGroup, LeavingMember},
    reply::{LeaveReply, LeftMember},
};

use super::{
    groups::{ask, code, optional, optional_text},
    shape::text,
};
use crate::{door::Ctx, errors::group_code};

/// The first version that names several members.
const SEVERAL: i16 = 3;

pub async fn handle(ctx: &Ctx, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = request.group_id.to_string();
    let members = match version {
        ..SEVERAL => vec![by_id(request.member_id)],
        _ => request.members.into_iter().map(identity).collect(),
    };
    match ask!(ctx, &group, Command::LeaveGroup(LeaveGroup { members }) => LeaveGroup) {
        Ok(reply) => response(version, reply),
        Err(error) => LeaveGroupResponse::default().with_error_code(group_code(error)),
    }
}

fn by_id(member_id: StrBytes) -> LeavingMember {
    LeavingMember {
        member_id: member_id.to_string(),
        instance_id: None,
        reason: None,
    }
}

fn identity(member: MemberIdentity) -> LeavingMember {
    LeavingMember {
        member_id: member.member_id.to_string(),
        instance_id: optional(member.group_instance_id),
        reason: optional(member.reason),
    }
}

/// Where only one can be named, its error is the request's.
fn response(version: i16, reply: LeaveReply) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    if version >= SEVERAL {
        return response
            .with_error_code(code(reply.error))
            .with_members(reply.members.into_iter().map(left).collect());
    }
    let of_member = reply.members.first().and_then(|member| member.error);
    response.with_error_code(code(reply.error.or(of_member)))
}

fn left(member: LeftMember) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.instance_id))
        .with_error_code(code(member.error))
}
