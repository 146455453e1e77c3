//! The settings of groups, from the broker's configs.
use std::collections::BTreeMap;

use sh_coord::{GroupSettings, assign::Assignor, settings::MigrationPolicy};

use crate::{
    BrokerConfig,
    config::{
        GroupConfigs,
        group::{self, ASSIGNMENT, HEARTBEAT, SESSION},
    },
};

pub(super) type Configs = BTreeMap<String, String>;

fn clamped(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What a group is run by: the broker's configs, with its own before them. All of it may change while it lives.
pub(super) fn group_settings(broker: &BrokerConfig, own: &Configs) -> GroupSettings {
    let int = |name: &str| clamped(broker.number(name));
    let size = |name: &str| usize::try_from(broker.number(name)).unwrap_or(0);
    let configs = GroupConfigs { own, broker };
    let [session, assignment, heartbeat] = [SESSION, ASSIGNMENT, HEARTBEAT].map(|name| {
        let of = group::TABLE.iter().find(|of| of.def.name == name);
        of.map_or(0, |of| clamped(configs.number(of)))
    });
    GroupSettings {
        classic_session_timeout_ms_min: int("group.min.session.timeout.ms"),
        classic_session_timeout_ms_max: int("group.max.session.timeout.ms"),
        classic_members_max: size("group.max.size"),
        initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
        consumer_session_timeout_ms: session,
        consumer_heartbeat_interval_ms: heartbeat,
        consumer_assignment_interval_ms: assignment,
        consumer_members_max: size("group.consumer.max.size"),
        consumer_assignors: assignors(broker.get("group.consumer.assignors").unwrap_or_default()),
        migration: migration(
            broker
                .get("group.consumer.migration.policy")
                .unwrap_or_default(),
        ),
        offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
        offsets_retention_ms: broker
            .number("offsets.retention.minutes")
            .saturating_mul(60_000),
    }
}

fn assignors(names: &str) -> Vec<Assignor> {
    let named = names
        .split(',')
        .filter_map(|name| Assignor::by_name(name.trim()));
    let assignors: Vec<Assignor> = named.collect();
    if assignors.is_empty() {
        return Assignor::ALL.to_vec();
    }
    assignors
}

fn migration(policy: &str) -> MigrationPolicy {
    match policy.to_ascii_lowercase().as_str() {
        "disabled" => MigrationPolicy::Disabled,
        "upgrade" => MigrationPolicy::Upgrade,
        "downgrade" => MigrationPolicy::Downgrade,
        _ => MigrationPolicy::Bidirectional,
    }
}
