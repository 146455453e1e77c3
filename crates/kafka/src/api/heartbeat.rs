//! Heartbeat (the classic protocol; KIP-345).
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use sh_coord::{Command, command::Heartbeat};

use super::groups::{ask, code, optional};
use crate::door::Ctx;

pub async fn handle(ctx: &Ctx, _version: i16, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = request.group_id.to_string();
    let beat = Heartbeat {
        member_id: request.member_id.to_string(),
        instance_id: optional(request.group_instance_id),
        generation: request.generation_id,
    };
    let error = ask!(ctx, &group, Command::Heartbeat(beat) => Heartbeat).unwrap_or_else(Some);
    HeartbeatResponse::default().with_error_code(code(error))
}
