//! Transactions over the wire, in both flows.
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, EndTxnResponse, FetchRequest, FindCoordinatorRequest, InitProducerIdRequest,
    InitProducerIdResponse, ListTransactionsRequest, ProducerId, TransactionalId,
    WriteTxnMarkersRequest,
    add_partitions_to_txn_request::AddPartitionsToTxnTopic,
    describe_producers_request::TopicRequest,
    fetch_response::PartitionData,
    write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
};
use sh_base::batch::{Batch, BatchBuilder, BatchProducer, Codec};
use sh_client::Connection;

use crate::world::{NOW_MS, World, fetch, produce, text, topic_name};

fn id() -> TransactionalId {
    TransactionalId(text("tx"))
}

async fn init(client: &Connection, version: i16) -> InitProducerIdResponse {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    client.call(&request, version).await.unwrap()
}

/// A transactional batch of one record.
fn batch(producer: i64, epoch: i16, base_sequence: i32, value: &str) -> Batch {
    let producer = BatchProducer {
        id: sh_base::ProducerId(producer),
        epoch,
        base_sequence,
    };
    let mut builder = BatchBuilder::new(Codec::None)
        .producer(producer)
        .transactional();
    builder.push(NOW_MS, None, Some(value.as_bytes()), &[]);
    builder.build().unwrap()
}

/// Writes to partitions of "t"; the error codes and offsets.
async fn write(client: &Connection, version: i16, batches: &[(i32, &Batch)]) -> Vec<(i16, i64)> {
    let request = produce("t", -1, batches).with_transactional_id(Some(id()));
    let answer = client.call(&request, version).await.unwrap();
    let partitions = &answer.responses[0].partition_responses;
    let told = partitions.iter().map(|p| (p.error_code, p.base_offset));
    told.collect()
}

async fn end(client: &Connection, version: i16, at: (i64, i16), commit: bool) -> EndTxnResponse {
    let request = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(ProducerId(at.0))
        .with_producer_epoch(at.1)
        .with_committed(commit);
    client.call(&request, version).await.unwrap()
}

async fn read(client: &Connection, isolation: i8, partition: i32, offset: i64) -> PartitionData {
    let request: FetchRequest = fetch("t", &[(partition, offset)]).with_isolation_level(isolation);
    let answer = client.call(&request, 12).await.unwrap();
    answer.responses[0].partitions[0].clone()
}

/// Offset of each batch, and whether it is a marker.
fn batches(data: &PartitionData) -> Vec<(i64, bool)> {
    let records = data.records.clone().unwrap_or_default();
    let all = Batch::parse_all(records).unwrap();
    all.iter()
        .map(|b| (b.base_offset(), b.header().is_control()))
        .collect()
}

fn aborted(data: &PartitionData) -> Vec<(i64, i64)> {
    let all = data.aborted_transactions.clone().unwrap_or_default();
    all.iter()
        .map(|t| (t.producer_id.0, t.first_offset))
        .collect()
}

const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;

#[tokio::test]
async fn a_transaction_of_version_2_becomes_visible_as_a_whole() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let client = world.connect().await;
    let begun = init(&client, 5).await;
    let (producer, epoch) = (begun.producer_id.0, begun.producer_epoch);
    assert_eq!((begun.error_code, epoch), (0, 0));

    let (a, b) = (batch(producer, 0, 0, "a"), batch(producer, 0, 0, "b"));
    assert_eq!(
        write(&client, 12, &[(0, &a), (1, &b)]).await,
        [(0, 0), (0, 0)]
    );
    // A retried batch is where it was.
    assert_eq!(write(&client, 12, &[(0, &a)]).await, [(0, 0)]);
    let open = read(&client, COMMITTED, 0, 0).await;
    assert_eq!((open.high_watermark, open.last_stable_offset), (1, 0));
    assert_eq!(batches(&open), []);
    assert_eq!(
        batches(&read(&client, UNCOMMITTED, 0, 0).await),
        [(0, false)]
    );

    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id()]);
    let described = client.call(&request, 0).await.unwrap().transaction_states[0].clone();
    assert_eq!(described.transaction_state.as_str(), "Ongoing");
    assert_eq!(described.topics[0].partitions, [0, 1]);
    let topic = TopicRequest::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let known = client.call(&request, 0).await.unwrap();
    let known = &known.topics[0].partitions[0].active_producers[0];
    assert_eq!(
        (known.current_txn_start_offset, known.coordinator_epoch),
        (0, -1)
    );

    let ended = end(&client, 5, (producer, 0), true).await;
    assert_eq!((ended.error_code, ended.producer_epoch), (0, 1));
    assert_eq!(
        end(&client, 5, (producer, 0), true).await,
        ended,
        "asked again"
    );
    for partition in [0, 1] {
        let done = read(&client, COMMITTED, partition, 0).await;
        assert_eq!(batches(&done), [(0, false), (1, true)]);
        assert_eq!((done.last_stable_offset, aborted(&done)), (2, vec![]));
    }
    // The epoch is over, whatever comes late.
    assert_eq!(write(&client, 12, &[(0, &a)]).await[0].0, 47);
    let next = batch(producer, 1, 0, "c");
    assert_eq!(write(&client, 12, &[(0, &next)]).await, [(0, 2)]);
    assert_eq!(
        end(&client, 5, (producer, 0), true).await.error_code,
        90,
        "a late end"
    );
}

