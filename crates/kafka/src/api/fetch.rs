//! Fetch (KIP-74, KIP-227, KIP-320, KIP-392, KIP-516): records leave as slices of the cache.
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use sh_base::{ErrorCode, Failure, batch::Batch};
use sh_node::{FetchPartition, FetchPlan, Fetched, Records, Room, StoredBatch, TopicChoice};
use sh_wire::{
    AbortedTransaction, DivergingEpoch, FetchResponse, FetchedBatch, FetchedPartition,
    FetchedTopic, StrBytes, TopicRef, decode_request,
};

use super::names;
use crate::{
    connection::Answering,
    door::{Charge, Ctx},
    errors::{self, NONE, code_of},
    frames::Incoming,
    sessions::{self, Asked, NO_SESSION, Plan, Wanted},
};

/// Topics are named by id from here on.
const TOPIC_ID_SINCE: i16 = 13;
/// Sessions came with this version.
const SESSION_SINCE: i16 = 7;
const READ_COMMITTED: i8 = 1;

pub fn start(ctx: Ctx, incoming: Incoming<Charge>) -> Answering {
    Box::pin(async move {
        let Incoming {
            mut header,
            body,
            charge,
        } = incoming;
        let request: FetchRequest = decode_request(&header, &body)?;
        // A long poll must not hold the memory of a request that it has read; the client id is a slice of it, too.
        header.client_id = None;
        drop((body, charge));
        let (response, room) = answer(&ctx, header.version, request).await;
        let mut chunks = response.encode(header.correlation_id, header.version)?;
        if let (Some(last), Some(room)) = (chunks.last_mut(), room) {
            *last = held(last, room);
        }
        Ok(chunks)
    })
}

/// The last slice of an answer, with the room of the whole answer: given back when it is sent, or nobody takes it any more.
fn held(last: &Bytes, room: Room) -> Bytes {
    struct Held(
        Bytes,
        #[expect(dead_code, reason = "dropping it is its use")] Room,
    );
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(last.clone(), room))
}

async fn answer(ctx: &Ctx, version: i16, request: FetchRequest) -> (FetchResponse, Option<Room>) {
    let limits = limits(ctx, &request);
    let read_committed = limits.read_committed;
    let asked = asked(ctx, version, request);
    let (org, by_id) = (asked.org.clone(), asked.by_id);
    let now = ctx.node().env().mono();
    let plan = match ctx.door.sessions.begin(asked, now) {
        Ok(plan) => plan,
        Err(code) => return (session_error(code), None),
    };
    let fetch = FetchPlan {
        partitions: plan.wanted().iter().map(|w| partition(ctx, w)).collect(),
        ..limits
    };
    let (fetched, room) = ctx.node().fetch(&ctx.caller, &fetch).await;
    let answers = answers(plan.wanted(), fetched, read_committed);
    let sessions = &ctx.door.sessions;
    let response = match plan {
        Plan::Sessionless(wanted) => response(NO_SESSION, wanted, answers),
        Plan::Full(wanted) if version < SESSION_SINCE => response(NO_SESSION, wanted, answers),
        Plan::Full(wanted) => {
            let draw = || ctx.node().env().next_u64();
            let id = sessions.create((org, by_id), wanted.clone(), &answers, now, draw);
            response(id, wanted, answers)
        }
        Plan::Incremental {
            session_id,
            epoch,
            wanted,
        } => match sessions.tell(session_id, epoch, &wanted, &answers) {
            Ok(news) => {
                let mut told = news.iter();
                let both = wanted.into_iter().zip(answers);
                let (wanted, answers) = both.filter(|_| told.next() == Some(&true)).unzip();
                response(session_id, wanted, answers)
            }
            Err(code) => session_error(code),
        },
    };
    (response, Some(room))
}

/// The plan without its partitions.
fn limits(ctx: &Ctx, request: &FetchRequest) -> FetchPlan {
    let size = |n: i32| usize::try_from(n).unwrap_or(0);
    let max_bytes = size(request.max_bytes).min(ctx.door.config.fetch_bytes_max);
    FetchPlan {
        max_wait: Duration::from_millis(size(request.max_wait_ms) as u64),
        min_bytes: size(request.min_bytes).min(max_bytes),
        max_bytes,
        read_committed: request.isolation_level == READ_COMMITTED,
        partitions: Vec::new(),
    }
}

fn asked(ctx: &Ctx, version: i16, request: FetchRequest) -> Asked {
    let by_id = version >= TOPIC_ID_SINCE;
    let choice = |name: &kafka_protocol::messages::TopicName, id: uuid::Uuid| {
        if by_id {
            names::by_id(id)
        } else {
            names::by_name(name)
        }
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let choice = choice(&topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.iter().map(|p| Wanted {
            partition: (choice.clone(), p.partition),
            offset: p.fetch_offset,
            max_bytes: p.partition_max_bytes,
            leader_epoch: known(p.current_leader_epoch),
            last_fetched_epoch: known(p.last_fetched_epoch),
        }));
    }
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let choice = choice(&topic.topic, topic.topic_id);
        topic
            .partitions
            .iter()
            .map(move |index| (choice.clone(), *index))
    });
    let wanted = sessions::once_each(wanted);
    Asked {
        org: ctx.caller.org.clone(),
        session_id: request.session_id,
        epoch: request.session_epoch,
        forgotten: forgotten.collect(),
        wanted,
        by_id,
    }
}

