//! Produce (KIP-98, KIP-467, KIP-516): the batches of a request take their place in the log's order when it starts; the answer
//! comes when they are stored.
//!
//! acks=0 has no answer at all; if such a request fails the connection is closed, so that the producer notices.
use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ProduceResponse, TopicName,
        produce_response::{
            BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
        },
    },
    protocol::StrBytes,
};
use sh_base::{
    ErrorCode, Failure,
    batch::{Codec, RecordError},
};
use sh_node::{
    Ack, Produce, ProducePartition, ProduceTopic, Produced, Refused, Stored, Transactional,
};
use sh_wire::{ProduceRequest, ProducedPartition, ProducedTopic, RequestHeader, encode_response};

use super::names;
use crate::{
    connection::Answering,
    door::{Charge, Ctx},
    errors::{self, NONE},
    frames::{Closing, Incoming},
};

/// zstd came with this version (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// From here on a transactional batch adds its partition to the transaction (KIP-890).
const ADDS_PARTITIONS_SINCE: i16 = 12;
/// TRANSACTION_ABORTABLE came with this version (KIP-890).
const ABORTABLE_SINCE: i16 = 11;
/// Record errors and error messages came with this version (KIP-467).
const RECORD_ERRORS_SINCE: i16 = 8;

/// A produce request, decoded.
pub struct OpenedProduce {
    ctx: Ctx,
    header: RequestHeader,
    shape: Vec<TopicShape>,
    produce: Produce,
}

/// What the answer needs of a topic in the request.
struct TopicShape {
    topic: sh_wire::TopicRef,
    /// In the request's order; those without a refusal of the door are in `Produce`.
    partitions: Vec<(i32, Option<Refused>)>,
}

