//! DescribeGroups.
use bytes::Bytes;

use super::{Classic, Member, State};
use crate::reply::{DescribeReply, DescribedMember};

impl Classic {
    pub fn describe(&self) -> DescribeReply {
        let stable = self
            .protocol
            .as_deref()
            .filter(|_| self.state == State::Stable);
        DescribeReply {
            error: None,
            state: self.listed_state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: stable.unwrap_or_default().to_owned(),
            members: self
                .members
                .values()
                .map(|m| describe_member(m, stable))
                .collect(),
        }
    }
}

/// During a rebalance the metadata mean nothing, so they are not shown; the assignment is the one before it.
fn describe_member(member: &Member, stable: Option<&str>) -> DescribedMember {
    DescribedMember {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client: member.client.clone(),
        metadata: stable.map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
        assignment: member.assignment.clone(),
    }
}
