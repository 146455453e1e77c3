//! The hand-written codecs against those of `kafka-protocol`, byte for byte, and what damaged frames do.
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{self, ApiVersionsResponse, MetadataRequest, MetadataResponse},
    protocol::Encodable,
};
use proptest::{collection::vec, option, prelude::*};
use sh_base::{
    TopicId,
    batch::{Batch, BatchBuilder, Codec},
};
use uuid::Uuid;

use super::*;

fn header(api: ApiKey, version: i16) -> RequestHeader {
    let client_id = Some(StrBytes::from_static_str("test"));
    RequestHeader {
        api,
        version,
        correlation_id: 7,
        client_id,
    }
}

fn encoded<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.freeze()
}

#[test]
fn frames_are_cut_from_a_stream_without_copies() {
    let decoder = FrameDecoder::new(10);
    let mut read = BytesMut::from(&b"\0\0\0\x03abc\0\0\0\0\0\0"[..]);
    let start = read.as_ptr();
    let first = decoder.decode(&mut read).unwrap().unwrap();
    assert_eq!(
        (&first[..], first.as_ptr()),
        (&b"abc"[..], start.wrapping_add(4))
    );
    assert_eq!(decoder.decode(&mut read).unwrap().unwrap(), "");
    assert_eq!(decoder.decode(&mut read).unwrap(), None);
    read.put_slice(b"\0\x0b");
    assert_eq!(
        decoder.decode(&mut read),
        Err(WireError::FrameSize { size: 11, max: 10 })
    );
    let mut negative = BytesMut::from(&[0xff; 4][..]);
    assert!(decoder.decode(&mut negative).is_err());
}

#[test]
fn an_announced_frame_gets_no_more_room_than_was_sent_for_it() {
    let mut read = BytesMut::new();
    read.put_i32(100 * 1024 * 1024);
    assert_eq!(FrameDecoder::default().decode(&mut read), Ok(None));
    assert!(read.capacity() < 1024 * 1024);
}

#[test]
fn request_headers_are_read_at_both_versions_and_unknown_versions_too() {
    let api_versions = messages::ApiVersionsRequest::default();
    for version in [0, 3, 4] {
        let id = StrBytes::from_static_str("test");
        let mut frame = client::encode_request(7, &id, version, &api_versions).unwrap();
        let body = frame.split_off(4);
        let (read, _) = RequestHeader::decode(&body).unwrap();
        assert_eq!(read, header(ApiKey::ApiVersions, version));
    }
    let future = Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\0\x04test\0rest");
    let (read, body) = RequestHeader::decode(&future).unwrap();
    assert_eq!(
        (read, &body[..]),
        (header(ApiKey::ApiVersions, 99), &b"rest"[..])
    );
    let null_id = Bytes::from_static(b"\0\x03\0\0\0\0\0\x07\xff\xff");
    assert_eq!(RequestHeader::decode(&null_id).unwrap().0.client_id, None);
    let unknown = Bytes::from_static(b"\x03\xe8\0\0\0\0\0\x07\xff\xff");
    assert_eq!(
        RequestHeader::decode(&unknown),
        Err(WireError::UnknownApi { key: 1000 })
    );
}

#[test]
fn answers_carry_the_header_of_their_version_and_api_versions_always_the_oldest() {
    let answer = encode_response(7, 3, &ApiVersionsResponse::default()).unwrap();
    assert_eq!(
        &answer[4..],
        [
            &7i32.to_be_bytes()[..],
            &encoded(&ApiVersionsResponse::default(), 3)
        ]
        .concat()
    );
    for version in [0, 9, 13] {
        let response = MetadataResponse::default();
        let frame = encode_response(7, version, &response).unwrap().slice(4..);
        assert_eq!(client::correlation_id(&frame), Ok(7));
        assert_eq!(
            client::decode_response::<MetadataRequest>(version, &frame),
            Ok(response)
        );
    }
}

