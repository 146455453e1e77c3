//! DeleteGroups (KIP-229): groups of both protocols, with their offsets.
use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, GroupId,
    delete_groups_response::DeletableGroupResult,
};
use sh_coord::Command;

use super::groups::{GROUPS_AT_ONCE, ask, code};
use crate::door::Ctx;

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    // A group that is named twice is deleted, and answered, once.
    let mut seen = BTreeSet::new();
    let mut groups = request.groups_names;
    groups.retain(|group| seen.insert(group.to_string()));
    let results = stream::iter(groups)
        .map(|group| delete(ctx, group))
        .buffered(GROUPS_AT_ONCE);
    DeleteGroupsResponse::default().with_results(results.collect().await)
}

async fn delete(ctx: &Ctx, group: GroupId) -> DeletableGroupResult {
    let error = ask!(ctx, &group, Command::DeleteGroup => DeleteGroup).unwrap_or_else(Some);
    DeletableGroupResult::default()
        .with_group_id(group)
        .with_error_code(code(error))
}
