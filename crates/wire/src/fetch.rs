//! Fetch answers, written by hand as a list of chunks: small buffers of header fields between slices of stored batches.
//!
//! ```text
//! | length | header, topic, partition, size of records, prefix | rest of a batch | prefix | rest of a batch | ... |
//!   chunk    chunk                                              chunk             chunk    chunk
//! ```
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::ApiKey,
    protocol::{Message, StrBytes},
};
use sh_base::batch::{Batch, PREFIX_BYTES};

use crate::{
    TopicRef, WireError, message, response_header_version,
    writer::{put_length, put_null, put_nullable_string, put_string, put_uvarint},
};

const SESSION_SINCE: i16 = 7;
const LOG_START_SINCE: i16 = 5;
const PREFERRED_REPLICA_SINCE: i16 = 11;
const FLEXIBLE_SINCE: i16 = 12;
const TOPIC_ID_SINCE: i16 = 13;
const NODE_ENDPOINTS_SINCE: i16 = 16;

/// An answer to a fetch request, versions 4 to 18. Error codes are Kafka's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub session_id: i32,
    pub topics: Vec<FetchedTopic>,
    /// Where the leaders named in `current_leader` listen (KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The id from version 13 on, the name before.
    pub topic: TopicRef,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    pub index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// `None` where the client reads uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// -1 for none.
    pub preferred_read_replica: i32,
    pub records: Vec<FetchedBatch>,
    pub diverging_epoch: Option<DivergingEpoch>,
    pub current_leader: Option<CurrentLeader>,
    pub snapshot_id: Option<SnapshotId>,
}

impl FetchedPartition {
    /// A partition with an error, or nothing to say.
    pub fn empty(index: i32, error_code: i16) -> Self {
        FetchedPartition {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
        }
    }

    /// Bytes of its records.
    pub fn records_size(&self) -> usize {
        self.records.iter().map(FetchedBatch::size).sum()
    }
}

/// A stored batch with its offset and leader epoch put in place, nothing copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedBatch {
    prefix: [u8; PREFIX_BYTES],
    rest: Bytes,
}

impl FetchedBatch {
    pub fn new(batch: &Batch, base_offset: i64, leader_epoch: i32) -> Self {
        let prefix = batch.patched_prefix(base_offset, leader_epoch);
        FetchedBatch {
            prefix,
            rest: batch.unpatched_rest(),
        }
    }

    pub fn size(&self) -> usize {
        PREFIX_BYTES + self.rest.len()
    }

    /// The batch in one piece, copied; for doors and tests that are not in a hurry.
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.prefix[..], &self.rest].concat()
    }
}

/// A transaction whose records, from `first_offset` on, the reader is to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// Where the reader's log parts from ours (KIP-595).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    pub epoch: i32,
    pub end_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

impl FetchResponse {
    /// The whole frame, length and header included, as chunks for a vectored write.
    pub fn encode(&self, correlation_id: i32, version: i16) -> Result<Vec<Bytes>, WireError> {
        let known = kafka_protocol::messages::FetchResponse::VERSIONS;
        message::check_version(ApiKey::Fetch, version, known)?;
        let mut encoder = Encoder::new(version);
        encoder.header(correlation_id);
        encoder.response(self)?;
        encoder.finish()
    }
}

struct Encoder {
    version: i16,
    flexible: bool,
    /// What was written since the last chunk.
    small: BytesMut,
    chunks: Vec<Bytes>,
}

impl Encoder {
    fn new(version: i16) -> Self {
        // The first chunk is the frame's length, which is known last.
        let chunks = vec![Bytes::new()];
        let small = BytesMut::with_capacity(512);
        Encoder {
            version,
            flexible: version >= FLEXIBLE_SINCE,
            small,
            chunks,
        }
    }

    fn since(&self, version: i16) -> bool {
        self.version >= version
    }

    fn header(&mut self, correlation_id: i32) {
        self.small.put_i32(correlation_id);
        if response_header_version(ApiKey::Fetch, self.version) >= 1 {
            put_uvarint(&mut self.small, 0);
        }
    }

    fn response(&mut self, response: &FetchResponse) -> Result<(), WireError> {
        self.small.put_i32(response.throttle_time_ms);
        if self.since(SESSION_SINCE) {
            self.small.put_i16(response.error_code);
            self.small.put_i32(response.session_id);
        }
        put_length(&mut self.small, self.flexible, response.topics.len());
        for topic in &response.topics {
            self.topic(topic)?;
        }
        if self.flexible {
            self.response_tags(&response.node_endpoints);
        }
        Ok(())
    }