#[test]
fn a_request_of_another_key_or_version_is_refused() {
    let body = Bytes::from_static(&[0; 4]);
    let old = decode_request::<MetadataRequest>(&header(ApiKey::Metadata, 99), &body);
    let api = "Metadata".to_owned();
    assert_eq!(
        old,
        Err(WireError::UnsupportedVersion {
            api,
            version: 99,
            min: 0,
            max: 13
        })
    );
    assert!(decode_request::<MetadataRequest>(&header(ApiKey::Fetch, 4), &body).is_err());
    let produce = ProduceRequest::decode(&header(ApiKey::Produce, 2), &body);
    assert!(matches!(
        produce,
        Err(WireError::UnsupportedVersion {
            min: 3,
            max: 13,
            ..
        })
    ));
}

fn name(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

fn any_produce() -> impl Strategy<Value = messages::ProduceRequest> {
    use messages::produce_request::{PartitionProduceData, TopicProduceData};
    let records = option::of(vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    let partition = (any::<i32>(), records).prop_map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(records)
    });
    let topic =
        ("[a-z]{1,9}", any::<u128>(), vec(partition, 0..4)).prop_map(|(topic, id, data)| {
            TopicProduceData::default()
                .with_name(name(topic).into())
                .with_topic_id(Uuid::from_u128(id))
                .with_partition_data(data)
        });
    (
        option::of("[a-z]{0,5}"),
        any::<i16>(),
        any::<i32>(),
        vec(topic, 0..4),
    )
        .prop_map(|(id, acks, timeout, topics)| {
            messages::ProduceRequest::default()
                .with_transactional_id(id.map(|id| name(id).into()))
                .with_acks(acks)
                .with_timeout_ms(timeout)
                .with_topic_data(topics)
        })
}

/// The same request in our words.
fn ours(theirs: &messages::ProduceRequest, version: i16) -> ProduceRequest {
    let topics = theirs.topic_data.iter().map(|topic| ProducedTopic {
        topic: topic_ref(&topic.name, topic.topic_id, version),
        partitions: topic
            .partition_data
            .iter()
            .map(|p| ProducedPartition {
                index: p.index,
                records: p.records.clone(),
            })
            .collect(),
    });
    ProduceRequest {
        transactional_id: theirs.transactional_id.as_ref().map(|id| id.0.clone()),
        acks: theirs.acks,
        timeout_ms: theirs.timeout_ms,
        topics: topics.collect(),
    }
}

fn topic_ref(name: &messages::TopicName, id: Uuid, version: i16) -> TopicRef {
    if version >= 13 {
        TopicRef::Id(TopicId(id))
    } else {
        TopicRef::Name(name.0.clone())
    }
}

fn small_batch(value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, Some(value), &[]);
    builder.build().unwrap()
}

fn any_partition() -> impl Strategy<Value = FetchedPartition> {
    let aborted = any::<(i64, i64)>().prop_map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id,
        first_offset,
    });
    let batch = (vec(any::<u8>(), 0..99), any::<i64>(), any::<i32>())
        .prop_map(|(value, offset, epoch)| FetchedBatch::new(&small_batch(&value), offset, epoch));
    let tags = option::of((0..i32::MAX, 0..i64::MAX));
    let numbers = any::<(i32, i16, i64, i64, i64)>();
    let lists = (option::of(vec(aborted, 0..3)), vec(batch, 0..4));
    (numbers, lists, tags.clone(), tags.clone(), tags).prop_map(|(n, lists, d, l, s)| {
        FetchedPartition {
            high_watermark: n.2,
            last_stable_offset: n.3,
            log_start_offset: n.4,
            aborted_transactions: lists.0,
            records: lists.1,
            diverging_epoch: d.map(|(epoch, end_offset)| DivergingEpoch { epoch, end_offset }),
            current_leader: l.map(|(leader_id, _)| CurrentLeader {
                leader_id,
                leader_epoch: 5,
            }),
            snapshot_id: s.map(|(epoch, end_offset)| SnapshotId { end_offset, epoch }),
            ..FetchedPartition::empty(n.0, n.1)
        }
    })
}

