//! Writing and reading over the wire.
use std::time::Duration;

use kafka_protocol::messages::{
    DescribeProducersRequest, InitProducerIdRequest, OffsetForLeaderEpochRequest, ProducerId,
    describe_producers_request::TopicRequest,
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};
use sh_base::{
    ProducerId as Id,
    batch::{BatchBuilder, BatchProducer, Codec},
};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{
    NOW_MS, PATIENCE, World, batch, batch_of, fetch, list_offset, produce, topic_name, values,
    write,
};

#[tokio::test]
async fn what_was_written_is_read_at_its_offsets_by_every_version() {
    let world = World::start().await;
    world.topic("t", 2, &[]).await;
    let client = world.connect().await;
    for (version, first) in (3..=12).zip((0..).step_by(2)) {
        let request = produce("t", -1, &[(1, &batch(&["a", "b"]))]);
        let answer = client.call(&request, version).await.unwrap();
        let p = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (p.error_code, p.index, p.base_offset),
            (0, 1, first),
            "version {version}"
        );
    }
    for version in 4..=12 {
        let answer = client
            .call(&fetch("t", &[(0, 0), (1, 17)]), version)
            .await
            .unwrap();
        assert_eq!(values(&answer, 0), []);
        assert_eq!(
            values(&answer, 1)[0],
            (16, "a".into()),
            "the batch that holds the offset"
        );
        assert_eq!(values(&answer, 1).len(), 4);
        assert_eq!(answer.responses[0].partitions[1].high_watermark, 20);
    }
}

#[tokio::test]
async fn topics_go_by_id_from_version_13_on() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let topics = world.node.topics().list(&Default::default()).await.unwrap();
    let id = topics[0].id.0;
    let mut request = produce("t", -1, &[(0, &batch(&["x"]))]);
    request.topic_data[0].name = topic_name("");
    request.topic_data[0].topic_id = id;
    let answer = client.call(&request, 13).await.unwrap();
    assert_eq!(answer.responses[0].topic_id, id);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    for version in 13..=18 {
        let mut request = fetch("", &[(0, 0), (9, 0)]);
        request.topics[0].topic_id = id;
        let mut lost = request.topics[0].clone();
        lost.topic_id = uuid::Uuid::from_u128(7);
        request.topics.push(lost);
        let answer = client.call(&request, version).await.unwrap();
        assert_eq!(values(&answer, 0), [(0, "x".into())]);
        let codes = |topic: usize| answer.responses[topic].partitions[0].error_code;
        assert_eq!([codes(1), codes(2)], [100, 3], "what is unknown comes last");
    }
}

#[tokio::test]
async fn acks_0_has_no_answer_and_keeps_its_place() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    for n in 0..5 {
        let acks = if n % 2 == 0 { 0 } else { 1 };
        let request = produce("t", acks, &[(0, &batch(&[&n.to_string()]))]);
        if acks == 0 {
            client.tell(&request, 9).unwrap().await.unwrap();
        } else {
            let answer = client.call(&request, 9).await.unwrap();
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, n);
        }
    }
    write(&client, "t", &batch(&["5"])).await;
    let answer = client.call(&fetch("t", &[(0, 0)]), 12).await.unwrap();
    let expected: Vec<_> = (0..6).map(|n| (n, n.to_string())).collect();
    assert_eq!(values(&answer, 0), expected);
}

#[tokio::test]
async fn a_failed_acks_0_request_closes_the_connection() {
    let world = World::start().await;
    let client = world.connect().await;
    client
        .tell(&produce("nowhere", 0, &[(0, &batch(&["x"]))]), 9)
        .unwrap()
        .await
        .unwrap();
    timeout(PATIENCE, async {
        while !client.is_closed() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the only way to tell the producer");
}

#[tokio::test]
async fn many_produce_requests_in_flight_are_stored_in_their_order() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let answers: Vec<_> = (0..200)
        .map(|n| {
            client
                .start(&produce("t", -1, &[(0, &batch(&[&n.to_string()]))]), 9)
                .unwrap()
        })
        .collect();
    for (n, answer) in (0..).zip(answers) {
        let answer = answer.await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, n);
    }
    let answer = client.call(&fetch("t", &[(0, 0)]), 12).await.unwrap();
    assert!(
        values(&answer, 0)
            .into_iter()
            .all(|(offset, value)| offset.to_string() == value)
    );
}