    fn topic(&mut self, topic: &FetchedTopic) -> Result<(), WireError> {
        match &topic.topic {
            TopicRef::Id(id) if self.since(TOPIC_ID_SINCE) => {
                self.small.put_slice(id.0.as_bytes());
            }
            TopicRef::Name(name) if !self.since(TOPIC_ID_SINCE) => {
                put_string(&mut self.small, self.flexible, name);
            }
            other => {
                let version = self.version;
                let what = format_args!("{other:?} in a fetch answer of version {version}");
                return Err(WireError::malformed(what));
            }
        }
        put_length(&mut self.small, self.flexible, topic.partitions.len());
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, partition: &FetchedPartition) -> Result<(), WireError> {
        self.small.put_i32(partition.index);
        self.small.put_i16(partition.error_code);
        self.small.put_i64(partition.high_watermark);
        self.small.put_i64(partition.last_stable_offset);
        if self.since(LOG_START_SINCE) {
            self.small.put_i64(partition.log_start_offset);
        }
        self.aborted(partition.aborted_transactions.as_deref());
        if self.since(PREFERRED_REPLICA_SINCE) {
            self.small.put_i32(partition.preferred_read_replica);
        }
        self.records(partition)?;
        if self.flexible {
            self.partition_tags(partition);
        }
        Ok(())
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTransaction]>) {
        let Some(aborted) = aborted else {
            return put_null(&mut self.small, self.flexible);
        };
        put_length(&mut self.small, self.flexible, aborted.len());
        for transaction in aborted {
            self.small.put_i64(transaction.producer_id);
            self.small.put_i64(transaction.first_offset);
            self.no_tags();
        }
    }

    fn records(&mut self, partition: &FetchedPartition) -> Result<(), WireError> {
        let size = partition.records_size();
        if size > i32::MAX as usize {
            return Err(WireError::AnswerTooLarge);
        }
        put_length(&mut self.small, self.flexible, size);
        for batch in &partition.records {
            self.small.put_slice(&batch.prefix);
            self.cut();
            self.chunks.push(batch.rest.clone());
        }
        Ok(())
    }

    fn partition_tags(&mut self, partition: &FetchedPartition) {
        let FetchedPartition {
            diverging_epoch,
            current_leader,
            snapshot_id,
            ..
        } = partition;
        let present = [
            diverging_epoch.is_some(),
            current_leader.is_some(),
            snapshot_id.is_some(),
        ];
        put_uvarint(
            &mut self.small,
            present.into_iter().filter(|p| *p).count() as u32,
        );
        if let Some(diverging) = diverging_epoch {
            self.tag(0, 13);
            self.small.put_i32(diverging.epoch);
            self.small.put_i64(diverging.end_offset);
            self.no_tags();
        }
        if let Some(leader) = current_leader {
            self.tag(1, 9);
            self.small.put_i32(leader.leader_id);
            self.small.put_i32(leader.leader_epoch);
            self.no_tags();
        }
        if let Some(snapshot) = snapshot_id {
            self.tag(2, 13);
            self.small.put_i64(snapshot.end_offset);
            self.small.put_i32(snapshot.epoch);
            self.no_tags();
        }
    }

    fn response_tags(&mut self, endpoints: &[NodeEndpoint]) {
        if endpoints.is_empty() || !self.since(NODE_ENDPOINTS_SINCE) {
            return self.no_tags();
        }
        let mut field = BytesMut::new();
        put_length(&mut field, true, endpoints.len());
        for endpoint in endpoints {
            field.put_i32(endpoint.node_id);
            put_string(&mut field, true, &endpoint.host);
            field.put_i32(endpoint.port);
            put_nullable_string(&mut field, true, endpoint.rack.as_deref());
            put_uvarint(&mut field, 0);
        }
        put_uvarint(&mut self.small, 1);
        self.tag(0, field.len() as u32);
        self.small.put_slice(&field);
    }

    fn tag(&mut self, tag: u32, size: u32) {
        put_uvarint(&mut self.small, tag);
        put_uvarint(&mut self.small, size);
    }

    fn no_tags(&mut self) {
        if self.flexible {
            put_uvarint(&mut self.small, 0);
        }
    }

    /// Ends the small chunk.
    fn cut(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Result<Vec<Bytes>, WireError> {
        self.cut();
        let size: usize = self.chunks.iter().map(Bytes::len).sum();
        let size = i32::try_from(size).map_err(|_| WireError::AnswerTooLarge)?;
        if let Some(length) = self.chunks.first_mut() {
            *length = Bytes::copy_from_slice(&size.to_be_bytes());
        }
        Ok(self.chunks)
    }
}
