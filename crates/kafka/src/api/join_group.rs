//! JoinGroup (the classic protocol; KIP-345, KIP-394, KIP-559, KIP-800, KIP-814). Waits until the rebalance is over.
use kafka_protocol::{
    messages::{
        JoinGroupRequest, JoinGroupResponse, join_group_request::JoinGroupRequestProtocol,
        join_group_response::JoinGroupResponseMember,
    },
    protocol::StrBytes,
};
use sh_coord::{
    Command,
    command::{JoinGroup, Protocol},
    reply::{JoinMember, JoinReply},
};

use super::{
    groups::{ask, code, optional, optional_text, owned},
    shape::text,
};
use crate::{door::Ctx, errors::group_code};

/// The first version with a rebalance timeout.
const REBALANCE_TIMEOUT: i16 = 1;
/// The first version in which a new member is told its id first (KIP-394).
const KNOWN_MEMBER_ID: i16 = 4;
/// The first version in which the protocol's name may be null.
const NULL_PROTOCOL: i16 = 7;
/// The first version in which a leader may be told to skip the assignment (KIP-814).
const SKIPS_ASSIGNMENT: i16 = 9;

pub async fn handle(ctx: &Ctx, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = request.group_id.to_string();
    let member_id = request.member_id.clone();
    let command = Command::JoinGroup(join(version, request));
    match ask!(ctx, &group, command => JoinGroup) {
        Ok(reply) => response(version, reply),
        Err(error) => empty(version)
            .with_error_code(group_code(error))
            .with_member_id(member_id),
    }
}

fn join(version: i16, request: JoinGroupRequest) -> JoinGroup {
    let rebalance_timeout_ms = match version {
        ..REBALANCE_TIMEOUT => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    JoinGroup {
        member_id: request.member_id.to_string(),
        requires_known_member_id: version >= KNOWN_MEMBER_ID && request.group_instance_id.is_none(),
        instance_id: optional(request.group_instance_id),
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        supports_skipping_assignment: version >= SKIPS_ASSIGNMENT,
    }
}

fn protocol(protocol: JoinGroupRequestProtocol) -> Protocol {
    Protocol {
        name: protocol.name.to_string(),
        metadata: owned(protocol.metadata),
    }
}

fn empty(version: i16) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name(protocol_name(version, None))
}

fn protocol_name(version: i16, name: Option<String>) -> Option<StrBytes> {
    match optional_text(name) {
        None if version < NULL_PROTOCOL => Some(text("")),
        name => name,
    }
}

fn response(version: i16, reply: JoinReply) -> JoinGroupResponse {
    empty(version)
        .with_error_code(code(reply.error))
        .with_generation_id(reply.generation)
        .with_protocol_type(optional_text(reply.protocol_type))
        .with_protocol_name(protocol_name(version, reply.protocol_name))
        .with_leader(text(reply.leader))
        .with_skip_assignment(reply.skip_assignment && version >= SKIPS_ASSIGNMENT)
        .with_member_id(text(reply.member_id))
        .with_members(reply.members.into_iter().map(member).collect())
}

fn member(member: JoinMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.instance_id))
        .with_metadata(member.metadata)
}
