//! Deleting groups, and offsets of a group.
use std::collections::BTreeSet;

use serde_json::json;
use sh_client::{Admin, ErrorCode, TopicPartition};

use super::{describe, places, places::TopicArg};
use crate::{failure::Failure, session::Session};

pub async fn groups(names: &[String], session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    for name in names {
        match admin.delete_group(name).await {
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
                return Err(match describe::existing(&admin, name).await {
                    Err(failure) => failure,
                    Ok(_) => error.into(),
                });
            }
            Err(error) if error.code() == Some(ErrorCode::NonEmptyGroup) => {
                return Err(Failure::failed(format!(
                    "group {name} has members, and can be deleted only without any; stop its consumers, then try again"
                )));
            }
            other => other?,
        }
        session
            .output()
            .show(&json!({ "group": name, "deleted": true }), |_| {
                format!("deleted group {name}")
            })?;
    }
    Ok(())
}

pub async fn offsets(group: &str, topics: &[TopicArg], session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    describe::existing(&admin, group).await?;
    let committed = admin.group_offsets(group, None).await?;
    // By what the group has committed, not by what exists: its offsets outlive a topic.
    let named = |(topic, partition): &&TopicPartition| {
        topics.iter().any(|arg| {
            *arg.topic == **topic
                && (arg.partitions.is_empty() || arg.partitions.contains(partition))
        })
    };
    let places: BTreeSet<TopicPartition> = committed.keys().filter(named).cloned().collect();
    if places.is_empty() {
        return Err(Failure::new(
            crate::failure::Exit::NotFound,
            format!(
                "group {group} has no offsets there; `streamctl group describe {group}` shows those it has"
            ),
        ));
    }
    match admin.delete_group_offsets(group, &places).await {
        Err(error) if error.code() == Some(ErrorCode::GroupSubscribedToTopic) => {
            return Err(Failure::failed(format!(
                "members of group {group} subscribe to this topic; stop them, then try again"
            )));
        }
        other => other?,
    }
    let deleted = places::by_topic(&places);
    let text = format!(
        "deleted the offsets of group {group} in {}",
        places::shown(&deleted)
    );
    session
        .output()
        .show(&json!({ "group": group, "deleted": deleted }), |_| text)
}
