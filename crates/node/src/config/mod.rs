//! Configs: what can be set, which values are legal, and what is in force.
//!
//! Four tables define them, [`topic::TABLE`], [`broker::TABLE`], [`group::TABLE`] and [`client_metrics::TABLE`], with Kafka's names, types and defaults. Values are text,
//! as they travel and as they are stored; they are checked when they are set, in Kafka's words.
pub mod alter;
pub mod broker;
mod check;
pub mod client_metrics;
mod effective;
pub mod group;
mod loggers;
pub mod topic;

pub use alter::{AlterOp, Changes, ConfigOp};
pub use broker::{
    BROKER, BrokerConfig, BrokerDefinition, DynamicConfig, Mutability, broker_entries,
    cluster_entries,
};
pub use check::Check;
pub use client_metrics::{CLIENT_METRICS, entries as client_metrics_entries};
pub use effective::{ConfigEntry, Effective, Source, Synonym};
pub use group::{GROUP, GroupConfigs};
pub use loggers::{Loggers, SetLogLevel};

/// The type of a value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    /// Separated by commas; blanks around an element do not count.
    List,
    Class,
    Password,
}

/// One config that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    /// `None`: unset, and shown as null.
    pub default: Option<&'static str>,
    pub check: Check,
    pub doc: &'static str,
}

impl Definition {
    /// The value in its one form (no blanks around it, numbers as Kafka prints them), or what is wrong with it.
    pub fn parse(&self, value: &str) -> Result<String, String> {
        let parsed = check::parse(self, value)?;
        self.check.holds(self.name, &parsed)?;
        Ok(parsed)
    }
}
