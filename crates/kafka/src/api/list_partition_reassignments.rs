//! ListPartitionReassignments (KIP-455). Partitions live in the bucket; none is ever on its way from one broker to another.
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::door::Ctx;

pub async fn handle(
    _ctx: &Ctx,
    _version: i16,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}
