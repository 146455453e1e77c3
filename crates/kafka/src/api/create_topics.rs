//! CreateTopics (KIP-4, KIP-525, KIP-516).
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse,
    create_topics_request::CreatableTopic,
    create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
};
use sh_base::Failure;
use sh_node::{
    config::ConfigEntry,
    topics::{CreatedTopic, NewTopic},
};

use super::shape::{message, text, topic_name};
use crate::{door::Ctx, errors::code};

pub async fn handle(
    ctx: &Ctx,
    _version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let topics = request.topics.into_iter().map(new_topic).collect();
    let created = ctx
        .node()
        .create_topics(&ctx.caller, topics, request.validate_only)
        .await;
    CreateTopicsResponse::default().with_topics(created.into_iter().map(result).collect())
}

fn new_topic(t: CreatableTopic) -> NewTopic {
    NewTopic {
        name: t.name.to_string(),
        partitions: t.num_partitions,
        replication_factor: t.replication_factor,
        assignments: t
            .assignments
            .into_iter()
            .map(|a| {
                (
                    a.partition_index,
                    a.broker_ids.into_iter().map(|b| b.0).collect(),
                )
            })
            .collect(),
        configs: t
            .configs
            .into_iter()
            .map(|c| (c.name.to_string(), c.value.map(|v| v.to_string())))
            .collect(),
    }
}

fn result((name, created): (String, Result<CreatedTopic, Failure>)) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic_name(name));
    match created {
        Err(e) => result
            .with_error_code(code(&e))
            .with_error_message(message(&e))
            .with_configs(Some(Vec::new())),
        Ok(topic) => result
            .with_topic_id(topic.id.0)
            .with_error_message(None)
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(Some(topic.configs.into_iter().map(config).collect())),
    }
}

fn config(entry: ConfigEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_is_sensitive(entry.sensitive)
}
