//! Transactions that are open in a partition, while no coordinator knows that they are (KIP-664).
use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::Serialize;
use sh_client::{
    Admin, Client, ErrorCode, ProducerState, TopicPartition, TransactionDescription,
    TransactionFilter,
};

use super::{HangingArgs, millis, now_ms};
use crate::{
    duration,
    failure::Failure,
    output::{or_dash, table},
    session::{Session, existing, partitions},
    timestamp,
};

#[derive(Serialize)]
struct Hanging {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i32,
    coordinator_epoch: Option<i32>,
    start_offset: i64,
    /// Milliseconds since the epoch.
    last_timestamp: i64,
    silent_ms: i64,
}

pub async fn find(args: HangingArgs, session: &Session) -> Result<(), Failure> {
    let client = session.connect().await?;
    let places = places(&client, &args).await?;
    let admin = Admin::new(client);
    let (now, older) = (now_ms(), millis(args.older_than));
    let candidates = places.into_iter().map(async |place| {
        let producers = admin.describe_producers(&place.0, place.1).await?;
        let old = |p: &ProducerState| {
            p.current_txn_start_offset >= 0 && now.saturating_sub(p.last_timestamp) > older
        };
        let found = producers.into_iter().filter(old);
        Ok::<Vec<_>, Failure>(found.map(|p| (place.clone(), p)).collect())
    });
    let candidates: Vec<_> = try_join_all(candidates)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let known = known(&admin, &candidates).await?;
    let hanging: Vec<Hanging> = candidates
        .into_iter()
        .filter(|(place, p)| !is_known(known.get(&p.producer_id.0), place, p))
        .map(|(place, p)| hanging(place, &p, now))
        .collect();
    session
        .output()
        .show(&hanging, |hanging| text(hanging, args.older_than))
}

async fn places(client: &Client, args: &HangingArgs) -> Result<Vec<TopicPartition>, Failure> {
    let topics = match &args.topic {
        Some(name) => vec![existing(client, name).await?],
        None => client.topics().await?,
    };
    let mut places = Vec::new();
    for topic in topics {
        let named = partitions(&topic, &args.partition)?;
        places.extend(named.into_iter().map(|p| (topic.name.clone(), p)));
    }
    Ok(places)
}

/// What the coordinators know of the producers, by producer id.
async fn known(
    admin: &Admin,
    candidates: &[(TopicPartition, ProducerState)],
) -> Result<BTreeMap<i64, TransactionDescription>, Failure> {
    if candidates.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = TransactionFilter {
        producer_ids: candidates.iter().map(|(_, p)| p.producer_id.0).collect(),
        ..TransactionFilter::default()
    };
    let listed = admin.list_transactions(&filter).await?;
    let described = listed.into_iter().map(async |t| {
        match admin.describe_transaction(&t.transactional_id).await {
            Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => Ok(None),
            other => Ok::<_, Failure>(Some((t.producer_id, other?))),
        }
    });
    Ok(try_join_all(described)
        .await?
        .into_iter()
        .flatten()
        .collect())
}

/// Whether the coordinator will end it: it knows the producer, this epoch of it or a later one that fences it, and that
/// the partition is part of what is open.
fn is_known(
    transaction: Option<&TransactionDescription>,
    place: &TopicPartition,
    producer: &ProducerState,
) -> bool {
    transaction.is_some_and(|t| {
        t.partitions.contains(place) && i32::from(t.producer_epoch) >= producer.producer_epoch
    })
}

fn hanging((topic, partition): TopicPartition, producer: &ProducerState, now: i64) -> Hanging {
    Hanging {
        topic: topic.to_string(),
        partition,
        producer_id: producer.producer_id.0,
        producer_epoch: producer.producer_epoch,
        coordinator_epoch: Some(producer.coordinator_epoch).filter(|e| *e >= 0),
        start_offset: producer.current_txn_start_offset,
        last_timestamp: producer.last_timestamp,
        silent_ms: now.saturating_sub(producer.last_timestamp),
    }
}

fn text(hanging: &[Hanging], older_than: std::time::Duration) -> String {
    if hanging.is_empty() {
        let age = duration::shown(millis(older_than));
        return format!("no transaction hangs (of those silent for more than {age})");
    }
    let rows = hanging.iter().map(|h| {
        [
            h.topic.clone(),
            h.partition.to_string(),
            h.producer_id.to_string(),
            h.producer_epoch.to_string(),
            or_dash(h.coordinator_epoch),
            h.start_offset.to_string(),
            timestamp::shown(h.last_timestamp),
            duration::shown(h.silent_ms),
        ]
    });
    let table = table(
        [
            "topic",
            "partition",
            "producer-id",
            "producer-epoch",
            "coordinator-epoch",
            "start-offset",
            "last-timestamp",
            "silent",
        ],
        rows,
    );
    let abort = |h: &Hanging| {
        format!(
            "  streamctl txn abort --topic {} --partition {} --start-offset {}",
            h.topic, h.partition, h.start_offset
        )
    };
    let commands: Vec<String> = hanging.iter().map(abort).collect();
    format!("{table}\n\nTo end them:\n{}", commands.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(epoch: i16, partitions: &[(&str, i32)]) -> TransactionDescription {
        TransactionDescription {
            transactional_id: "id".into(),
            coordinator: 0,
            producer_id: 7,
            producer_epoch: epoch,
            state: "Ongoing".into(),
            timeout_ms: 60_000,
            start_ms: Some(1),
            partitions: partitions.iter().map(|(t, p)| ((*t).into(), *p)).collect(),
        }
    }

    #[test]
    fn what_the_coordinator_will_end_does_not_hang() {
        let place: TopicPartition = ("t".into(), 0);
        let open = ProducerState::default().with_producer_epoch(3);
        assert!(is_known(Some(&transaction(3, &[("t", 0)])), &place, &open));
        assert!(is_known(Some(&transaction(4, &[("t", 0)])), &place, &open));
        assert!(!is_known(Some(&transaction(2, &[("t", 0)])), &place, &open));
        assert!(!is_known(Some(&transaction(3, &[("t", 1)])), &place, &open));
        assert!(!is_known(None, &place, &open));
    }
}
