//! Kafka framing without I/O, over the message structs of the `kafka-protocol` crate.
//!
//! Bytes in, values out, and back: [`FrameDecoder`] cuts a stream into frames, [`RequestHeader`] opens one,
//! [`decode_request`] reads any request. The two that carry records are read and written by hand, and never copy a record:
//! [`ProduceRequest::decode`] and [`FetchResponse::encode`]. The client's direction is in [`client`].
//!
//! *Invariant:* whatever a peer sends, nothing here panics, and no more memory is taken than a small multiple of the frame.
pub mod client;
mod error;
mod fetch;
mod frame;
mod header;
mod markers;
mod message;
mod produce;
mod reader;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

pub use error::WireError;
pub use fetch::{
    AbortedTransaction, CurrentLeader, DivergingEpoch, FetchResponse, FetchedBatch,
    FetchedPartition, FetchedTopic, NodeEndpoint, SnapshotId,
};
pub use frame::FrameDecoder;
pub use header::{RequestHeader, request_header_version, response_header_version};
pub use markers::MarkersRequest;
pub use message::{decode_any_request, decode_request, encode_response};
pub use produce::{ProduceRequest, ProducedPartition, ProducedTopic};
pub use schema::REQUEST_ELEMENTS_MAX;

pub use kafka_protocol::{
    ResponseError, messages,
    messages::ApiKey,
    protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange},
};

use sh_base::TopicId;

/// A topic as requests and answers name it: by name, or by id since KIP-516.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Name(StrBytes),
    Id(TopicId),
}
