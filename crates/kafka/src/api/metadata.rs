//! Metadata (KIP-4, KIP-430, KIP-516): which agents there are, and which one to ask for a partition.
//!
//! One replica is shown for each partition: the agent that clients should ask. The bucket replicates, whatever replication factor a
//! topic was created with.
use std::collections::HashSet;

use kafka_protocol::messages::{
    MetadataRequest, MetadataResponse,
    metadata_request::MetadataRequestTopic,
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
};
use sh_base::{ErrorCode, Failure, TopicId, TopicName};
use sh_node::{Agent, Cluster, Resource, TopicChoice, TopicView, topics::is_internal};

use super::shape::{NO_OPERATIONS, broker, broker_or_none, operation_bits, text, topic_name};
use crate::{
    door::Ctx,
    errors::{NONE, code, code_of},
};

/// The first version in which topics can be asked for by their ids.
const BY_ID: i16 = 12;
/// The first version that can say that the whole request failed.
const FAILS_WHOLE: i16 = 13;
/// The versions that tell what the caller may do with the cluster.
const CLUSTER_OPERATIONS: std::ops::RangeInclusive<i16> = 8..=10;

pub async fn handle(ctx: &Ctx, version: i16, request: MetadataRequest) -> MetadataResponse {
    match describe(ctx, version, &request).await {
        Ok(response) => response,
        Err(e) => failed(version, &request, &e),
    }
}

async fn describe(
    ctx: &Ctx,
    version: i16,
    request: &MetadataRequest,
) -> Result<MetadataResponse, Failure> {
    let cluster = ctx.node().cluster().await?;
    let answers = match asked(version, request) {
        None => ctx
            .node()
            .view_all(&ctx.caller)
            .await?
            .into_iter()
            .map(Answer::of)
            .collect(),
        Some(topics) => look_up(ctx, version, topics, request.allow_auto_topic_creation).await?,
    };
    let wants_operations = request.include_topic_authorized_operations;
    let topic = |answer: Answer| answer.encode(ctx, &cluster, wants_operations, version);
    let response = MetadataResponse::default()
        .with_brokers(cluster.agents.iter().map(describe_broker).collect())
        .with_cluster_id(Some(text(&cluster.id)))
        .with_controller_id(broker_or_none(cluster.controller()))
        .with_topics(answers.into_iter().map(topic).collect());
    let wants_operations = request.include_cluster_authorized_operations;
    Ok(
        match wants_operations && CLUSTER_OPERATIONS.contains(&version) {
            true => response.with_cluster_authorized_operations(operation_bits(
                ctx.node(),
                &ctx.caller,
                Resource::Cluster,
            )),
            false => response,
        },
    )
}

/// The topics that are asked for; `None`: all.
fn asked(version: i16, request: &MetadataRequest) -> Option<&[MetadataRequestTopic]> {
    request
        .topics
        .as_deref()
        .filter(|topics| version > 0 || !topics.is_empty())
}

fn describe_broker(agent: &Agent) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(broker(agent.id))
        .with_host(text(&agent.host))
        .with_port(i32::from(agent.port))
        .with_rack(agent.zone.as_ref().map(text))
}

/// A topic that was asked for, and what was found.
struct Answer {
    /// `None`: it was asked for by an id that is not known.
    name: Option<String>,
    id: TopicId,
    found: Result<TopicView, Failure>,
}

/// Every topic that is asked for, once, however it was named.
async fn look_up(
    ctx: &Ctx,
    version: i16,
    topics: &[MetadataRequestTopic],
    create: bool,
) -> Result<Vec<Answer>, Failure> {
    let mut named = HashSet::new();
    let once = topics
        .iter()
        .filter(|t| named.insert((t.name.clone(), t.topic_id)));
    let topics: Vec<&MetadataRequestTopic> = once.collect();
    let choices: Result<Vec<TopicChoice>, Failure> =
        topics.iter().map(|t| choice(version, t)).collect();
    let found = ctx.node().view_topics(&ctx.caller, &choices?, create).await;
    let mut known = HashSet::new();
    let mut answers: Vec<Answer> = topics
        .iter()
        .zip(found)
        .map(|(topic, found)| Answer::new(topic, found))
        .collect();
    answers.retain(|answer| answer.found.is_err() || known.insert(answer.id));
    Ok(answers)
}

