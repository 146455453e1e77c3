//! DeleteTopics, by name and by id (KIP-516).
use kafka_protocol::{
    messages::{
        DeleteTopicsRequest, DeleteTopicsResponse, delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
    protocol::StrBytes,
};
use sh_base::{ErrorCode, Failure, TopicId};
use sh_node::{TopicChoice, topics::DeleteOutcome};

use super::shape::{message, text, topic_name};
use crate::{door::Ctx, errors::code};

/// The first version with TOPIC_DELETION_DISABLED.
const KNOWS_DISABLED: i16 = 3;

pub async fn handle(ctx: &Ctx, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name =
        |name: kafka_protocol::messages::TopicName| Ok(TopicChoice::Name(name.to_string()));
    let asked: Vec<Result<TopicChoice, DeletableTopicResult>> = match version {
        ..6 => request.topic_names.into_iter().map(by_name).collect(),
        _ => request.topics.into_iter().map(topic_ref).collect(),
    };
    let (topics, mut responses) = split(asked);
    let deleted = ctx.node().delete_topics(&ctx.caller, topics).await;
    responses.extend(deleted.into_iter().map(|outcome| result(version, outcome)));
    DeleteTopicsResponse::default().with_responses(responses)
}

fn split<T, E>(results: Vec<Result<T, E>>) -> (Vec<T>, Vec<E>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(t) => good.push(t),
            Err(e) => bad.push(e),
        }
    }
    (good, bad)
}

/// A topic is named by its name or by its id; one of the two.
fn topic_ref(state: DeleteTopicState) -> Result<TopicChoice, DeletableTopicResult> {
    let refused = |name: Option<&str>, why: &str| {
        let failure = Failure::new(ErrorCode::InvalidRequest, why);
        DeletableTopicResult::default()
            .with_name(name.map(topic_name))
            .with_topic_id(state.topic_id)
            .with_error_code(code(&failure))
            .with_error_message(message(&failure))
    };
    match (&state.name, state.topic_id.is_nil()) {
        (Some(name), true) => Ok(TopicChoice::Name(name.to_string())),
        (None, false) => Ok(TopicChoice::Id(TopicId(state.topic_id))),
        (Some(name), false) => Err(refused(
            Some(name),
            "You may not specify both topic name and topic id.",
        )),
        (None, true) => Err(refused(None, "Neither topic name nor id were specified.")),
    }
}

fn result(version: i16, outcome: DeleteOutcome) -> DeletableTopicResult {
    let result = DeletableTopicResult::default()
        .with_name(outcome.name.map(topic_name))
        .with_topic_id(outcome.id.map(|id| id.0).unwrap_or_default())
        .with_error_message(None);
    match outcome.result {
        Ok(()) => result,
        Err(e) => result
            .with_error_code(told(version, &e))
            .with_error_message(why(&e)),
    }
}

/// Old clients do not know that deletion can be disabled.
fn told(version: i16, e: &Failure) -> i16 {
    match e.code {
        ErrorCode::TopicDeletionDisabled if version < KNOWS_DISABLED => {
            code(&ErrorCode::InvalidRequest.into())
        }
        _ => code(e),
    }
}

/// Kafka's sentences, where it has its own for this request.
fn why(e: &Failure) -> Option<StrBytes> {
    match e.code {
        ErrorCode::UnknownTopicOrPartition => {
            Some(text("This server does not host this topic-partition."))
        }
        ErrorCode::UnknownTopicId => Some(text("This server does not host this topic ID.")),
        _ => message(e),
    }
}
