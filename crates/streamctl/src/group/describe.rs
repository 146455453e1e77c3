//! A group: how far it is in each partition, and who reads it.
use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{
    Admin, Committed, ErrorCode, GroupDescription, GroupMember, OffsetSpec, TopicPartition,
};

use super::{DescribeArgs, places};
use crate::{
    failure::{Exit, Failure},
    output::{or_dash, table},
    session::Session,
};

#[derive(Serialize)]
struct Group {
    group: String,
    r#type: String,
    state: String,
    protocol_type: String,
    assignor: Option<String>,
    epoch: Option<i32>,
    coordinator: i32,
    /// Of all partitions whose lag is known.
    total_lag: i64,
    offsets: Vec<Line>,
    members: Vec<Member>,
}

/// A partition that the group has an offset for, or that a member reads.
#[derive(Serialize)]
struct Line {
    topic: String,
    partition: i32,
    current_offset: Option<i64>,
    /// `None`: the topic is no more.
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    metadata: Option<String>,
    consumer_id: Option<String>,
    host: Option<String>,
    client_id: Option<String>,
}

#[derive(Serialize)]
struct Member {
    consumer_id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    rack: Option<String>,
    epoch: Option<i32>,
    /// In a group of the consumer protocol: whether this member speaks it too.
    upgraded: Option<bool>,
    topics: Vec<String>,
    topic_regex: Option<String>,
    assignment: BTreeMap<String, Vec<i32>>,
    /// Where the assignment is still on its way to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_assignment: Option<BTreeMap<String, Vec<i32>>>,
}

pub async fn describe(args: DescribeArgs, session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let names = if args.all {
        let types = ["classic".to_owned(), "consumer".to_owned()];
        let listed = admin.list_groups(&[], &types).await?;
        listed.into_iter().map(|g| g.group).collect()
    } else {
        args.group
    };
    let groups = names.iter().map(|name| one(&admin, name));
    let groups = try_join_all(groups).await?;
    session.output().show(&groups, |groups| {
        let shown = groups.iter().map(|group| text(group, args.members));
        shown.collect::<Vec<_>>().join("\n\n")
    })
}

