//! ListGroups: the groups that this agent coordinates, by state (KIP-518) and type (KIP-848).
use kafka_protocol::{
    messages::{ListGroupsRequest, ListGroupsResponse, list_groups_response::ListedGroup},
    protocol::StrBytes,
};
use sh_coord::reply::Listing;
use sh_node::GroupFilter;

use super::{groups::group_id, shape::text};
use crate::{door::Ctx, errors::group_code};

pub async fn handle(ctx: &Ctx, _version: i16, request: ListGroupsRequest) -> ListGroupsResponse {
    let words = |list: Vec<StrBytes>| list.iter().map(|word| word.to_string()).collect();
    let filter = GroupFilter {
        states: words(request.states_filter),
        types: words(request.types_filter),
    };
    let response = ListGroupsResponse::default();
    match ctx.node().list_groups(&ctx.caller, &filter).await {
        Ok(groups) => response.with_groups(groups.into_iter().map(listed).collect()),
        Err(error) => response.with_error_code(group_code(error)),
    }
}

fn listed(group: Listing) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(group_id(group.group_id))
        .with_protocol_type(text(group.protocol_type))
        .with_group_state(text(group.state.name()))
        .with_group_type(text(group.group_type))
}
