//! What coordinators and partitions know of transactions.
use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{Admin, ErrorCode, ProducerState, TransactionDescription, TransactionFilter};

use super::{ListArgs, millis, now_ms};
use crate::{
    duration,
    failure::{Exit, Failure},
    group::{by_topic, shown},
    output::{or_dash, table},
    session::{Session, existing, partitions},
    timestamp,
};

#[derive(Serialize)]
struct Listed {
    transactional_id: String,
    producer_id: i64,
    state: String,
}

pub async fn list(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let filter = TransactionFilter {
        states: args.state,
        producer_ids: args.producer_id,
        older_than_ms: args.older_than.map(millis),
        id_pattern: args.id_pattern,
    };
    let found = admin.list_transactions(&filter).await?;
    let lines: Vec<Listed> = found
        .into_iter()
        .map(|t| Listed {
            transactional_id: t.transactional_id,
            producer_id: t.producer_id,
            state: t.state,
        })
        .collect();
    session.output().show(&lines, |lines| {
        let rows = lines.iter().map(|l| {
            [
                l.transactional_id.clone(),
                l.producer_id.to_string(),
                l.state.clone(),
            ]
        });
        table(["transactional-id", "producer-id", "state"], rows)
    })
}

#[derive(Serialize)]
struct Described {
    transactional_id: String,
    coordinator: i32,
    producer_id: i64,
    producer_epoch: i16,
    state: String,
    timeout_ms: i32,
    /// While one is open.
    start_ms: Option<i64>,
    age_ms: Option<i64>,
    partitions: BTreeMap<String, Vec<i32>>,
}

pub async fn describe(ids: &[String], session: &Session) -> Result<(), Failure> {
    let admin = Admin::new(session.connect().await?);
    let now = now_ms();
    let described = ids.iter().map(async |id| {
        let found = existing_id(&admin, id).await?;
        Ok::<_, Failure>(Described {
            age_ms: found.start_ms.map(|start| (now - start).max(0)),
            transactional_id: found.transactional_id,
            coordinator: found.coordinator,
            producer_id: found.producer_id,
            producer_epoch: found.producer_epoch,
            state: found.state,
            timeout_ms: found.timeout_ms,
            start_ms: found.start_ms,
            partitions: by_topic(&found.partitions),
        })
    });
    let described = try_join_all(described).await?;
    session.output().show(&described, |described| {
        let rows = described.iter().map(|d| {
            [
                d.transactional_id.clone(),
                d.coordinator.to_string(),
                d.producer_id.to_string(),
                d.producer_epoch.to_string(),
                d.state.clone(),
                duration::shown(d.timeout_ms.into()),
                or_dash(d.start_ms.map(timestamp::shown)),
                or_dash(d.age_ms.map(duration::shown)),
                shown(&d.partitions),
            ]
        });
        table(
            [
                "transactional-id",
                "coordinator",
                "producer-id",
                "producer-epoch",
                "state",
                "timeout",
                "started",
                "age",
                "partitions",
            ],
            rows,
        )
    })
}

/// The id, or the failure that says that there is none.
pub async fn existing_id(admin: &Admin, id: &str) -> Result<TransactionDescription, Failure> {
    match admin.describe_transaction(id).await {
        Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => {
            let advice = "`streamctl txn list` shows those there are";
            Err(Failure::new(
                Exit::NotFound,
                format!("there is no transactional id {id}; {advice}"),
            ))
        }
        other => Ok(other?),
    }
}

#[derive(Serialize)]
struct Producer {
    partition: i32,
    producer_id: i64,
    producer_epoch: i32,
    last_sequence: i32,
    /// Milliseconds since the epoch.
    last_timestamp: Option<i64>,
    coordinator_epoch: Option<i32>,
    /// Where its open transaction begins.
    transaction_start_offset: Option<i64>,
}

impl Producer {
    fn new(partition: i32, state: ProducerState) -> Producer {
        let told = |n: i64| (n >= 0).then_some(n);
        Producer {
            partition,
            producer_id: state.producer_id.0,
            producer_epoch: state.producer_epoch,
            last_sequence: state.last_sequence,
            last_timestamp: told(state.last_timestamp),
            coordinator_epoch: Some(state.coordinator_epoch).filter(|e| *e >= 0),
            transaction_start_offset: told(state.current_txn_start_offset),
        }
    }
}

pub async fn producers(name: &str, named: &[i32], session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let topic = existing(&client, name).await?;
    let admin = Admin::new(client);
    let found = partitions(&topic, named)?
        .into_iter()
        .map(async |partition| {
            let states = admin.describe_producers(name, partition).await?;
            let producers = states.into_iter().map(|s| Producer::new(partition, s));
            Ok::<Vec<_>, Failure>(producers.collect())
        });
    let lines: Vec<Producer> = try_join_all(found).await?.into_iter().flatten().collect();
    session.output().show(&lines, |lines| {
        let rows = lines.iter().map(|p| {
            [
                p.partition.to_string(),
                p.producer_id.to_string(),
                p.producer_epoch.to_string(),
                p.last_sequence.to_string(),
                or_dash(p.last_timestamp.map(timestamp::shown)),
                or_dash(p.coordinator_epoch),
                or_dash(p.transaction_start_offset),
            ]
        });
        table(
            [
                "partition",
                "producer-id",
                "producer-epoch",
                "last-sequence",
                "last-timestamp",
                "coordinator-epoch",
                "transaction-start-offset",
            ],
            rows,
        )
    })
}
