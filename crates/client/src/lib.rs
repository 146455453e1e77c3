//! A small, plain Kafka client: enough for the command line, the test kit and the benchmarks.
//!
//! - [`Connection`]: one TCP connection; requests are pipelined, any request can be sent at any version, raw frames too.
//! - [`Client`]: bootstrap, metadata, one connection per broker, and retries within a bounded time.
//! - [`Producer`], [`Consumer`], [`GroupConsumer`], [`Admin`]: what people do with a cluster.
//!
//! Every error says which address or request it is about, and what to do.
mod admin;
mod client;
mod connection;
mod consumer;
mod coordinator;
mod error;
mod group;
mod metadata;
mod partitioner;
mod producer;

pub use admin::{
    Admin, Author, Committed, ConfigEntry, ConfigResource, GroupDescription, GroupListing,
    GroupMember, NewTopic, OffsetSpec, TransactionDescription, TransactionFilter,
    TransactionListing,
};
pub use client::{Client, Options};
pub use connection::{Connection, Pending};
pub use consumer::{Consumer, ConsumerOptions, ConsumerRecord, Fetched, Isolation};
pub use coordinator::CoordinatorKind;
pub use error::{Error, Result};
pub use group::{GroupConsumer, GroupOptions, GroupProtocol};
pub use kafka_protocol::{
    error::ResponseError as ErrorCode, messages::describe_producers_response::ProducerState,
};
pub use metadata::{Broker, Partition, Topic, TopicPartition};
pub use partitioner::{murmur2, partition_for_key};
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerOptions, ProducerRecord};
pub use sh_base::batch::Codec;
