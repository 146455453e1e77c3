//! Small translations that many APIs share.
use kafka_protocol::{
    messages::{BrokerId, TopicName},
    protocol::StrBytes,
};
use sh_base::{AgentId, Failure};
use sh_node::{Caller, Node, Operation, Resource};

/// Operations were not asked for, or are not known (KIP-430).
pub const NO_OPERATIONS: i32 = i32::MIN;

pub fn text(s: impl AsRef<str>) -> StrBytes {
    StrBytes::from_string(s.as_ref().to_owned())
}

pub fn topic_name(s: impl AsRef<str>) -> TopicName {
    TopicName(text(s))
}

/// The sentence that goes with an error; null where there is none.
pub fn message(failure: &Failure) -> Option<StrBytes> {
    (!failure.message.is_empty()).then(|| text(&failure.message))
}

pub fn broker(id: AgentId) -> BrokerId {
    BrokerId(id.0 as i32)
}

pub fn broker_or_none(id: Option<AgentId>) -> BrokerId {
    id.map_or(BrokerId(-1), broker)
}

/// What the caller may do, as Kafka packs it: bit `n` for the operation of code `n`.
pub fn operation_bits(node: &Node, caller: &Caller, resource: Resource<'_>) -> i32 {
    let allowed = |op: &&Operation| node.authorize(caller, **op, resource).is_ok();
    let operations = operations_on(resource).iter().filter(allowed);
    operations.fold(0, |bits, op| bits | 1 << code_of(*op))
}

fn operations_on(resource: Resource<'_>) -> &'static [Operation] {
    use Operation::*;
    match resource {
        Resource::Topic(_) | Resource::EveryTopic => &[
            Read,
            Write,
            Create,
            Delete,
            Alter,
            Describe,
            DescribeConfigs,
            AlterConfigs,
        ],
        Resource::Cluster => &[
            Create,
            Alter,
            Describe,
            ClusterAction,
            DescribeConfigs,
            AlterConfigs,
            IdempotentWrite,
        ],
        Resource::TransactionalId(_) => &[Write, Describe],
        Resource::Group(_) => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
    }
}

/// Kafka's number of an operation (`AclOperation`).
fn code_of(operation: Operation) -> u32 {
    match operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Delete => 6,
        Operation::Alter => 7,
        Operation::Describe => 8,
        Operation::ClusterAction => 9,
        Operation::DescribeConfigs => 10,
        Operation::AlterConfigs => 11,
        Operation::IdempotentWrite => 12,
    }
}