#[tokio::test]
async fn every_codec_comes_back_as_it_went() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    world.topic("lz4", 1, &[("compression.type", "lz4")]).await;
    let client = world.connect().await;
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        for topic in ["t", "lz4"] {
            let p = write(&client, topic, &batch_of(codec, &["same", "same"])).await;
            assert_eq!(p.error_code, 0, "{codec:?}");
            let request = fetch(topic, &[(0, p.base_offset)]);
            let answer = client.call(&request, 12).await.unwrap();
            let (offset, value) = values(&answer, 0).pop().unwrap();
            assert_eq!((offset, value.as_str()), (p.base_offset + 1, "same"));
            let records = answer.responses[0].partitions[0].records.as_ref().unwrap();
            let stored = Codec::try_from(records[22] & 7).unwrap();
            assert_eq!(stored, if topic == "lz4" { Codec::Lz4 } else { codec });
        }
    }
}

#[tokio::test]
async fn plain_batches_are_stored_in_the_codec_of_the_segments() {
    let world = World::storing_in(Codec::Zstd).await;
    world.topic("t", 1, &[]).await;
    world
        .topic("plain", 1, &[("compression.type", "uncompressed")])
        .await;
    let client = world.connect().await;
    for (topic, came, wanted) in [
        ("t", Codec::None, Codec::Zstd),
        ("t", Codec::Lz4, Codec::Lz4),
        ("plain", Codec::None, Codec::None),
    ] {
        let p = write(&client, topic, &batch_of(came, &["same", "same"])).await;
        let answer = client
            .call(&fetch(topic, &[(0, p.base_offset)]), 12)
            .await
            .unwrap();
        assert_eq!(values(&answer, 0).pop().unwrap().1, "same");
        let records = answer.responses[0].partitions[0].records.as_ref().unwrap();
        let stored = Codec::try_from(records[22] & 7).unwrap();
        assert_eq!(stored, wanted, "{topic}: {came:?}");
    }
}

/// Where a v2 batch has its attributes, an old message has a part of its timestamp: zstd and a transaction by chance.
#[tokio::test]
async fn old_messages_are_told_apart_before_their_attributes_are_read() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let mut message = vec![0; 80];
    message[8..12].copy_from_slice(&68_i32.to_be_bytes());
    message[16] = 1;
    message[22] = 0x14;
    let mut request = produce("t", -1, &[(0, &batch(&["v"]))]);
    request.topic_data[0].partition_data[0].records = Some(message.into());
    let answer = client.call(&request, 3).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 43);
}

#[tokio::test]
async fn bad_batches_are_refused_with_the_code_that_kafka_gives() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    world
        .topic("small", 1, &[("max.message.bytes", "100")])
        .await;
    world
        .topic("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    let client = world.connect().await;
    let good = batch(&["x"]);
    assert_eq!(write(&client, "t.", &good).await.error_code, 3, "unknown");
    assert_eq!(write(&client, "bad name", &good).await.error_code, 3);
    assert_eq!(
        write(&client, "small", &batch(&["x".repeat(100).as_str()]))
            .await
            .error_code,
        10
    );
    let keyless = write(&client, "compacted", &batch(&["x", "y"])).await;
    assert_eq!(keyless.error_code, 87);
    assert_eq!(keyless.record_errors.len(), 2);
    assert_eq!(keyless.record_errors[1].batch_index, 1);
    assert!(keyless.error_message.is_some());

    let mut request = produce("t", -1, &[(0, &good), (7, &good)]);
    let data = &mut request.topic_data[0].partition_data;
    let mut bytes = good.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    data[0].records = Some(bytes.clone().into());
    let answer = client.call(&request, 9).await.unwrap();
    let codes: Vec<i16> = answer.responses[0]
        .partition_responses
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(
        codes,
        [2, 3],
        "a wrong CRC, and a partition that is not there"
    );

    bytes[16] = 1;
    request.topic_data[0].partition_data[0].records = Some(bytes.into());
    let answer = client.call(&request, 9).await.unwrap();
    assert_eq!(
        answer.responses[0].partition_responses[0].error_code, 43,
        "message format v1"
    );

    request.topic_data[0].partition_data[0].records = None;
    let answer = client.call(&request, 9).await.unwrap();
    assert_eq!(
        answer.responses[0].partition_responses[0].error_code, 87,
        "no batch at all"
    );

    let answer = client
        .call(&produce("t", 2, &[(0, &good)]), 9)
        .await
        .unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 21);
    let zstd = produce("t", -1, &[(0, &batch_of(Codec::Zstd, &["x"]))]);
    let answer = client.call(&zstd, 6).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 76);
    assert_eq!(
        list_offset(&client, "t", -1).await,
        (0, -1, 0),
        "nothing was stored"
    );
}