/// How a topic is named. Ids are legal from some version on; one topic named wrongly spoils the whole request, as with Kafka.
fn choice(version: i16, topic: &MetadataRequestTopic) -> Result<TopicChoice, Failure> {
    let refused = |text| Err(Failure::new(ErrorCode::InvalidRequest, text));
    match &topic.name {
        _ if version < BY_ID && !topic.topic_id.is_nil() => refused(format!(
            "Topic IDs are not supported in requests for version {version}"
        )),
        _ if !topic.topic_id.is_nil() => Ok(TopicChoice::Id(TopicId(topic.topic_id))),
        Some(name) => Ok(TopicChoice::Name(name.to_string())),
        None => refused(format!("Topic name can not be null for version {version}")),
    }
}

impl Answer {
    fn of(view: TopicView) -> Answer {
        Answer {
            name: Some(view.topic.name.to_string()),
            id: view.topic.id,
            found: Ok(view),
        }
    }

    fn new(topic: &MetadataRequestTopic, found: Result<TopicView, Failure>) -> Answer {
        match found {
            Ok(view) => Answer::of(view),
            Err(e) => Answer {
                name: topic.name.as_ref().map(|name| name.to_string()),
                id: TopicId(topic.topic_id),
                found: Err(e),
            },
        }
    }

    fn encode(
        self,
        ctx: &Ctx,
        cluster: &Cluster,
        wants_operations: bool,
        version: i16,
    ) -> MetadataResponseTopic {
        let name = self.name.as_deref();
        // A null name is legal from the version on that knows ids.
        let shown = name.or((version < BY_ID).then_some(""));
        let topic = MetadataResponseTopic::default()
            .with_name(shown.map(topic_name))
            .with_topic_id(self.id.0)
            .with_is_internal(name.is_some_and(is_internal))
            .with_topic_authorized_operations(match wants_operations {
                true => topic_operations(ctx, name),
                false => NO_OPERATIONS,
            });
        match self.found {
            Ok(view) => topic.with_partitions(partitions(ctx, cluster, &view)),
            Err(e) => topic.with_error_code(code(&e)),
        }
    }
}

/// What the caller may do with a topic of this name, whether there is one or not. A name that no topic can have has no rights of
/// its own: only those on all topics count.
pub fn topic_operations(ctx: &Ctx, name: Option<&str>) -> i32 {
    match name.map(TopicName::try_from) {
        Some(Ok(name)) => operation_bits(ctx.node(), &ctx.caller, Resource::Topic(&name)),
        Some(Err(_)) => operation_bits(ctx.node(), &ctx.caller, Resource::EveryTopic),
        None => NO_OPERATIONS,
    }
}

fn partitions(ctx: &Ctx, cluster: &Cluster, view: &TopicView) -> Vec<MetadataResponsePartition> {
    let zone = ctx.caller.zone();
    let partition = |(index, epoch): (i32, &i32)| {
        let leader = cluster.leader(view.topic.partition(index), zone);
        let replicas: Vec<_> = leader.map(broker).into_iter().collect();
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(broker_or_none(leader))
            .with_leader_epoch(*epoch)
            .with_replica_nodes(replicas.clone())
            .with_isr_nodes(replicas)
    };
    (0..).zip(&view.leader_epochs).map(partition).collect()
}

/// The whole request failed: each topic says so.
fn failed(version: i16, request: &MetadataRequest, e: &Failure) -> MetadataResponse {
    let topic = |t: &MetadataRequestTopic| {
        MetadataResponseTopic::default()
            .with_error_code(code_of(e.code))
            .with_name(Some(t.name.clone().unwrap_or_default()))
            .with_topic_id(t.topic_id)
    };
    let topics = asked(version, request).unwrap_or_default();
    MetadataResponse::default()
        .with_topics(topics.iter().map(topic).collect())
        .with_error_code(if version >= FAILS_WHOLE {
            code(e)
        } else {
            NONE
        })
}
