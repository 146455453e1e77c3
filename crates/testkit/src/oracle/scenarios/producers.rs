//! Idempotent producers: InitProducerId, sequences, DescribeProducers.
use std::time::Duration;

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    DescribeProducersRequest, InitProducerIdRequest, ProduceRequest,
    describe_producers_request::TopicRequest,
};

use super::{
    requests::{fetch, named, produce, wish},
    scenarios,
};
use crate::oracle::{
    Peer, Topic,
    batch::{RawBatch, record},
};

scenarios! {
    init_producer_id: "a producer id for whoever asks",
    idempotent_duplicates: "a batch sent again is answered with its first offset",
    idempotent_order: "gaps, new epochs and old ones",
    idempotent_wrap: "sequences start again after 2^31 - 1",
    idempotent_unknown: "producer ids that the partition never saw",
    idempotent_in_flight: "five batches at once, in and out of order",
    idempotent_odd: "half of the producer fields, negative sequences",
    describe_producers: "who writes to a partition",
}

/// A producer id of its own. A broker that has just started has none to give out for a moment.
async fn producer(peer: &mut Peer) -> Result<(i64, i16)> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    for _ in 0..100 {
        let answer = peer.quietly(4, &request).await?;
        if answer.error_code == 0 {
            return Ok((answer.producer_id.0, answer.producer_epoch));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no producer id within 5 s")
}

/// A batch of `count` records from a producer.
fn batch(
    peer: &Peer,
    topic: &Topic,
    version: i16,
    (id, epoch, sequence): (i64, i16, i32),
    count: usize,
) -> ProduceRequest {
    let records = (0..count)
        .map(|n| record("k", &format!("{sequence}+{n}")))
        .collect();
    produce(
        version,
        topic,
        0,
        RawBatch::new(peer.base_ms(), records)
            .producer(id, epoch, sequence)
            .encode(),
    )
}

async fn send(
    peer: &mut Peer,
    topic: &Topic,
    what: &str,
    who: (i64, i16, i32),
    count: usize,
) -> Result<()> {
    let request = batch(peer, topic, 9, who, count);
    peer.ask(what, 9, &request).await.map(drop)
}

async fn init_producer_id(peer: &mut Peer) -> Result<()> {
    producer(peer).await?;
    for version in 0..=5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        peer.ask("an idempotent producer", version, &request)
            .await?;
        let odd = request.clone().with_transaction_timeout_ms(-1);
        peer.ask("a timeout that does not matter", version, &odd)
            .await?;
        if version >= 3 {
            let again = request
                .clone()
                .with_producer_id(5.into())
                .with_producer_epoch(0);
            peer.ask(
                "an id of its own without a transactional id",
                version,
                &again,
            )
            .await?;
            let half = request.clone().with_producer_id(5.into());
            peer.ask("an id without an epoch", version, &half).await?;
        }
    }
    Ok(())
}

async fn idempotent_duplicates(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    for n in 0..7 {
        send(peer, &topic, &format!("batch {n}"), (id, epoch, n * 2), 2).await?;
    }
    for n in (0..7).rev() {
        send(
            peer,
            &topic,
            &format!("batch {n} again"),
            (id, epoch, n * 2),
            2,
        )
        .await?;
    }
    for version in 3..=13 {
        let request = batch(peer, &topic, version, (id, epoch, 12), 2);
        peer.ask("the last batch again", version, &request).await?;
        let request = batch(peer, &topic, version, (id, epoch, 0), 2);
        peer.ask("the first batch again", version, &request).await?;
    }
    send(
        peer,
        &topic,
        "the last batch, one record shorter",
        (id, epoch, 12),
        1,
    )
    .await?;
    send(
        peer,
        &topic,
        "the last batch, one record longer",
        (id, epoch, 12),
        3,
    )
    .await?;
    send(
        peer,
        &topic,
        "the second half of the last batch",
        (id, epoch, 13),
        1,
    )
    .await?;
    send(peer, &topic, "the next batch", (id, epoch, 14), 1).await?;
    peer.ask("read back", 12, &fetch(12, &topic, &[wish(0, 0)]))
        .await
        .map(drop)
}

async fn idempotent_order(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    send(peer, &topic, "sequence 0", (id, epoch, 0), 1).await?;
    send(peer, &topic, "a gap", (id, epoch, 2), 1).await?;
    send(peer, &topic, "the missing one", (id, epoch, 1), 1).await?;
    send(
        peer,
        &topic,
        "a new epoch that starts at 5",
        (id, epoch + 1, 5),
        1,
    )
    .await?;
    send(
        peer,
        &topic,
        "a new epoch that starts at 0",
        (id, epoch + 1, 0),
        1,
    )
    .await?;
    send(peer, &topic, "the old epoch", (id, epoch, 2), 1).await?;
    send(
        peer,
        &topic,
        "the old epoch's first batch again",
        (id, epoch, 0),
        1,
    )
    .await?;
    send(peer, &topic, "the new epoch goes on", (id, epoch + 1, 1), 1).await?;
    send(peer, &topic, "an epoch far ahead", (id, epoch + 100, 0), 1).await?;
    for version in [3, 7, 8, 13] {
        let request = batch(peer, &topic, version, (id, epoch + 100, 9), 1);
        peer.ask("a gap", version, &request).await?;
        let request = batch(peer, &topic, version, (id, epoch, 2), 1);
        peer.ask("the old epoch", version, &request).await?;
    }
    Ok(())
}