pub fn open(ctx: Ctx, incoming: Incoming<Charge>) -> Result<OpenedProduce, Closing> {
    let Incoming {
        header,
        body,
        charge: Charge::Write(charge),
    } = incoming
    else {
        let RequestHeader { api, version, .. } = incoming.header;
        return Err(Closing::Unsupported { api, version });
    };
    let request = ProduceRequest::decode(&header, &body)?;
    let ack = ack(request.acks);
    let refused = ack
        .as_ref()
        .err()
        .cloned()
        .or_else(|| refuse_transaction(&request));
    let mut shape = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request
        .topics
        .into_iter()
        .filter(|t| !t.partitions.is_empty())
    {
        let (topic_shape, produce) = open_topic(topic, refused.as_ref(), header.version);
        shape.push(topic_shape);
        topics.push(produce);
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let ack = ack.unwrap_or(Ack::Durable);
    let transaction = request.transactional_id.map(|id| Transactional {
        id: id.as_str().into(),
        adds: header.version >= ADDS_PARTITIONS_SINCE,
    });
    let produce = Produce {
        ack,
        timeout,
        charge,
        transaction,
        topics,
    };
    Ok(OpenedProduce {
        ctx,
        header,
        shape,
        produce,
    })
}

fn ack(acks: i16) -> Result<Ack, Refused> {
    match acks {
        0 => Ok(Ack::None),
        1 => Ok(Ack::Leader),
        -1 => Ok(Ack::Durable),
        other => {
            let text = format!("acks={other} is not one of -1 (all), 0 and 1");
            Err(Failure::new(ErrorCode::InvalidRequiredAcks, text).into())
        }
    }
}

/// Splits a topic into what the door refuses itself and what `node` is asked to write.
fn open_topic(
    ProducedTopic { topic, partitions }: ProducedTopic,
    refused: Option<&Refused>,
    version: i16,
) -> (TopicShape, ProduceTopic) {
    let mut produce = ProduceTopic {
        topic: names::choice(&topic),
        partitions: Vec::new(),
    };
    let mut shape = TopicShape {
        topic,
        partitions: Vec::with_capacity(partitions.len()),
    };
    for ProducedPartition { index, records } in partitions {
        let records = records.unwrap_or_default();
        let refused = refused.cloned().or_else(|| refuse_codec(&records, version));
        if refused.is_none() {
            produce.partitions.push(ProducePartition { index, records });
        }
        shape.partitions.push((index, refused));
    }
    (shape, produce)
}

/// Without a transactional id nobody may write into a transaction.
fn refuse_transaction(request: &ProduceRequest) -> Option<Refused> {
    const TRANSACTIONAL: u8 = 1 << 4;
    let mut partitions = request.topics.iter().flat_map(|t| &t.partitions);
    let transactional = partitions.any(|p| {
        let attributes = p.records.as_ref().and_then(attributes_low);
        attributes.is_some_and(|b| b & TRANSACTIONAL != 0)
    });
    (transactional && request.transactional_id.is_none()).then(|| {
        let text = "a transactional batch in a request without a transactional id";
        Failure::new(ErrorCode::TransactionalIdAuthorizationFailed, text).into()
    })
}

/// The lower byte of the attributes of a v2 batch; other formats have something else there.
fn attributes_low(records: &Bytes) -> Option<u8> {
    const MAGIC: usize = 16;
    const ATTRIBUTES_LOW: usize = 22;
    (*records.get(MAGIC)? == 2).then_some(*records.get(ATTRIBUTES_LOW)?)
}

/// Clients that speak old versions cannot read zstd.
fn refuse_codec(records: &Bytes, version: i16) -> Option<Refused> {
    let is_zstd = attributes_low(records).is_some_and(|b| b & 7 == Codec::Zstd.id());
    (is_zstd && version < ZSTD_SINCE).then(|| {
        let text = format!(
            "Produce requests with version {version} are not allowed to use ZStandard compression"
        );
        Failure::new(ErrorCode::UnsupportedCompressionType, text).into()
    })
}

impl OpenedProduce {
    /// Can it start without waiting for anything?
    pub fn runs_ahead(&self) -> bool {
        let topics = self.produce.topics.iter().map(|t| &t.topic);
        self.ctx.node().knows(&self.ctx.caller, topics)
    }

    pub fn start(self) -> Answering {
        let OpenedProduce {
            ctx,
            header,
            shape,
            produce,
        } = self;
        let ack = produce.ack;
        let produced = ctx.node().produce(ctx.caller.clone(), produce);
        Box::pin(async move {
            let answers = answers(shape, produced.await, header.version);
            if ack != Ack::None {
                let response = ProduceResponse::default().with_responses(answers);
                return Ok(vec![encode_response(
                    header.correlation_id,
                    header.version,
                    &response,
                )?]);
            }
            let failed = |t: &TopicProduceResponse| {
                t.partition_responses.iter().any(|p| p.error_code != NONE)
            };
            if answers.iter().any(failed) {
                Err(Closing::AcksNoneFailed)
            } else {
                Ok(vec![])
            }
        })
    }
}

fn answers(
    shape: Vec<TopicShape>,
    produced: Vec<Vec<Produced>>,
    version: i16,
) -> Vec<TopicProduceResponse> {
    let topic = |(shape, produced): (TopicShape, Vec<Produced>)| {
        let mut produced = VecDeque::from(produced);
        let partitions = shape.partitions.into_iter().filter_map(|(index, refused)| {
            let outcome = refused.map(Err).or_else(|| produced.pop_front())?;
            Some(partition_answer(index, outcome, version))
        });
        let response =
            TopicProduceResponse::default().with_partition_responses(partitions.collect());
        match shape.topic {
            sh_wire::TopicRef::Id(id) => response.with_topic_id(id.0),
            sh_wire::TopicRef::Name(name) => response.with_name(TopicName(name)),
        }
    };
    shape.into_iter().zip(produced).map(topic).collect()
}

fn partition_answer(index: i32, produced: Produced, version: i16) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index);
    match produced {
        Ok(Stored {
            base_offset,
            log_append_time,
            log_start,
        }) => {
            let answer = answer
                .with_base_offset(base_offset)
                .with_log_append_time_ms(log_append_time.unwrap_or(-1));
            if version >= 5 {
                answer.with_log_start_offset(log_start)
            } else {
                answer
            }
        }
        Err(Refused {
            failure,
            records,
            log_start,
        }) => {
            let failure = known_to(version, failure);
            let answer = answer
                .with_error_code(errors::code(&failure))
                .with_base_offset(-1)
                .with_log_append_time_ms(-1);
            let answer = match log_start {
                Some(log_start) if version >= 5 => answer.with_log_start_offset(log_start),
                _ => answer,
            };
            if version < RECORD_ERRORS_SINCE {
                return answer;
            }
            let message = (!failure.message.is_empty()).then_some(failure.message);
            answer
                .with_error_message(message.map(StrBytes::from_string))
                .with_record_errors(records.into_iter().map(record_error).collect())
        }
    }
}

/// Clients of older versions do not know that a transaction may be aborted and begun again.
fn known_to(version: i16, failure: Failure) -> Failure {
    match version < ABORTABLE_SINCE && failure.code == ErrorCode::TransactionAbortable {
        true => {
            let text = "Partition was not added to the transaction";
            Failure::new(ErrorCode::InvalidTxnState, text)
        }
        false => failure,
    }
}

fn record_error(RecordError { index, message }: RecordError) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(index)
        .with_batch_index_error_message(Some(StrBytes::from_string(message)))
}
