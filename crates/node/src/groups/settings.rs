//! The settings of groups, from the broker's configs.
use sh_coord::{GroupSettings, assign::Assignor, settings::MigrationPolicy};

use crate::BrokerConfig;

/// What groups are run by; all of it may change while they live.
pub(super) fn group_settings(broker: &BrokerConfig) -> GroupSettings {
    let int = |name: &str| i32::try_from(broker.number(name)).unwrap_or(i32::MAX);
    let size = |name: &str| usize::try_from(broker.number(name)).unwrap_or(0);
    let within = |name: &str| {
        let [min, max] = ["min", "max"].map(|bound| int(&format!("group.consumer.{bound}.{name}")));
        int(&format!("group.consumer.{name}")).min(max).max(min)
    };
    GroupSettings {
        classic_session_timeout_ms_min: int("group.min.session.timeout.ms"),
        classic_session_timeout_ms_max: int("group.max.session.timeout.ms"),
        classic_members_max: size("group.max.size"),
        initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
        consumer_session_timeout_ms: within("session.timeout.ms"),
        consumer_heartbeat_interval_ms: within("heartbeat.interval.ms"),
        consumer_assignment_interval_ms: within("assignment.interval.ms"),
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