async fn idempotent_wrap(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    let last = i32::MAX;
    send(
        peer,
        &topic,
        "an unknown producer close to the end",
        (id, epoch, last - 2),
        2,
    )
    .await?;
    send(peer, &topic, "the batch over the end", (id, epoch, last), 3).await?;
    send(peer, &topic, "the same again", (id, epoch, last), 3).await?;
    send(peer, &topic, "and on", (id, epoch, 2), 1).await?;
    send(peer, &topic, "a gap after the end", (id, epoch, 9), 1).await?;
    let (id, epoch) = producer(peer).await?;
    send(
        peer,
        &topic,
        "up to the end exactly",
        (id, epoch, last - 1),
        2,
    )
    .await?;
    send(peer, &topic, "a start at 0", (id, epoch, 0), 1).await?;
    peer.ask("read back", 12, &fetch(12, &topic, &[wish(0, 0)]))
        .await
        .map(drop)
}

async fn idempotent_unknown(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    send(
        peer,
        &topic,
        "an own id that starts at 3",
        (id, epoch, 3),
        1,
    )
    .await?;
    let (id, epoch) = producer(peer).await?;
    for version in [3, 8, 13] {
        let request = batch(peer, &topic, version, (id + 1_000_000, epoch, 0), 1);
        peer.ask("an id that nobody gave out", version, &request)
            .await?;
    }
    send(
        peer,
        &topic,
        "an id that nobody gave out, at 7",
        (id + 2_000_000, epoch, 7),
        1,
    )
    .await?;
    send(
        peer,
        &topic,
        "and again at 0",
        (id + 2_000_000, epoch, 0),
        1,
    )
    .await?;
    send(peer, &topic, "with epoch 4 at 0", (id + 3_000_000, 4, 0), 1).await
}

async fn idempotent_in_flight(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    let at = |peer: &Peer, n: i32| batch(peer, &topic, 9, (id, epoch, n * 3), 3);
    let in_order: Vec<_> = (0..5).map(|n| at(peer, n)).collect();
    peer.ask_together("in order", 9, &in_order).await?;
    peer.ask_together("all again", 9, &in_order).await?;
    let swapped: Vec<_> = [5, 7, 6, 7, 8].map(|n| at(peer, n)).into();
    peer.ask_together("one out of order", 9, &swapped).await?;
    peer.ask("read back", 12, &fetch(12, &topic, &[wish(0, 0)]))
        .await
        .map(drop)
}

async fn idempotent_odd(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 1, &[]).await?;
    let (id, epoch) = producer(peer).await?;
    for version in [3, 7, 8, 13] {
        for (what, who) in [
            ("an id without epoch and sequence", (id, -1, -1)),
            ("an id and epoch without sequence", (id, epoch, -1)),
            ("a sequence of -2", (id, epoch, -2)),
            ("an epoch of -2", (id, -2, 0)),
            ("an epoch and sequence without id", (-1, epoch, 0)),
            ("a sequence without id", (-1, -1, 4)),
            ("an id of -2", (-2, 0, 0)),
        ] {
            let request = batch(peer, &topic, version, who, 1);
            peer.ask(what, version, &request).await?;
        }
        let records = vec![record("k", "v")];
        let transactional = RawBatch {
            attributes: 0x10,
            ..RawBatch::new(peer.base_ms(), records)
        };
        let request = produce(
            version,
            &topic,
            0,
            transactional.producer(id, epoch, 0).encode(),
        );
        peer.ask(
            "a transactional batch without a transaction",
            version,
            &request,
        )
        .await?;
    }
    peer.ask("what was stored", 12, &fetch(12, &topic, &[wish(0, 0)]))
        .await
        .map(drop)
}

async fn describe_producers(peer: &mut Peer) -> Result<()> {
    let topic = peer.topic("t", 2, &[]).await?;
    let ask = |name, partitions: Vec<i32>| {
        DescribeProducersRequest::default().with_topics(vec![
            TopicRequest::default()
                .with_name(name)
                .with_partition_indexes(partitions),
        ])
    };
    peer.ask("nobody yet", 0, &ask(topic.name.clone(), vec![0, 1]))
        .await?;
    let (id, epoch) = producer(peer).await?;
    send(peer, &topic, "a batch", (id, epoch, 0), 3).await?;
    let plain = RawBatch::new(peer.base_ms(), vec![record("k", "v")]).encode();
    peer.ask("a batch without producer", 9, &produce(9, &topic, 1, plain))
        .await?;
    peer.ask("one producer", 0, &ask(topic.name.clone(), vec![0, 1]))
        .await?;
    send(peer, &topic, "a new epoch", (id, epoch + 1, 0), 2).await?;
    peer.ask("the same producer", 0, &ask(topic.name.clone(), vec![0]))
        .await?;
    peer.ask("no partitions", 0, &ask(topic.name.clone(), vec![]))
        .await?;
    peer.ask(
        "partitions that are not",
        0,
        &ask(topic.name.clone(), vec![2, -1]),
    )
    .await?;
    peer.ask(
        "an unknown topic",
        0,
        &ask(named("nobody.made.this"), vec![0]),
    )
    .await?;
    peer.ask("an impossible name", 0, &ask(named("a b"), vec![0]))
        .await?;
    peer.ask("nothing", 0, &DescribeProducersRequest::default())
        .await
        .map(drop)
}