#[tokio::test]
async fn what_was_aborted_is_told_to_those_who_read_committed_records_only() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let producer = init(&client, 5).await.producer_id.0;
    for epoch in 0..3 {
        let one = batch(producer, epoch, 0, "x");
        write(&client, 12, &[(0, &one)]).await;
        end(&client, 5, (producer, epoch), epoch == 1).await;
    }
    let all = read(&client, COMMITTED, 0, 0).await;
    assert_eq!(batches(&all).len(), 6);
    assert_eq!(aborted(&all), [(producer, 0), (producer, 4)]);
    assert_eq!(
        aborted(&read(&client, COMMITTED, 0, 2).await),
        [(producer, 4)]
    );
    assert_eq!(
        batches(&read(&client, UNCOMMITTED, 0, 5).await),
        [(5, true)]
    );
    let uncommitted = read(&client, UNCOMMITTED, 0, 0).await;
    assert_eq!(uncommitted.aborted_transactions, None);
}

#[tokio::test]
async fn in_the_classic_flow_partitions_are_added_first() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let client = world.connect().await;
    let producer = init(&client, 3).await.producer_id.0;
    let first = batch(producer, 0, 0, "a");
    assert_eq!(write(&client, 9, &[(0, &first)]).await[0].0, 48);
    assert_eq!(write(&client, 11, &[(0, &first)]).await[0].0, 120);
    let topic = |partitions| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(partitions)
    };
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(ProducerId(producer))
        .with_v3_and_below_producer_epoch(0);
    let wrong = add
        .clone()
        .with_v3_and_below_topics(vec![topic(vec![0, 9])]);
    let answer = client.call(&wrong, 3).await.unwrap();
    let codes = &answer.results_by_topic_v3_and_below[0].results_by_partition;
    let codes: Vec<i16> = codes.iter().map(|p| p.partition_error_code).collect();
    assert_eq!(codes, [55, 3], "all or none");
    let right = add.with_v3_and_below_topics(vec![topic(vec![0, 1])]);
    client.call(&right, 3).await.unwrap();
    assert_eq!(write(&client, 9, &[(0, &first)]).await, [(0, 0)]);
    assert_eq!(end(&client, 3, (producer, 0), false).await.error_code, 0);
    assert_eq!(
        end(&client, 3, (producer, 0), false).await.error_code,
        0,
        "again"
    );
    assert_eq!(end(&client, 3, (producer, 0), true).await.error_code, 48);
    // Both partitions have their marker, the one without records too.
    assert_eq!(batches(&read(&client, COMMITTED, 1, 0).await), [(0, true)]);
    assert_eq!(
        aborted(&read(&client, COMMITTED, 0, 0).await),
        [(producer, 0)]
    );
    // A new session fences the old one; old versions know that by the epoch only.
    assert_eq!(init(&client, 4).await.producer_epoch, 1);
    assert_eq!(end(&client, 1, (producer, 0), true).await.error_code, 47);
    assert_eq!(end(&client, 3, (producer, 0), true).await.error_code, 90);
}

#[tokio::test]
async fn a_session_that_begins_aborts_what_the_last_one_left_open() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let producer = init(&client, 5).await.producer_id.0;
    write(&client, 12, &[(0, &batch(producer, 0, 0, "a"))]).await;
    assert_eq!(
        init(&client, 5).await.error_code,
        51,
        "it was aborted; ask again"
    );
    let next = init(&client, 5).await;
    assert_eq!((next.error_code, next.producer_id.0), (0, producer));
    let seen = read(&client, COMMITTED, 0, 0).await;
    assert_eq!(aborted(&seen), [(producer, 0)]);
    assert_eq!(seen.last_stable_offset, 2);
    let list = ListTransactionsRequest::default().with_duration_filter(-1);
    let listed = client.call(&list, 2).await.unwrap();
    assert_eq!(listed.transaction_states[0].transactional_id, id());
    let odd = list.with_state_filters(vec![text("Ongoing"), text("Odd")]);
    let listed = client.call(&odd, 2).await.unwrap();
    assert_eq!(listed.unknown_state_filters, [text("Odd")]);
    assert!(listed.transaction_states.is_empty());
}

#[tokio::test]
async fn an_administrator_ends_a_transaction_in_one_partition() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let producer = init(&client, 5).await.producer_id.0;
    write(&client, 12, &[(0, &batch(producer, 0, 0, "a"))]).await;
    let marker = |epoch| {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0, 7]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer))
            .with_producer_epoch(epoch)
            .with_topics(vec![topic]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    };
    let codes = |answer: kafka_protocol::messages::WriteTxnMarkersResponse| {
        let partitions = answer.markers[0].topics[0].partitions.clone();
        partitions.iter().map(|p| p.error_code).collect::<Vec<_>>()
    };
    let old = client.call(&marker(-1), 1).await.unwrap();
    assert_eq!(codes(old), [47, 3]);
    let written = client.call(&marker(0), 1).await.unwrap();
    assert_eq!(codes(written), [0, 3]);
    assert_eq!(read(&client, COMMITTED, 0, 0).await.last_stable_offset, 2);
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let world = World::start().await;
    let client = world.connect().await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let code =
        async |request: &InitProducerIdRequest| client.call(request, 5).await.unwrap().error_code;
    let empty = TransactionalId(text(""));
    assert_eq!(
        code(&request.clone().with_transactional_id(Some(empty))).await,
        42
    );
    assert_eq!(
        code(&request.clone().with_transaction_timeout_ms(900_001)).await,
        50
    );
    assert_eq!(
        code(&request.clone().with_transaction_timeout_ms(0)).await,
        50
    );
    assert_eq!(code(&request.clone().with_producer_epoch(3)).await, 42);
    assert_eq!(
        end(&client, 5, (1, 0), true).await.error_code,
        49,
        "never begun"
    );
    let coordinator = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![text("tx")]);
    let found = client.call(&coordinator, 6).await.unwrap();
    assert_eq!(found.coordinators[0].error_code, 0);
}