#[tokio::test]
async fn a_topic_with_log_append_time_stamps_what_it_stores() {
    let world = World::start().await;
    world
        .topic("t", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let client = world.connect().await;
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(5, None, Some(b"old"), &[]);
    let p = write(&client, "t", &builder.build().unwrap()).await;
    assert_eq!((p.error_code, p.log_append_time_ms), (0, NOW_MS));
    assert_eq!(list_offset(&client, "t", NOW_MS).await, (0, NOW_MS, 0));
}

#[tokio::test]
async fn a_retried_batch_is_answered_with_its_first_offset() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
        .with_transaction_timeout_ms(60_000);
    let first = client.call(&request, 5).await.unwrap();
    let second = client.call(&request, 0).await.unwrap();
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    let batch = |base_sequence| {
        let id = Id(first.producer_id.0);
        let producer = BatchProducer {
            id,
            epoch: 0,
            base_sequence,
        };
        let mut builder = BatchBuilder::new(Codec::None).producer(producer);
        builder.push(NOW_MS, None, Some(b"x"), &[]);
        builder.build().unwrap()
    };
    assert_eq!(write(&client, "t", &batch(0)).await.base_offset, 0);
    assert_eq!(write(&client, "t", &batch(1)).await.base_offset, 1);
    let again = write(&client, "t", &batch(0)).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    assert_eq!(write(&client, "t", &batch(7)).await.error_code, 45);
    let request = DescribeProducersRequest::default().with_topics(vec![
        TopicRequest::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0, 5]),
    ]);
    let answer = client.call(&request, 0).await.unwrap();
    let [known, unknown] = &answer.topics[0].partitions[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(known.active_producers[0].producer_id, first.producer_id);
    assert_eq!(known.active_producers[0].last_sequence, 1);
    assert_eq!(unknown.error_code, 3);
}

#[tokio::test]
async fn a_long_poll_wakes_up_when_something_is_written() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let (reader, writer) = (world.connect().await, world.connect().await);
    let patient = fetch("t", &[(0, 0)]).with_max_wait_ms(10_000);
    let since = Instant::now();
    let waiting = reader.start(&patient, 12).unwrap();
    write(&writer, "t", &batch(&["news"])).await;
    assert_eq!(values(&waiting.await.unwrap(), 0), [(0, "news".into())]);
    assert!(since.elapsed() < Duration::from_secs(5));

    let greedy = fetch("t", &[(0, 0)])
        .with_max_wait_ms(300)
        .with_min_bytes(100_000);
    let since = Instant::now();
    let answer = reader.call(&greedy, 12).await.unwrap();
    assert_eq!(values(&answer, 0).len(), 1, "what there is after max_wait");
    assert!(since.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_error_is_told_at_once() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    let since = Instant::now();
    let out = fetch("t", &[(0, 5)]).with_max_wait_ms(10_000);
    assert_eq!(
        client.call(&out, 12).await.unwrap().responses[0].partitions[0].error_code,
        1
    );
    let nowhere = fetch("nowhere", &[(0, 0)]).with_max_wait_ms(10_000);
    let answer = client.call(&nowhere, 12).await.unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 3);
    let mut ahead = fetch("t", &[(0, 0)]).with_max_wait_ms(10_000);
    ahead.topics[0].partitions[0].current_leader_epoch = 3;
    let answer = client.call(&ahead, 12).await.unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 75);
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn one_batch_always_fits_and_the_rest_share_what_is_left() {
    let world = World::start().await;
    world.topic("t", 3, &[]).await;
    let client = world.connect().await;
    let big = batch(&["x".repeat(1_000).as_str()]);
    let batches = [(0, &big), (1, &big), (2, &big)];
    client.call(&produce("t", -1, &batches), 9).await.unwrap();
    let sizes = async |max_bytes| {
        let request = fetch("t", &[(0, 0), (1, 0), (2, 0)]).with_max_bytes(max_bytes);
        let answer = client.call(&request, 12).await.unwrap();
        [0, 1, 2].map(|p| values(&answer, p).len())
    };
    assert_eq!(sizes(1).await, [1, 0, 0]);
    assert_eq!(sizes(2_500).await, [1, 1, 0]);
    assert_eq!(sizes(100_000).await, [1, 1, 1]);
}