/// The group, or the failure that says what there is instead.
pub async fn existing(admin: &Admin, name: &str) -> Result<GroupDescription, Failure> {
    match admin.describe_group(name).await {
        Ok(found) => Ok(found),
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
            Err(missing(admin, name).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Groups of other types (share, streams) are there, but are no consumer groups.
async fn missing(admin: &Admin, name: &str) -> Result<Failure, Failure> {
    let listed = admin.list_groups(&[], &[]).await?;
    Ok(match listed.iter().find(|g| g.group == name) {
        Some(other) => Failure::failed(format!(
            "{name} is a {} group; this command is for consumer groups",
            other.group_type.to_lowercase()
        )),
        None => no_group(name),
    })
}

fn no_group(name: &str) -> Failure {
    let advice = "`streamctl group list` shows those there are";
    Failure::new(
        Exit::NotFound,
        format!("there is no group {name}; {advice}"),
    )
}

async fn one(admin: &Admin, name: &str) -> Result<Group, Failure> {
    let found = existing(admin, name).await?;
    let committed = admin.group_offsets(name, None).await?;
    let lines = lines(admin, &found.members, committed).await?;
    Ok(Group {
        group: found.group,
        r#type: found.group_type.to_lowercase(),
        state: found.state,
        protocol_type: found.protocol_type,
        assignor: Some(found.assignor).filter(|a| !a.is_empty()),
        epoch: found.epoch,
        coordinator: found.coordinator,
        total_lag: lines.iter().filter_map(|l| l.lag).sum(),
        offsets: lines,
        members: found.members.into_iter().map(member).collect(),
    })
}

fn member(member: GroupMember) -> Member {
    Member {
        consumer_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.host,
        rack: member.rack,
        epoch: member.epoch,
        upgraded: member.upgraded,
        topics: member.topics,
        topic_regex: member.topic_regex,
        assignment: places::by_topic(&member.assignment),
        target_assignment: member.target.as_ref().map(places::by_topic),
    }
}

async fn lines(
    admin: &Admin,
    members: &[GroupMember],
    mut committed: BTreeMap<TopicPartition, Committed>,
) -> Result<Vec<Line>, Failure> {
    let mut readers: BTreeMap<TopicPartition, Option<&GroupMember>> = committed
        .keys()
        .map(|place| (place.clone(), None))
        .collect();
    for member in members {
        readers.extend(member.assignment.iter().map(|p| (p.clone(), Some(member))));
    }
    let lines = readers.into_iter().map(|(place, reader)| {
        let committed = committed.remove(&place);
        line(admin, place, committed, reader)
    });
    try_join_all(lines).await
}

async fn line(
    admin: &Admin,
    (topic, partition): TopicPartition,
    committed: Option<Committed>,
    reader: Option<&GroupMember>,
) -> Result<Line, Failure> {
    let end = log_end(admin, &topic, partition).await?;
    let current = committed.as_ref().map(|c| c.offset);
    Ok(Line {
        topic: topic.to_string(),
        partition,
        current_offset: current,
        log_end_offset: end,
        lag: current
            .zip(end)
            .map(|(current, end)| (end - current).max(0)),
        metadata: committed.map(|c| c.metadata).filter(|m| !m.is_empty()),
        consumer_id: reader.map(|m| m.member_id.clone()),
        host: reader.map(|m| m.host.clone()),
        client_id: reader.map(|m| m.client_id.clone()),
    })
}

/// `None` where the topic or the partition is no more: the group's offset outlives it.
pub async fn log_end(admin: &Admin, topic: &str, partition: i32) -> Result<Option<i64>, Failure> {
    if !places::exists(admin, topic, partition).await? {
        return Ok(None);
    }
    let end = admin
        .list_offset(topic, partition, OffsetSpec::Latest)
        .await?;
    Ok(end.map(|(offset, _)| offset))
}

fn text(group: &Group, members: bool) -> String {
    let count = match group.members.len() {
        0 => "no members".to_owned(),
        1 => "1 member".to_owned(),
        n => format!("{n} members"),
    };
    let assignor = group.assignor.as_ref();
    let assignor = assignor.map_or_else(String::new, |a| format!(", assignor {a}"));
    let head = format!(
        "group {}: {}, {} protocol, {count}{assignor}, coordinator {}, lag {}",
        group.group, group.state, group.r#type, group.coordinator, group.total_lag,
    );
    let body = match members {
        true => members_table(group),
        false => offsets_table(group),
    };
    format!("{head}\n\n{body}")
}

/// Members that read nothing have a line too, as in Kafka's tool.
fn offsets_table(group: &Group) -> String {
    let offsets = group.offsets.iter().map(|l| {
        [
            group.group.clone(),
            l.topic.clone(),
            l.partition.to_string(),
            or_dash(l.current_offset),
            or_dash(l.log_end_offset),
            or_dash(l.lag),
            or_dash(l.consumer_id.as_ref()),
            or_dash(l.host.as_ref()),
            or_dash(l.client_id.as_ref()),
        ]
    });
    let idle = group.members.iter().filter(|m| m.assignment.is_empty());
    let idle = idle.map(|m| {
        let dash = || "-".to_owned();
        [
            group.group.clone(),
            dash(),
            dash(),
            dash(),
            dash(),
            dash(),
            m.consumer_id.clone(),
            m.host.clone(),
            m.client_id.clone(),
        ]
    });
    table(
        [
            "group",
            "topic",
            "partition",
            "current-offset",
            "log-end-offset",
            "lag",
            "consumer-id",
            "host",
            "client-id",
        ],
        offsets.chain(idle),
    )
}

fn members_table(group: &Group) -> String {
    let rows = group.members.iter().map(|m| {
        let assigned = match &m.target_assignment {
            Some(target) => format!(
                "{} -> {}",
                places::shown(&m.assignment),
                places::shown(target)
            ),
            None => places::shown(&m.assignment),
        };
        let subscription = match &m.topic_regex {
            Some(regex) => format!("/{regex}/"),
            None => m.topics.join(","),
        };
        [
            group.group.clone(),
            m.consumer_id.clone(),
            or_dash(m.instance_id.as_ref()),
            m.host.clone(),
            m.client_id.clone(),
            or_dash(m.epoch),
            m.assignment
                .values()
                .map(Vec::len)
                .sum::<usize>()
                .to_string(),
            subscription,
            assigned,
        ]
    });
    table(
        [
            "group",
            "consumer-id",
            "instance-id",
            "host",
            "client-id",
            "epoch",
            "partitions",
            "subscription",
            "assignment",
        ],
        rows,
    )
}
