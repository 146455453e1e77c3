//! Moving a group to other offsets.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{Admin, Committed, ErrorCode, TopicPartition};

use super::{
    ResetArgs, describe, places,
    plan::{self, Step},
    target::Target,
};
use crate::{
    failure::{Exit, Failure},
    output::{or_dash, table},
    session::Session,
};

#[derive(Serialize)]
struct Reset {
    group: String,
    executed: bool,
    /// The group does not exist: the reset makes it.
    creates: bool,
    offsets: Vec<Step>,
}

pub async fn reset(args: ResetArgs, session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let exists = require_without_members(&admin, &args.group).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    let target = args.target.target(now);
    let committed = admin.group_offsets(&args.group, None).await?;
    let file = match &target {
        Target::File(path) => Some(plan::read(path, &args.group)?),
        _ => None,
    };
    let places = if !args.topic.is_empty() {
        places::resolve(admin.client(), &args.topic).await?
    } else if let Some(file) = &file {
        file.keys().cloned().collect()
    } else if args.all_topics {
        require_some(&args.group, &committed)?
    } else {
        return Err(Failure::usage(
            "say which partitions: --topic TOPIC, --topic TOPIC:0,1 or --all-topics",
        ));
    };
    let steps = steps(&admin, &places, &committed, &target, file.as_ref()).await?;
    if let Some(path) = &args.to_file {
        plan::write(path, &steps)?;
    }
    if args.execute {
        let offsets = steps
            .iter()
            .map(|s| ((s.topic.as_str().into(), s.partition), s.new_offset));
        let offsets = offsets.collect();
        admin
            .commit_group_offsets(&args.group, &offsets)
            .await
            .map_err(|error| refused(error, &args.group))?;
    }
    let reset = Reset {
        group: args.group,
        executed: args.execute,
        creates: !exists,
        offsets: steps,
    };
    session.output().show(&reset, text)
}

async fn steps(
    admin: &Admin,
    places: &BTreeSet<TopicPartition>,
    committed: &BTreeMap<TopicPartition, Committed>,
    target: &Target,
    file: Option<&BTreeMap<TopicPartition, i64>>,
) -> Result<Vec<Step>, Failure> {
    for (topic, partition) in places {
        if !places::exists(admin, topic, *partition).await? {
            let what = format!("there is no partition {partition} of a topic {topic}");
            let advice = "`streamctl topic list` shows the topics there are";
            return Err(Failure::new(Exit::NotFound, format!("{what}; {advice}")));
        }
    }
    let steps = places.iter().map(|place| {
        let current = committed.get(place).map(|c| c.offset);
        let in_file = file.and_then(|file| file.get(place)).copied();
        plan::step(admin, place, current, target, in_file)
    });
    try_join_all(steps).await
}

/// Whether the group exists. A member would overwrite what is set, or never hear of it.
async fn require_without_members(admin: &Admin, group: &str) -> Result<bool, Failure> {
    let found = match admin.describe_group(group).await {
        Ok(found) => found,
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
            // Of another type, it must not be touched.
            return match describe::existing(admin, group).await {
                Err(failure) if failure.exit == Exit::NotFound => Ok(false),
                Err(failure) => Err(failure),
                Ok(_) => Ok(true),
            };
        }
        Err(error) => return Err(error.into()),
    };
    match found.members.len() {
        0 => Ok(true),
        count => Err(has_members(group, count, &found.state)),
    }
}

fn has_members(group: &str, count: usize, state: &str) -> Failure {
    let noun = if count == 1 { "member" } else { "members" };
    Failure::failed(format!(
        "group {group} has {count} {noun} ({state}), and can be reset only without any; stop its consumers, then try again (`streamctl group describe {group} --members` shows who they are)"
    ))
}

fn require_some(
    group: &str,
    committed: &BTreeMap<TopicPartition, Committed>,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    if committed.is_empty() {
        let what = format!("group {group} has no offsets; name a topic with --topic");
        return Err(Failure::new(Exit::NotFound, what));
    }
    Ok(committed.keys().cloned().collect())
}

/// A member that came between our look and the commit.
fn refused(error: sh_client::Error, group: &str) -> Failure {
    match error.code() {
        Some(ErrorCode::UnknownMemberId | ErrorCode::StaleMemberEpoch) => Failure::failed(format!(
            "group {group} has got members meanwhile; stop its consumers, then try again"
        )),
        _ => error.into(),
    }
}

fn text(reset: &Reset) -> String {
    let rows = reset.offsets.iter().map(|s| {
        let note = if s.clamped {
            "the nearest that the log has"
        } else {
            ""
        };
        [
            reset.group.clone(),
            s.topic.clone(),
            s.partition.to_string(),
            or_dash(s.current_offset),
            s.new_offset.to_string(),
            note.to_owned(),
        ]
    });
    let table = table(
        [
            "group",
            "topic",
            "partition",
            "current-offset",
            "new-offset",
            "",
        ],
        rows,
    );
    if reset.executed {
        return table;
    }
    let creates = if reset.creates {
        format!("group {} does not exist: this makes it. ", reset.group)
    } else {
        String::new()
    };
    format!(
        "{table}\n\n{creates}Nothing has changed yet. To do it:\n  {} --execute",
        this_command()
    )
}

/// The command line that was typed, for a shell.
fn this_command() -> String {
    let words = std::env::args().skip(1).map(|word| quoted(&word));
    let words: Vec<String> = std::iter::once("streamctl".to_owned())
        .chain(words)
        .collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(
            quoted("--to-time=2013-01-01T00:00:00Z"),
            "--to-time=2013-01-01T00:00:00Z"
        );
        assert_eq!(quoted("my group"), "'my group'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
