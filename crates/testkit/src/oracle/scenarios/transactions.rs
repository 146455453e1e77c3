//! Transactions: sessions, the flow of version 2 and the classic one, fencing.
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest,
    GroupId, InitProducerIdRequest, ProduceRequest, TransactionalId,
    add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
};

use super::{
    requests::{list_offsets, produce, text},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{RawBatch, record},
};

scenarios! {
    txn_sessions: "who begins a session, and who is fenced by it",
    txn_version_2: "each transaction has an epoch of its own",
    txn_version_2_ends: "ends that are asked for again, late, or for nothing",
    txn_classic: "partitions are added first, and the epoch stays",
    txn_classic_ends: "ends of the classic flow: again, late, for nothing",
    txn_added: "what may be added to a transaction, and by whom",
    txn_verified: "brokers ask whether partitions are in a transaction",
    txn_batches: "batches that belong to no open transaction",
}

pub(super) type Producer = (i64, i16);

pub(super) fn id(peer: &Peer, name: &str) -> TransactionalId {
    TransactionalId(peer.name(name).0)
}

pub(super) fn init(id: &TransactionalId, known: Producer) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(known.0.into())
        .with_producer_epoch(known.1)
}

pub(super) const NOBODY: Producer = (-1, -1);

/// Begins a session, however long that takes here: Kafka loads its coordinator, and aborts what was left open.
pub(super) async fn begin(peer: &mut Peer, id: &TransactionalId) -> Result<Producer> {
    // A new Kafka makes its topic of transactions when somebody looks for a coordinator.
    let find = FindCoordinatorRequest::default().with_key(id.0.clone());
    peer.quietly(2, &find.with_key_type(1)).await?;
    for _ in 0..200 {
        let answer = peer.quietly(4, &init(id, NOBODY)).await?;
        match answer.error_code {
            0 => return Ok((answer.producer_id.0, answer.producer_epoch)),
            14 | 15 | 16 | 51 => tokio::time::sleep(Duration::from_millis(50)).await,
            code => bail!("a session cannot begin: error {code}"),
        }
    }
    bail!("no session within 10 s")
}

/// A transactional batch of one record, in a request of its own.
pub(super) fn write(
    peer: &Peer,
    version: i16,
    topic: &Topic,
    (id, partition): (&TransactionalId, i32),
    ((producer, epoch), sequence): (Producer, i32),
) -> ProduceRequest {
    let records = vec![record("k", &format!("{epoch}+{sequence}"))];
    let batch = RawBatch {
        attributes: 0x10,
        ..RawBatch::new(peer.base_ms(), records)
    };
    let batch = batch.producer(producer, epoch, sequence).encode();
    produce(version, topic, partition, batch).with_transactional_id(Some(id.clone()))
}

pub(super) fn end(
    id: &TransactionalId,
    (producer, epoch): Producer,
    commit: bool,
) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(id.clone())
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch)
        .with_committed(commit)
}

/// Asks until the transaction before is really over: Kafka writes its markers after the answer.
macro_rules! ask {
    ($peer:expr, $what:expr, $version:expr, $request:expr, $answer:ident => $code:expr) => {{
        let request = $request;
        let mut tries = 0;
        loop {
            let $answer = $peer.quietly($version, &request).await?;
            if $code != 51 || tries > 200 {
                $peer.write_down($what, $version, &$answer);
                break $answer;
            }
            tries += 1;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }};
}
pub(super) use ask;

async fn ask_init(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: InitProducerIdRequest,
) -> Result<Producer> {
    let answer = ask!(peer, what, version, request, a => a.error_code);
    Ok((answer.producer_id.0, answer.producer_epoch))
}

pub(super) async fn ask_end(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: EndTxnRequest,
) -> Result<()> {
    ask!(peer, what, version, request, a => a.error_code);
    Ok(())
}

pub(super) async fn ask_write(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: ProduceRequest,
) -> Result<()> {
    ask!(peer, what, version, request, a => a.responses[0].partition_responses[0].error_code);
    Ok(())
}

fn added(topic: &Topic, partitions: &[i32]) -> AddPartitionsToTxnTopic {
    AddPartitionsToTxnTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.to_vec())
}

