//! Who asks, and whether they may.
use sh_base::{Failure, Org, TopicName};

use crate::Node;

/// Who makes a call: the first argument of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub org: Org,
    /// Kafka's notation, `User:name`; `User:ANONYMOUS` without authentication.
    pub principal: String,
    pub client_id: Option<String>,
    /// The address the call came from.
    pub host: String,
}

impl Caller {
    /// The zone that the client says it is in: a `zone=` part of its client id, as in `billing,zone=a`.
    pub fn zone(&self) -> Option<&str> {
        let parts = self.client_id.as_deref()?.split([',', ';', ' ']);
        parts
            .filter_map(|part| part.trim().strip_prefix("zone="))
            .find(|zone| !zone.is_empty())
    }
}

/// What a caller wants to do (the operations of Kafka's ACLs, KIP-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
}

/// What it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic(&'a TopicName),
    /// All topics, whatever their names.
    EveryTopic,
    Cluster,
    /// A consumer group, or another resource named by text.
    Group(&'a str),
    TransactionalId(&'a str),
}

impl Node {
    /// The one place where rights are decided. Without authentication everybody may do everything.
    pub fn authorize(
        &self,
        _caller: &Caller,
        _operation: Operation,
        _resource: Resource<'_>,
    ) -> Result<(), Failure> {
        Ok(())
    }
}
