//! Consumer groups: who is in them, what they have committed.
use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
        DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest, OffsetCommitResponse,
        OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
        consumer_group_describe_response::{Assignment, DescribedGroup as ConsumerGroup, Member},
        describe_groups_response::{DescribedGroup as ClassicGroup, DescribedGroupMember},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch_request::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
    },
    protocol::Request,
};

use super::Admin;
use crate::{
    CoordinatorKind, Error, ErrorCode, Result, TopicPartition,
    client::{group_id, text},
    group::protocol::{Subscription, by_topic, decode_assignment, places},
};

/// Later versions name topics by id; names are what people and files have.
const OFFSETS_BY_NAME: i16 = 9;

/// A group as ListGroups tells it. State and type are empty where the broker is too old to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    pub group: String,
    /// `Classic`, `Consumer`, `Share` or `Streams`.
    pub group_type: String,
    pub state: String,
    /// What its members speak among each other: `consumer`, `connect`, or nothing.
    pub protocol_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    /// `Classic` or `Consumer`.
    pub group_type: &'static str,
    pub protocol_type: String,
    pub state: String,
    /// Empty without members.
    pub assignor: String,
    /// The generation of its members and subscriptions; the classic protocol does not tell it.
    pub epoch: Option<i32>,
    /// The broker that coordinates it.
    pub coordinator: i32,
    pub members: Vec<GroupMember>,
}

impl GroupDescription {
    /// Whether the server assigns (KIP-848).
    pub fn is_consumer_protocol(&self) -> bool {
        self.group_type == CONSUMER
    }
}

const CONSUMER: &str = "Consumer";
const CLASSIC: &str = "Classic";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub rack: Option<String>,
    /// Only of the consumer protocol.
    pub epoch: Option<i32>,
    /// Whether it speaks the consumer protocol, in a group that does.
    pub upgraded: Option<bool>,
    pub topics: Vec<String>,
    pub topic_regex: Option<String>,
    pub assignment: BTreeSet<TopicPartition>,
    /// What the server wants it to have, where that is not what it has yet.
    pub target: Option<BTreeSet<TopicPartition>>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// -1 for none.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Who commits: a member, or with -1 and no name somebody outside of the group.
#[derive(Clone, Debug)]
pub struct Author {
    /// Generation or member epoch.
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

impl Author {
    fn outsider() -> Author {
        Author {
            generation: -1,
            member_id: String::new(),
            instance_id: None,
        }
    }
}

impl Admin {
    /// The groups of all brokers in these states and of these types; empty lists mean all.
    pub async fn list_groups(
        &self,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<GroupListing>> {
        let strings = |list: &[String]| list.iter().map(|s| text(s)).collect::<Vec<_>>();
        let build = |version| {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request = request.with_states_filter(strings(states));
            }
            if version >= 5 {
                request = request.with_types_filter(strings(types));
            }
            request
        };
        let mut groups = BTreeSet::new();
        for answer in self.ask_all("ListGroups", &build, |a| a.error_code).await? {
            groups.extend(answer.groups.into_iter().map(|g| GroupListing {
                group: g.group_id.to_string(),
                group_type: g.group_type.to_string(),
                state: g.group_state.to_string(),
                protocol_type: g.protocol_type.to_string(),
            }));
        }
        Ok(groups.into_iter().collect())
    }

    /// Whether any broker speaks the consumer protocol (KIP-848).
    pub async fn knows_consumer_protocol(&self) -> Result<bool> {
        let broker = self.client.any().await?;
        Ok(broker.version_of::<ConsumerGroupHeartbeatRequest>().is_ok())
    }