/// The wire writes -1 for an epoch that is not known.
fn known(epoch: i32) -> Option<i32> {
    (epoch >= 0).then_some(epoch)
}

fn partition(ctx: &Ctx, wanted: &Wanted) -> FetchPartition {
    let (topic, index) = wanted.partition.clone();
    FetchPartition {
        topic,
        index,
        offset: wanted.offset,
        max_bytes: usize::try_from(wanted.max_bytes)
            .unwrap_or(0)
            .min(ctx.door.config.fetch_bytes_max),
        leader_epoch: wanted.leader_epoch,
        last_fetched_epoch: wanted.last_fetched_epoch,
    }
}

fn session_error(code: ErrorCode) -> FetchResponse {
    FetchResponse {
        error_code: errors::code(&code.into()),
        ..FetchResponse::default()
    }
}

fn answers(wanted: &[Wanted], fetched: Vec<Fetched>, committed: bool) -> Vec<FetchedPartition> {
    let both = wanted.iter().zip(fetched);
    both.map(|(wanted, fetched)| partition_answer(wanted.partition.1, fetched, committed))
        .collect()
}

fn partition_answer(index: i32, fetched: Fetched, committed: bool) -> FetchedPartition {
    match fetched.and_then(|records| told(index, records, committed)) {
        Ok(answer) => answer,
        Err(failure) => {
            let code = errors::code(&failure);
            FetchedPartition {
                aborted_transactions: is_unknown(code).then(Vec::new),
                ..FetchedPartition::empty(index, code)
            }
        }
    }
}

fn told(index: i32, records: Records, committed: bool) -> Result<FetchedPartition, Failure> {
    let Records {
        batches,
        ends,
        aborted,
        diverging,
    } = records;
    let aborted = aborted
        .into_iter()
        .map(|(producer, first_offset)| AbortedTransaction {
            producer_id: producer.0,
            first_offset,
        });
    Ok(FetchedPartition {
        high_watermark: ends.next,
        last_stable_offset: ends.last_stable,
        log_start_offset: ends.log_start,
        aborted_transactions: committed.then(|| aborted.collect()),
        records: batches.into_iter().map(placed).collect::<Result<_, _>>()?,
        diverging_epoch: diverging.map(|(epoch, end_offset)| DivergingEpoch { epoch, end_offset }),
        ..FetchedPartition::empty(index, NONE)
    })
}

fn placed(stored: StoredBatch) -> Result<FetchedBatch, Failure> {
    let StoredBatch {
        base_offset,
        leader_epoch,
        bytes,
    } = stored;
    let batch = Batch::parse_trusted(bytes).map_err(|e| {
        let text = format!("the batch at offset {base_offset} is damaged: {e}");
        Failure::new(ErrorCode::StorageUnavailable, text)
    })?;
    Ok(FetchedBatch::new(&batch, base_offset, leader_epoch))
}

/// Apache Kafka answers unknown ids, and then unknown partitions, after all others.
fn rank(answer: &FetchedPartition) -> u8 {
    match is_unknown(answer.error_code) {
        false => 0,
        true if answer.error_code == code_of(ErrorCode::UnknownTopicId) => 1,
        true => 2,
    }
}

fn is_unknown(error_code: i16) -> bool {
    error_code == code_of(ErrorCode::UnknownTopicOrPartition)
        || error_code == code_of(ErrorCode::UnknownTopicId)
}

/// Neighbours of one topic are told together.
fn response(session_id: i32, wanted: Vec<Wanted>, answers: Vec<FetchedPartition>) -> FetchResponse {
    let mut both: Vec<_> = wanted.into_iter().zip(answers).collect();
    both.sort_by_key(|(_, answer)| rank(answer));
    let mut topics: Vec<FetchedTopic> = Vec::new();
    let mut last: Option<TopicChoice> = None;
    for (wanted, answer) in both {
        let (choice, _) = wanted.partition;
        match topics.last_mut().filter(|_| last.as_ref() == Some(&choice)) {
            Some(topic) => topic.partitions.push(answer),
            None => topics.push(FetchedTopic {
                topic: told_as(&choice),
                partitions: vec![answer],
            }),
        }
        last = Some(choice);
    }
    FetchResponse {
        session_id,
        topics,
        ..FetchResponse::default()
    }
}

fn told_as(choice: &TopicChoice) -> TopicRef {
    match choice {
        TopicChoice::Name(name) => TopicRef::Name(StrBytes::from_string(name.clone())),
        TopicChoice::Id(id) => TopicRef::Id(*id),
    }
}
