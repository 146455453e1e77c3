//! Produce requests, read by hand: record bytes are slices of the frame.
use bytes::Bytes;
use kafka_protocol::{
    messages::ApiKey,
    protocol::{Message, StrBytes},
};
use sh_base::TopicId;

use crate::{
    REQUEST_ELEMENTS_MAX, RequestHeader, TopicRef, WireError, header, message, reader::Reader,
};

const FLEXIBLE_SINCE: i16 = 9;
const TOPIC_ID_SINCE: i16 = 13;

/// A produce request, versions 3 to 13. (0 to 2 are advertised, as librdkafka asks, but never served: KIP-896.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0: none, 1: leader, -1: all.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProducedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedTopic {
    pub topic: TopicRef,
    pub partitions: Vec<ProducedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub index: i32,
    /// Record batches as they came; to be parsed by `sh_base::batch`.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads the body of a produce request. The batches share its memory.
    pub fn decode(header: &RequestHeader, body: &Bytes) -> Result<ProduceRequest, WireError> {
        let version = header.version;
        let known = kafka_protocol::messages::ProduceRequest::VERSIONS;
        message::check_version(ApiKey::Produce, version, known)?;
        let flexible = version >= FLEXIBLE_SINCE;
        let reader = Reader::new(body);
        Decoder {
            body,
            reader,
            version,
            flexible,
            budget: REQUEST_ELEMENTS_MAX,
        }
        .request()
    }
}

struct Decoder<'a> {
    body: &'a Bytes,
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    /// How many more topics and partitions are believed.
    budget: usize,
}

impl Decoder<'_> {
    fn request(&mut self) -> Result<ProduceRequest, WireError> {
        let transactional_id = self.string("the transactional id")?;
        let acks = self.reader.i16("acks")?;
        let timeout_ms = self.reader.i32("the timeout")?;
        let topics = self.array(Self::topic, "topics")?;
        self.end_of_struct()?;
        Ok(ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }

    fn topic(&mut self) -> Result<ProducedTopic, WireError> {
        let topic = if self.version >= TOPIC_ID_SINCE {
            TopicRef::Id(TopicId(self.reader.uuid("a topic id")?))
        } else {
            let name = self.string("a topic name")?;
            TopicRef::Name(name.ok_or_else(|| WireError::malformed("a topic name is null"))?)
        };
        let partitions = self.array(Self::partition, "partitions")?;
        self.end_of_struct()?;
        Ok(ProducedTopic { topic, partitions })
    }

    fn partition(&mut self) -> Result<ProducedPartition, WireError> {
        let index = self.reader.i32("a partition index")?;
        let records = self.reader.bytes(self.flexible, "records")?;
        self.end_of_struct()?;
        Ok(ProducedPartition {
            index,
            records: records.map(|at| self.body.slice(at)),
        })
    }

    fn string(&mut self, what: &'static str) -> Result<Option<StrBytes>, WireError> {
        let at = self.reader.string(self.flexible, what)?;
        at.map(|at| header::string(self.body.slice(at), what))
            .transpose()
    }

    /// The vector grows as elements are read: the count is only a claim.
    fn array<T>(
        &mut self,
        element: fn(&mut Self) -> Result<T, WireError>,
        what: &'static str,
    ) -> Result<Vec<T>, WireError> {
        let count = self.reader.length(self.flexible, what)?;
        let count = count.ok_or_else(|| WireError::malformed(format_args!("null {what}")))?;
        let max = REQUEST_ELEMENTS_MAX;
        self.budget = self
            .budget
            .checked_sub(count)
            .ok_or(WireError::TooManyElements { max })?;
        (0..count).map(|_| element(self)).collect()
    }

    fn end_of_struct(&mut self) -> Result<(), WireError> {
        if self.flexible {
            self.reader.skip_tagged_fields()?;
        }
        Ok(())
    }
}
