//! The stories, one module for each family of APIs.
mod cluster;
mod configs;
mod create;
mod delete;
mod features;
mod fetch;
mod frames;
pub mod group_requests;
mod groups_admin;
mod groups_classic;
mod groups_consumer;
mod groups_errors;
mod groups_limits;
mod groups_migrate;
mod groups_offsets;
mod groups_sequences;
mod groups_static;
mod internal;
mod metadata;
mod offsets;
mod partitions;
mod produce;
mod produce_bad;
mod producers;
pub mod requests;
mod sessions;
mod telemetry;
mod transactions;
mod transactions_offsets;
mod transactions_seen;
mod transactions_sessions;
mod versions;

use super::Scenario;

pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        versions::SCENARIOS,
        frames::SCENARIOS,
        metadata::SCENARIOS,
        create::SCENARIOS,
        delete::SCENARIOS,
        partitions::SCENARIOS,
        produce::SCENARIOS,
        produce_bad::SCENARIOS,
        producers::SCENARIOS,
        fetch::SCENARIOS,
        sessions::SCENARIOS,
        transactions::SCENARIOS,
        transactions_seen::SCENARIOS,
        transactions_offsets::SCENARIOS,
        transactions_sessions::SCENARIOS,
        offsets::SCENARIOS,
        configs::SCENARIOS,
        cluster::SCENARIOS,
        internal::SCENARIOS,
        features::SCENARIOS,
        telemetry::SCENARIOS,
        groups_errors::SCENARIOS,
        groups_classic::SCENARIOS,
        groups_static::SCENARIOS,
        groups_offsets::SCENARIOS,
        groups_admin::SCENARIOS,
        groups_consumer::SCENARIOS,
        groups_migrate::SCENARIOS,
        groups_limits::SCENARIOS,
        groups_sequences::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// `name: "story",` for each async function of the module that tells one.
macro_rules! scenarios {
    ($($name:ident: $story:literal,)*) => {
        pub const SCENARIOS: &[$crate::oracle::Scenario] = &[$($crate::oracle::Scenario {
            name: stringify!($name),
            story: $story,
            tell: |peer| Box::pin($name(peer)),
        },)*];
    };
}
use scenarios;
