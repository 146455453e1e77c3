//! The settings of one group: the broker's, with the group's own (ConfigResource GROUP) laid over them by the caller.

/// Which way a group may change its protocol while it has members (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(
            self,
            MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional
        )
    }
    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(
            self,
            MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional
        )
    }
}

/// Defaults are Apache Kafka's. All of them may change while a group lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`, `group.max.session.timeout.ms`: what a classic member may ask for.
    pub classic_session_timeout_ms_min: i32,
    pub classic_session_timeout_ms_max: i32,
    /// `group.max.size`.
    pub classic_members_max: usize,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before its first rebalance.
    pub initial_rebalance_delay_ms: i32,
    /// `consumer.session.timeout.ms` of the group.
    pub consumer_session_timeout_ms: i32,
    /// `consumer.heartbeat.interval.ms` of the group; told to the members.
    pub consumer_heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms` of the group: the least time between two target assignments.
    pub consumer_assignment_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub consumer_members_max: usize,
    /// `group.consumer.assignors`: names of [`crate::assign::Assignor`]s; the first is the default.
    pub consumer_assignors: Vec<crate::assign::Assignor>,
    pub migration: MigrationPolicy,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            classic_session_timeout_ms_min: 6_000,
            classic_session_timeout_ms_max: 1_800_000,
            classic_members_max: i32::MAX as usize,
            initial_rebalance_delay_ms: 3_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_assignment_interval_ms: 1_000,
            consumer_members_max: i32::MAX as usize,
            consumer_assignors: crate::assign::Assignor::ALL.to_vec(),
            migration: MigrationPolicy::Bidirectional,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600 * 1_000,
        }
    }
}