    /// A group of the consumer or the classic protocol; `GroupIdNotFound` where there is none.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        match self.describe_consumer_group(group).await {
            Err(error) if is_other_kind(&error) => self.describe_classic_group(group).await,
            described => described,
        }
    }

    async fn describe_consumer_group(&self, group: &str) -> Result<GroupDescription> {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
        let coordinator = self.coordinator_id(group).await?;
        let read = |answer: kafka_protocol::messages::ConsumerGroupDescribeResponse| {
            let found = answer
                .groups
                .into_iter()
                .next()
                .ok_or_else(|| no_group(group))?;
            let message = found.error_message.as_deref();
            Error::check(named(group), found.error_code, message)?;
            Ok(consumer_group(found, coordinator))
        };
        let what = "ConsumerGroupDescribe";
        self.at_group(group, what, i16::MAX, |_| request.clone(), read)
            .await
    }

    async fn describe_classic_group(&self, group: &str) -> Result<GroupDescription> {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let coordinator = self.coordinator_id(group).await?;
        let read = |answer: kafka_protocol::messages::DescribeGroupsResponse| {
            let found = answer
                .groups
                .into_iter()
                .next()
                .ok_or_else(|| no_group(group))?;
            let message = found.error_message.as_deref();
            Error::check(named(group), found.error_code, message)?;
            // Before version 6 this is how a group is told that does not exist.
            if &*found.group_state == "Dead" {
                return Err(no_group(group));
            }
            Ok(classic_group(found, coordinator))
        };
        self.at_group(group, "DescribeGroups", i16::MAX, |_| request.clone(), read)
            .await
    }

    async fn coordinator_id(&self, group: &str) -> Result<i32> {
        let find = || self.client.find_coordinator(CoordinatorKind::Group, group);
        Ok(self.client.retry("FindCoordinator", find).await?.id)
    }

    /// What a group has committed, for these partitions or (`None`) for all; partitions without an offset are left out.
    /// Offsets of open transactions are waited for.
    pub async fn group_offsets(
        &self,
        group: &str,
        places: Option<&BTreeSet<TopicPartition>>,
    ) -> Result<BTreeMap<TopicPartition, Committed>> {
        let build = |version| offset_fetch(version, group, places);
        self.at_group(group, "OffsetFetch", OFFSETS_BY_NAME, build, |answer| {
            read_offsets(group, answer)
        })
        .await
    }

    /// Sets the offsets of a group without members (one that does not exist comes to be).
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<()> {
        self.commit_offsets_as(group, &Author::outsider(), offsets)
            .await
    }

    pub(crate) async fn commit_offsets_as(
        &self,
        group: &str,
        author: &Author,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<()> {
        let build = |version| offset_commit(version, group, author, offsets);
        self.at_group(group, "OffsetCommit", OFFSETS_BY_NAME, build, |answer| {
            check_commit(group, &answer)
        })
        .await
    }

    /// Deletes a group without members, with its offsets.
    pub async fn delete_group(&self, group: &str) -> Result<()> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        let read = |answer: kafka_protocol::messages::DeleteGroupsResponse| {
            let code = answer.results.first().map_or(0, |r| r.error_code);
            Error::check(named(group), code, None)
        };
        self.at_group(group, "DeleteGroups", i16::MAX, |_| request.clone(), read)
            .await
    }

    /// Deletes the offsets that a group has committed for these partitions, of topics that no member subscribes to.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        places: &BTreeSet<TopicPartition>,
    ) -> Result<()> {
        let partition = |p| OffsetDeleteRequestPartition::default().with_partition_index(p);
        let topics = by_topic(places).into_iter().map(|(name, partitions)| {
            OffsetDeleteRequestTopic::default()
                .with_name(name)
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(group))
            .with_topics(topics.collect());
        let read = |answer: kafka_protocol::messages::OffsetDeleteResponse| {
            Error::check(named(group), answer.error_code, None)?;
            for topic in &answer.topics {
                for part in &topic.partitions {
                    let what = offset_of(group, &topic.name, part.partition_index);
                    Error::check(what, part.error_code, None)?;
                }
            }
            Ok(())
        };
        self.at_group(group, "OffsetDelete", i16::MAX, |_| request.clone(), read)
            .await
    }

    async fn at_group<R: Request, T>(
        &self,
        group: &str,
        what: &str,
        max: i16,
        build: impl Fn(i16) -> R,
        read: impl Fn(R::Response) -> Result<T>,
    ) -> Result<T> {
        let key = (CoordinatorKind::Group, group);
        self.client
            .ask_coordinator(key, what, max, build, read)
            .await
    }

    /// The answers of all brokers.
    pub(super) async fn ask_all<R: Request>(
        &self,
        what: &str,
        build: &impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<Vec<R::Response>> {
        let code = &code;
        self.client.refresh(Some(&[])).await?;
        let answers = self.client.brokers().into_iter().map(|broker| async move {
            let once = || async {
                let connection = self.client.node(broker.id).await?;
                let answer = self.client.call(&connection, build).await?;
                Error::check(
                    format!("{what} at broker {}", broker.id),
                    code(&answer),
                    None,
                )?;
                Ok(answer)
            };
            self.client.retry(what, once).await
        });
        try_join_all(answers).await
    }
}

fn named(group: &str) -> String {
    format!("group {group}")
}

fn offset_of(group: &str, topic: &str, partition: i32) -> String {
    format!("the offset of group {group} in {topic} partition {partition}")
}

fn no_group(group: &str) -> Error {
    Error::Refused {
        what: named(group),
        code: ErrorCode::GroupIdNotFound,
        message: None,
    }
}

/// Whether the group may be one of the classic protocol.
fn is_other_kind(error: &Error) -> bool {
    matches!(error, Error::UnsupportedVersion { .. })
        || matches!(
            error.code(),
            Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion)
        )
}

fn consumer_group(found: ConsumerGroup, coordinator: i32) -> GroupDescription {
    GroupDescription {
        group: found.group_id.to_string(),
        group_type: CONSUMER,
        protocol_type: "consumer".into(),
        state: found.group_state.to_string(),
        assignor: found.assignor_name.to_string(),
        epoch: Some(found.group_epoch),
        coordinator,
        members: found.members.into_iter().map(consumer_member).collect(),
    }
}

