//! SyncGroup (the classic protocol; KIP-345, KIP-559). A follower waits for the leader's assignment.
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use sh_coord::{Command, GroupError, command::SyncGroup, reply::SyncReply};

use super::groups::{ask, code, optional, optional_text, owned};
use crate::{door::Ctx, errors::group_code};

/// The first version that must name the protocol type and the protocol (KIP-559).
const NAMES_PROTOCOL: i16 = 5;

pub async fn handle(ctx: &Ctx, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
    let names_none = request.protocol_type.is_none() || request.protocol_name.is_none();
    if version >= NAMES_PROTOCOL && names_none {
        return refused(GroupError::InconsistentGroupProtocol);
    }
    let group = request.group_id.to_string();
    match ask!(ctx, &group, Command::SyncGroup(sync(request)) => SyncGroup) {
        Ok(reply) => response(reply),
        Err(error) => refused(error),
    }
}

fn sync(request: SyncGroupRequest) -> SyncGroup {
    let assignments = request.assignments.into_iter();
    let assignments = assignments.map(|a| (a.member_id.to_string(), owned(a.assignment)));
    SyncGroup {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation: request.generation_id,
        protocol_type: optional(request.protocol_type),
        protocol_name: optional(request.protocol_name),
        assignments: assignments.collect(),
    }
}

fn response(reply: SyncReply) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(code(reply.error))
        .with_protocol_type(optional_text(reply.protocol_type))
        .with_protocol_name(optional_text(reply.protocol_name))
        .with_assignment(reply.assignment)
}

fn refused(error: GroupError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(group_code(error))
}