#[tokio::test]
async fn a_session_tells_only_what_changed() {
    let world = World::start().await;
    world.topic("t", 3, &[]).await;
    let client = world.connect().await;
    write(&client, "t", &batch(&["a"])).await;
    let full = fetch("t", &[(0, 0), (1, 0), (2, 0)]).with_session_epoch(0);
    let answer = client.call(&full, 12).await.unwrap();
    let session = answer.session_id;
    assert!(session > 0);
    assert_eq!(answer.responses[0].partitions.len(), 3);
    let step = |epoch, from: &[(i32, i64)]| {
        let request = fetch("t", from)
            .with_session_id(session)
            .with_session_epoch(epoch);
        let topics = if from.is_empty() {
            vec![]
        } else {
            request.topics.clone()
        };
        request.with_topics(topics)
    };
    let answer = client.call(&step(1, &[(0, 1)]), 12).await.unwrap();
    assert_eq!(
        (answer.session_id, answer.responses.len()),
        (session, 0),
        "nothing new"
    );
    client
        .call(&produce("t", -1, &[(2, &batch(&["b"]))]), 9)
        .await
        .unwrap();
    let answer = client.call(&step(2, &[]), 12).await.unwrap();
    assert_eq!(answer.responses[0].partitions.len(), 1);
    assert_eq!(answer.responses[0].partitions[0].partition_index, 2);
    assert_eq!(client.call(&step(2, &[]), 12).await.unwrap().error_code, 71);
    let closing = step(-1, &[]);
    client.call(&closing, 12).await.unwrap();
    assert_eq!(client.call(&step(3, &[]), 12).await.unwrap().error_code, 70);
}

#[tokio::test]
async fn offsets_are_found_by_place_time_and_epoch() {
    let world = World::start().await;
    world.topic("t", 1, &[]).await;
    let client = world.connect().await;
    assert_eq!(list_offset(&client, "t", -1).await, (0, -1, 0));
    assert_eq!(list_offset(&client, "t", -3).await, (0, -1, -1));
    for times in [[10, 30], [20, 30], [40, 5]] {
        let mut builder = BatchBuilder::new(Codec::None);
        times
            .iter()
            .for_each(|t| builder.push(*t, None, Some(b"x"), &[]));
        write(&client, "t", &builder.build().unwrap()).await;
    }
    assert_eq!(list_offset(&client, "t", -1).await, (0, -1, 6));
    assert_eq!(list_offset(&client, "t", -2).await, (0, -1, 0));
    assert_eq!(list_offset(&client, "t", -3).await, (0, 40, 4));
    assert_eq!(list_offset(&client, "t", -4).await, (0, -1, 0));
    assert_eq!(list_offset(&client, "t", 0).await, (0, 10, 0));
    assert_eq!(list_offset(&client, "t", 11).await, (0, 30, 1));
    assert_eq!(list_offset(&client, "t", 31).await, (0, 40, 4));
    assert_eq!(list_offset(&client, "t", 41).await, (0, -1, -1));
    assert_eq!(list_offset(&client, "nowhere", -1).await.0, 3);

    let ask = |epoch| {
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(-1)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name("t"))
            .with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    for (epoch, expected) in [(0, (0, 6)), (1, (-1, -1))] {
        let answer = client.call(&ask(epoch), 4).await.unwrap();
        let p = &answer.topics[0].partitions[0];
        assert_eq!((p.leader_epoch, p.end_offset), expected);
    }
}