fn add(
    id: &TransactionalId,
    (producer, epoch): Producer,
    topics: Vec<AddPartitionsToTxnTopic>,
) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id.clone())
        .with_v3_and_below_producer_id(producer.into())
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(topics)
}

async fn ask_add(
    peer: &mut Peer,
    what: &str,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> Result<()> {
    ask!(peer, what, version, request, a => a.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code);
    Ok(())
}

/// Waits until the partition ends at an offset and nothing holds its readers up.
pub(super) async fn settled(peer: &mut Peer, topic: &Topic, index: i32, end: i64) -> Result<()> {
    for _ in 0..200 {
        let request = list_offsets(5, &topic.name, &[(index, -1, -1)]).with_isolation_level(1);
        let answer = peer.quietly(5, &request).await?;
        if answer.topics[0].partitions[0].offset == end {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("partition {index} does not end at {end} within 5 s")
}

async fn txn_sessions(peer: &mut Peer) -> Result<()> {
    let tx = id(peer, "tx");
    begin(peer, &tx).await?;
    for version in 0..=5 {
        ask_init(peer, "another session", version, init(&tx, NOBODY)).await?;
        let odd = |ms| init(&tx, NOBODY).with_transaction_timeout_ms(ms);
        for ms in [0, -1, 900_000, 900_001] {
            ask_init(peer, &format!("a timeout of {ms}"), version, odd(ms)).await?;
        }
        let empty = TransactionalId(text(""));
        ask_init(peer, "an empty id", version, init(&empty, NOBODY)).await?;
    }
    for version in 3..=5 {
        let now = begin(peer, &tx).await?;
        let next = ask_init(peer, "by its epoch", version, init(&tx, now)).await?;
        ask_init(peer, "by the epoch before", version, init(&tx, now)).await?;
        let later = ask_init(peer, "by its new epoch", version, init(&tx, next)).await?;
        ask_init(peer, "by an epoch that is over", version, init(&tx, now)).await?;
        ask_init(
            peer,
            "by an epoch to come",
            version,
            init(&tx, (now.0, 500)),
        )
        .await?;
        ask_init(
            peer,
            "by another id",
            version,
            init(&tx, (now.0 + 77, later.1)),
        )
        .await?;
        ask_init(peer, "an id without epoch", version, init(&tx, (now.0, -1))).await?;
    }
    let unknown = id(peer, "unknown");
    for version in 3..=5 {
        ask_init(peer, "an epoch of nobody", version, init(&unknown, (1, 1))).await?;
    }
    Ok(())
}

async fn txn_version_2(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let (producer, first) = begin(peer, &tx).await?;
    for round in 0..3 {
        let now = (producer, first + round);
        for partition in [0, 1] {
            let request = write(peer, 12, &topic, (&tx, partition), (now, 0));
            ask_write(peer, "a batch", 12, request).await?;
            let request = write(peer, 12, &topic, (&tx, partition), (now, 0));
            ask_write(peer, "the batch again", 12, request).await?;
            let request = write(peer, 13, &topic, (&tx, partition), (now, 1));
            ask_write(peer, "the next", 13, request).await?;
        }
        ask_end(peer, &format!("end {round}"), 5, end(&tx, now, round != 1)).await?;
        // Before its markers are written, Kafka takes late batches.
        settled(peer, &topic, 0, i64::from(round + 1) * 3).await?;
        settled(peer, &topic, 1, i64::from(round + 1) * 3).await?;
        let late = write(peer, 12, &topic, (&tx, 0), (now, 2));
        ask_write(peer, "a late batch", 12, late).await?;
    }
    Ok(())
}

async fn txn_version_2_ends(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let tx = id(peer, "tx");
    let (producer, epoch) = begin(peer, &tx).await?;
    let at = |bumps| (producer, epoch + bumps);
    ask_end(peer, "a commit of nothing", 5, end(&tx, at(0), true)).await?;
    ask_end(peer, "an abort of nothing", 5, end(&tx, at(0), false)).await?;
    ask_end(peer, "the abort again", 5, end(&tx, at(0), false)).await?;
    ask_end(peer, "a commit instead", 5, end(&tx, at(0), true)).await?;
    let request = write(peer, 12, &topic, (&tx, 0), (at(1), 0));
    ask_write(peer, "a batch", 12, request).await?;
    ask_end(peer, "a late end", 5, end(&tx, at(0), true)).await?;
    ask_end(peer, "an end to come", 5, end(&tx, at(2), true)).await?;
    ask_end(peer, "a commit", 5, end(&tx, at(1), true)).await?;
    settled(peer, &topic, 0, 2).await?;
    ask_end(peer, "the commit again", 5, end(&tx, at(1), true)).await?;
    ask_end(peer, "an abort instead", 5, end(&tx, at(1), false)).await?;
    ask_end(
        peer,
        "a commit of nothing after it",
        5,
        end(&tx, at(2), true),
    )
    .await?;
    ask_end(
        peer,
        "an abort of nothing after it",
        5,
        end(&tx, at(2), false),
    )
    .await?;
    ask_end(
        peer,
        "another producer",
        5,
        end(&tx, (producer + 77, epoch), true),
    )
    .await?;
    ask_end(peer, "nobody's id", 5, end(&id(peer, "other"), at(2), true)).await?;
    ask_end(
        peer,
        "an empty id",
        5,
        end(&TransactionalId(text("")), at(2), true),
    )
    .await
}

async fn txn_classic(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let now = begin(peer, &tx).await?;
    for round in 0..3 {
        for version in 0..=3 {
            let request = add(&tx, now, vec![added(&topic, &[0, 1])]);
            ask_add(peer, "both partitions", version, request).await?;
        }
        for version in [9, 10, 11] {
            let sequence = round * 3 + i32::from(version) - 9;
            let request = write(peer, version, &topic, (&tx, 0), (now, sequence));
            ask_write(peer, "a batch", version, request).await?;
        }
        ask_end(peer, &format!("end {round}"), 3, end(&tx, now, round != 1)).await?;
        settled(peer, &topic, 0, i64::from(round + 1) * 4).await?;
        settled(peer, &topic, 1, i64::from(round + 1)).await?;
    }
    for version in 0..=4 {
        ask_end(peer, "the end again", version, end(&tx, now, true)).await?;
        ask_end(peer, "another end", version, end(&tx, now, false)).await?;
    }
    Ok(())
}

async fn txn_classic_ends(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let tx = id(peer, "tx");
    let old = begin(peer, &tx).await?;
    let now = begin(peer, &tx).await?;
    for version in 0..=4 {
        ask_end(peer, "a commit of nothing", version, end(&tx, now, true)).await?;
        ask_end(peer, "an abort of nothing", version, end(&tx, now, false)).await?;
        ask_end(peer, "a zombie", version, end(&tx, old, true)).await?;
        ask_end(
            peer,
            "an epoch to come",
            version,
            end(&tx, (now.0, 500), true),
        )
        .await?;
        ask_end(
            peer,
            "another producer",
            version,
            end(&tx, (now.0 + 77, now.1), true),
        )
        .await?;
        ask_end(
            peer,
            "nobody's id",
            version,
            end(&id(peer, "other"), now, true),
        )
        .await?;
    }
    ask_add(
        peer,
        "a partition",
        3,
        add(&tx, now, vec![added(&topic, &[0])]),
    )
    .await?;
    let request = write(peer, 11, &topic, (&tx, 0), (now, 0));
    ask_write(peer, "a batch", 11, request).await?;
    let next = begin(peer, &tx).await?;
    settled(peer, &topic, 0, 2).await?;
    peer.write_down(
        "epochs that a session over an open transaction took",
        4,
        &(next.1 - now.1),
    );
    ask_end(peer, "the zombie's commit", 3, end(&tx, now, true)).await
}

async fn txn_added(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let old = begin(peer, &tx).await?;
    let now = begin(peer, &tx).await?;
    let unknown = super::requests::unknown("nobody.made.this");
    let group = GroupId(peer.name("g").0);
    for version in 0..=3 {
        let both = vec![added(&topic, &[0]), added(&unknown, &[0])];
        ask_add(peer, "one unknown topic", version, add(&tx, now, both)).await?;
        let odd = vec![added(&topic, &[0, 9])];
        ask_add(peer, "one unknown partition", version, add(&tx, now, odd)).await?;
        let one = || vec![added(&topic, &[1])];
        ask_add(peer, "a zombie", version, add(&tx, old, one())).await?;
        ask_add(
            peer,
            "another producer",
            version,
            add(&tx, (now.0 + 77, 0), one()),
        )
        .await?;
        ask_add(
            peer,
            "nobody's id",
            version,
            add(&id(peer, "other"), now, one()),
        )
        .await?;
        ask_add(
            peer,
            "an empty id",
            version,
            add(&TransactionalId(text("")), now, one()),
        )
        .await?;
    }
    for version in 0..=4 {
        let offsets = |id: &TransactionalId, (producer, epoch): Producer| {
            AddOffsetsToTxnRequest::default()
                .with_transactional_id(id.clone())
                .with_producer_id(producer.into())
                .with_producer_epoch(epoch)
                .with_group_id(group.clone())
        };
        for (what, request) in [
            ("a zombie's group", offsets(&tx, old)),
            ("another producer's group", offsets(&tx, (now.0 + 77, 0))),
            ("nobody's group", offsets(&id(peer, "other"), now)),
            ("a group", offsets(&tx, now)),
        ] {
            ask!(peer, what, version, request, a => a.error_code);
        }
    }
    ask_end(peer, "an end", 3, end(&tx, now, false)).await
}

async fn txn_verified(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let now = begin(peer, &tx).await?;
    let batched = |(producer, epoch): Producer, verify_only, partitions: &[i32]| {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(tx.clone())
            .with_producer_id(producer.into())
            .with_producer_epoch(epoch)
            .with_verify_only(verify_only)
            .with_topics(vec![added(&topic, partitions)]);
        AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
    };
    for version in [4, 5] {
        for (what, request) in [
            ("none is open", batched(now, true, &[0])),
            ("another epoch", batched((now.0, now.1 + 1), true, &[0])),
            ("another producer", batched((now.0 + 77, 0), true, &[0])),
        ] {
            peer.ask(what, version, &request).await?;
        }
    }
    peer.ask("it is added", 4, &batched(now, false, &[0]))
        .await?;
    for version in [4, 5] {
        peer.ask("it is in it", version, &batched(now, true, &[0]))
            .await?;
        peer.ask("one is not in it", version, &batched(now, true, &[0, 1]))
            .await?;
    }
    ask_end(peer, "an end", 3, end(&tx, now, false)).await
}

async fn txn_batches(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let tx = id(peer, "tx");
    let old = begin(peer, &tx).await?;
    let now = begin(peer, &tx).await?;
    for version in 9..=11 {
        let request = write(peer, version, &topic, (&tx, 0), (now, 0));
        ask_write(peer, "a partition that was not added", version, request).await?;
        let request = write(peer, version, &topic, (&id(peer, "other"), 0), (now, 0));
        ask_write(peer, "nobody's id", version, request).await?;
    }
    for version in 9..=13 {
        let request = write(peer, version, &topic, (&tx, 0), (old, 0));
        ask_write(peer, "a zombie", version, request).await?;
        let request = write(peer, version, &topic, (&tx, 0), ((now.0 + 77, 0), 0));
        ask_write(peer, "another producer", version, request).await?;
    }
    let request = write(peer, 12, &topic, (&tx, 0), (now, 5));
    ask_write(peer, "a first batch with a sequence", 12, request).await?;
    let request = write(peer, 12, &topic, (&tx, 0), (now, 0));
    ask_write(peer, "a batch", 12, request).await?;
    let request = write(peer, 12, &topic, (&tx, 0), (now, 7));
    ask_write(peer, "a gap", 12, request).await?;
    let plain = RawBatch::new(peer.base_ms(), vec![record("k", "plain")]);
    let plain = plain.producer(now.0, now.1, 1).encode();
    let request = produce(9, &topic, 0, plain.clone());
    ask_write(peer, "outside of the open transaction", 9, request).await?;
    let request = produce(9, &topic, 1, plain).with_transactional_id(Some(tx.clone()));
    ask_write(peer, "not transactional in its request", 9, request).await?;
    ask_end(peer, "an end", 5, end(&tx, now, false)).await?;
    settled(peer, &topic, 0, 2).await
}