fn any_fetch() -> impl Strategy<Value = FetchResponse> {
    let topic = ("[a-z]{1,9}", any::<u128>(), vec(any_partition(), 0..3));
    let endpoint = (any::<i32>(), "[a-z.]{0,9}", option::of("[a-z]{0,3}"));
    let topics = vec(topic, 0..3);
    (any::<(i32, i16, i32)>(), topics, vec(endpoint, 0..3)).prop_map(|(n, topics, endpoints)| {
        let topics = topics
            .into_iter()
            .map(|(topic, id, partitions)| FetchedTopic {
                // Both; the test picks by version.
                topic: if id % 2 == 0 {
                    TopicRef::Id(TopicId(Uuid::from_u128(id)))
                } else {
                    TopicRef::Name(name(topic))
                },
                partitions,
            });
        let endpoints = endpoints
            .into_iter()
            .map(|(node_id, host, rack)| NodeEndpoint {
                node_id,
                host: name(host),
                port: 9092,
                rack: rack.map(name),
            });
        FetchResponse {
            throttle_time_ms: n.0,
            error_code: n.1,
            session_id: n.2,
            topics: topics.collect(),
            node_endpoints: endpoints.collect(),
        }
    })
}

/// `response` as it can be said at `version`.
fn at_version(mut response: FetchResponse, version: i16) -> FetchResponse {
    for topic in &mut response.topics {
        topic.topic = match (version >= 13, topic.topic.clone()) {
            (true, TopicRef::Name(_)) => TopicRef::Id(TopicId(Uuid::from_u128(1))),
            (false, TopicRef::Id(_)) => TopicRef::Name(name("topic".into())),
            (_, topic) => topic,
        };
    }
    if version < 7 {
        response.session_id = 0;
    }
    response
}