fn consumer_member(member: Member) -> GroupMember {
    let owned = |a: &Assignment| -> BTreeSet<TopicPartition> {
        a.topic_partitions
            .iter()
            .flat_map(|t| places(&t.topic_name, &t.partitions))
            .collect()
    };
    let (assignment, target) = (owned(&member.assignment), owned(&member.target_assignment));
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|i| i.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        rack: member.rack_id.map(|r| r.to_string()),
        epoch: Some(member.member_epoch),
        upgraded: (member.member_type >= 0).then_some(member.member_type == 1),
        topics: member
            .subscribed_topic_names
            .iter()
            .map(|t| t.to_string())
            .collect(),
        topic_regex: member
            .subscribed_topic_regex
            .filter(|r| !r.is_empty())
            .map(|r| r.to_string()),
        target: (target != assignment).then_some(target),
        assignment,
    }
}

fn classic_group(found: ClassicGroup, coordinator: i32) -> GroupDescription {
    let consumes = &*found.protocol_type == "consumer";
    let member = |m| classic_member(m, consumes);
    GroupDescription {
        group: found.group_id.to_string(),
        group_type: CLASSIC,
        protocol_type: found.protocol_type.to_string(),
        state: found.group_state.to_string(),
        assignor: found.protocol_data.to_string(),
        epoch: None,
        coordinator,
        members: found.members.into_iter().map(member).collect(),
    }
}

/// What members of other protocol types (Connect's) tell each other is not read.
fn classic_member(member: DescribedGroupMember, consumes: bool) -> GroupMember {
    let subscription = Subscription::decode(member.member_metadata).filter(|_| consumes);
    let assignment = decode_assignment(member.member_assignment).filter(|_| consumes);
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|i| i.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        rack: None,
        epoch: None,
        upgraded: None,
        topics: subscription.unwrap_or_default().topics,
        topic_regex: None,
        assignment: assignment.unwrap_or_default(),
        target: None,
    }
}

fn offset_fetch(
    version: i16,
    group: &str,
    places: Option<&BTreeSet<TopicPartition>>,
) -> OffsetFetchRequest {
    let topics = places.map(by_topic);
    let request = OffsetFetchRequest::default();
    let request = if version >= 7 {
        request.with_require_stable(true)
    } else {
        request
    };
    if version >= 8 {
        let topic = |(name, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(name)
                .with_partition_indexes(partitions)
        };
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(topics.map(|t| t.into_iter().map(topic).collect()));
        return request.with_groups(vec![group]);
    }
    let topic = |(name, partitions)| {
        OffsetFetchRequestTopic::default()
            .with_name(name)
            .with_partition_indexes(partitions)
    };
    request
        .with_group_id(group_id(group))
        .with_topics(topics.map(|t| t.into_iter().map(topic).collect()))
}

fn read_offsets(
    group: &str,
    answer: OffsetFetchResponse,
) -> Result<BTreeMap<TopicPartition, Committed>> {
    Error::check(named(group), answer.error_code, None)?;
    for answered in &answer.groups {
        Error::check(named(group), answered.error_code, None)?;
    }
    let by_group = answer.groups.iter().flat_map(|g| &g.topics).flat_map(|t| {
        let parts = t.partitions.iter();
        parts.map(|p| {
            let known = (p.committed_offset, p.committed_leader_epoch, &p.metadata);
            (&t.name, p.partition_index, p.error_code, known)
        })
    });
    let alone = answer.topics.iter().flat_map(|t| {
        let parts = t.partitions.iter();
        parts.map(|p| {
            let known = (p.committed_offset, p.committed_leader_epoch, &p.metadata);
            (&t.name, p.partition_index, p.error_code, known)
        })
    });
    let mut offsets = BTreeMap::new();
    for (topic, partition, code, (offset, leader_epoch, metadata)) in by_group.chain(alone) {
        Error::check(offset_of(group, topic, partition), code, None)?;
        if offset >= 0 {
            let metadata = metadata.as_ref().map(|m| m.to_string()).unwrap_or_default();
            let committed = Committed {
                offset,
                leader_epoch,
                metadata,
            };
            offsets.insert((topic.as_str().into(), partition), committed);
        }
    }
    Ok(offsets)
}

fn offset_commit(
    version: i16,
    group: &str,
    author: &Author,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> OffsetCommitRequest {
    let topics = by_topic(offsets.keys())
        .into_iter()
        .map(|(name, partitions)| {
            let key: std::sync::Arc<str> = name.as_str().into();
            let part = |partition: i32| {
                let offset = offsets.get(&(key.clone(), partition)).copied();
                OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset.unwrap_or(-1))
                    .with_committed_metadata(Some(text("")))
            };
            OffsetCommitRequestTopic::default()
                .with_partitions(partitions.into_iter().map(part).collect())
                .with_name(name)
        });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(author.generation)
        .with_member_id(text(&author.member_id))
        .with_topics(topics.collect());
    match version {
        ..=6 => request,
        _ => request.with_group_instance_id(author.instance_id.as_deref().map(text)),
    }
}

fn check_commit(group: &str, answer: &OffsetCommitResponse) -> Result<()> {
    for topic in &answer.topics {
        for part in &topic.partitions {
            let what = offset_of(group, &topic.name, part.partition_index);
            Error::check(what, part.error_code, None)?;
        }
    }
    Ok(())
}
