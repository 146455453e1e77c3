//! What a ConsumerGroupHeartbeat must look like, whatever the group is.
use super::{LEAVE_EPOCH, LEFT_STATIC_EPOCH, regex};
use crate::{
    assign::Assignor,
    command::ConsumerGroupHeartbeat,
    error::{GroupError, Refusal},
    settings::GroupSettings,
};

pub(crate) fn check_request(
    group_id: &str,
    beat: &ConsumerGroupHeartbeat,
    settings: &GroupSettings,
) -> Result<(), Refusal> {
    let empty = |text: &Option<String>| text.as_deref() == Some("");
    let needs_id =
        beat.member_chooses_id || beat.member_epoch > 0 || beat.member_epoch == LEAVE_EPOCH;
    let problem = match () {
        () if needs_id && beat.member_id.is_empty() => Some("MemberId can't be empty."),
        () if group_id.is_empty() => Some("GroupId can't be empty."),
        () if empty(&beat.instance_id) => Some("InstanceId can't be empty."),
        () if empty(&beat.rack_id) => Some("RackId can't be empty."),
        () => check_epoch(beat),
    };
    if let Some(problem) = problem {
        return Err(Refusal::new(GroupError::InvalidRequest, problem));
    }
    check_assignor(beat, settings)?;
    match beat.subscribed_topic_regex.as_deref() {
        Some(pattern) if !pattern.is_empty() => regex::check(pattern),
        _ => Ok(()),
    }
}

fn check_epoch(beat: &ConsumerGroupHeartbeat) -> Option<&'static str> {
    match beat.member_epoch {
        0 => check_joining(beat),
        LEFT_STATIC_EPOCH if beat.instance_id.is_none() => Some("InstanceId can't be null."),
        epoch if epoch < LEFT_STATIC_EPOCH => Some("MemberEpoch is invalid."),
        _ => None,
    }
}

fn check_joining(beat: &ConsumerGroupHeartbeat) -> Option<&'static str> {
    let names = beat.subscribed_topic_names.as_ref();
    let pattern = beat.subscribed_topic_regex.as_ref();
    let nothing = names.is_none() && pattern.is_none();
    match () {
        () if beat.rebalance_timeout_ms == -1 => {
            Some("RebalanceTimeoutMs must be provided in first request.")
        }
        () if beat
            .topic_partitions
            .as_ref()
            .is_none_or(|owned| !owned.is_empty()) =>
        {
            Some("TopicPartitions must be empty when (re-)joining.")
        }
        () if nothing => Some(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        () => None,
    }
}

fn check_assignor(beat: &ConsumerGroupHeartbeat, settings: &GroupSettings) -> Result<(), Refusal> {
    let Some(name) = &beat.server_assignor else {
        return Ok(());
    };
    let known = Assignor::by_name(name).is_some_and(|a| settings.consumer_assignors.contains(&a));
    if known {
        return Ok(());
    }
    let names: Vec<&str> = settings
        .consumer_assignors
        .iter()
        .map(|a| a.name())
        .collect();
    let message = format!(
        "ServerAssignor {name} is not supported. Supported assignors: {}.",
        names.join(", ")
    );
    Err(Refusal::new(GroupError::UnsupportedAssignor, message))
}