/// The same answer in the words of `kafka-protocol`.
fn theirs(ours: &FetchResponse) -> messages::FetchResponse {
    use messages::fetch_response as fetch;
    let topics = ours.topics.iter().map(|topic| {
        let out = fetch::FetchableTopicResponse::default()
            .with_partitions(topic.partitions.iter().map(their_partition).collect());
        match &topic.topic {
            TopicRef::Name(name) => out.with_topic(name.clone().into()),
            TopicRef::Id(id) => out.with_topic_id(id.0),
        }
    });
    let endpoints = ours.node_endpoints.iter().map(|e| {
        fetch::NodeEndpoint::default()
            .with_node_id(e.node_id.into())
            .with_host(e.host.clone())
            .with_port(e.port)
            .with_rack(e.rack.clone())
    });
    messages::FetchResponse::default()
        .with_throttle_time_ms(ours.throttle_time_ms)
        .with_error_code(ours.error_code)
        .with_session_id(ours.session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn their_partition(ours: &FetchedPartition) -> messages::fetch_response::PartitionData {
    use messages::fetch_response as fetch;
    let records: Vec<u8> = ours.records.iter().flat_map(FetchedBatch::to_vec).collect();
    let aborted = ours.aborted_transactions.as_ref().map(|aborted| {
        let transactions = aborted.iter().map(|a| {
            fetch::AbortedTransaction::default()
                .with_producer_id(a.producer_id.into())
                .with_first_offset(a.first_offset)
        });
        transactions.collect()
    });
    let mut out = fetch::PartitionData::default()
        .with_partition_index(ours.index)
        .with_error_code(ours.error_code)
        .with_high_watermark(ours.high_watermark)
        .with_last_stable_offset(ours.last_stable_offset)
        .with_log_start_offset(ours.log_start_offset)
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(ours.preferred_read_replica.into())
        .with_records(Some(records.into()));
    if let Some(d) = ours.diverging_epoch {
        out.diverging_epoch = fetch::EpochEndOffset::default()
            .with_epoch(d.epoch)
            .with_end_offset(d.end_offset);
    }
    if let Some(l) = ours.current_leader {
        out.current_leader = fetch::LeaderIdAndEpoch::default()
            .with_leader_id(l.leader_id.into())
            .with_leader_epoch(l.leader_epoch);
    }
    if let Some(s) = ours.snapshot_id {
        out.snapshot_id = fetch::SnapshotId::default()
            .with_end_offset(s.end_offset)
            .with_epoch(s.epoch);
    }
    out
}

proptest! {
    #[test]
    fn produce_requests_read_as_the_generated_decoder_reads_them(
        request in any_produce(),
        version in 3i16..=13,
    ) {
        let mut request = request;
        if version >= 13 {
            request.topic_data.iter_mut().for_each(|t| t.name = Default::default());
        } else {
            request.topic_data.iter_mut().for_each(|t| t.topic_id = Uuid::nil());
        }
        let body = encoded(&request, version);
        let read = ProduceRequest::decode(&header(ApiKey::Produce, version), &body).unwrap();
        let frame = body.as_ptr_range();
        for partition in read.topics.iter().flat_map(|t| &t.partitions) {
            if let Some(records) = partition.records.as_ref().filter(|r| !r.is_empty()) {
                prop_assert!(frame.contains(&records.as_ptr()), "copied");
            }
        }
        prop_assert_eq!(read, ours(&request, version));
    }

    #[test]
    fn fetch_answers_are_written_as_the_generated_encoder_writes_them(
        response in any_fetch(),
        version in 4i16..=18,
    ) {
        let response = at_version(response, version);
        let chunks = response.encode(7, version).unwrap();
        let expected = encode_response(7, version, &theirs(&response)).unwrap();
        prop_assert_eq!(chunks.concat(), expected.to_vec());
    }

    #[test]
    fn damaged_produce_requests_never_panic(
        request in any_produce(),
        version in 3i16..=12,
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut request = request;
        request.topic_data.iter_mut().for_each(|t| t.topic_id = Uuid::nil());
        let mut body = BytesMut::from(&encoded(&request, version)[..]);
        for (at, byte) in hits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let body = body.freeze();
        let header = header(ApiKey::Produce, version);
        let read = ProduceRequest::decode(&header, &body);
        let theirs = decode_request::<messages::ProduceRequest>(&header, &body);
        if let (Ok(read), Ok(theirs)) = (&read, &theirs) {
            prop_assert_eq!(read, &ours(theirs, version));
        }
        prop_assert_eq!(read.is_ok(), theirs.is_ok());
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in vec(any::<u8>(), 0..64)) {
        let mut read = BytesMut::from(&bytes[..]);
        let _ = FrameDecoder::default().decode(&mut read);
        if let Ok((header, body)) = RequestHeader::decode(&bytes.into()) {
            let _ = decode_any_request(&header, &body);
        }
    }
}

#[test]
fn record_bytes_are_not_copied_into_an_answer() {
    let batch = small_batch(b"value");
    let fetched = FetchedBatch::new(&batch, 41, 3);
    let partition = FetchedPartition {
        records: vec![fetched],
        ..FetchedPartition::empty(0, 0)
    };
    let topic = FetchedTopic {
        topic: TopicRef::Name(name("t".into())),
        partitions: vec![partition],
    };
    let response = FetchResponse {
        topics: vec![topic],
        ..FetchResponse::default()
    };
    let chunks = response.encode(7, 12).unwrap();
    let stored = batch.unpatched_rest().as_ptr();
    assert!(chunks.iter().any(|chunk| chunk.as_ptr() == stored));
    let frame = Bytes::from(chunks.concat()).slice(4..);
    let read = client::decode_response::<messages::FetchRequest>(12, &frame).unwrap();
    let records = read.responses[0].partitions[0].records.clone().unwrap();
    let read = Batch::parse(records).unwrap();
    assert_eq!((read.base_offset(), read.leader_epoch()), (41, 3));
}
