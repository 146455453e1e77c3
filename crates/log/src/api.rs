//! What `node` says to the engine, and what it hears back.
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use sh_base::{ErrorCode, Failure, Offset, Org, TopicPartition, batch::Batch};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// When a produce is answered (DESIGN 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// acks=0: never; the ticket resolves as `Durable` does, if anybody waits for it.
    None,
    /// acks=1: when the record is in the local WAL and the WAL is fsynced, or when it is durable.
    Leader,
    /// acks=all: when the object is in the bucket and its commit in the metadata store.
    Durable,
}

/// Bytes held in memory for requests whose batches are not committed yet. Given back when the last clone is dropped.
#[derive(Debug)]
pub struct Charge {
    _permit: OwnedSemaphorePermit,
}

impl Charge {
    /// A charge that holds this permit.
    pub fn new(permit: OwnedSemaphorePermit) -> Arc<Charge> {
        Arc::new(Charge { _permit: permit })
    }
}

/// One checked batch on its way into the log.
#[derive(Debug)]
pub struct Append {
    pub partition: TopicPartition,
    pub org: Org,
    pub ack: Ack,
    pub batch: Batch,
    /// Keeps the memory of the request charged until the batch is committed.
    pub charge: Arc<Charge>,
    /// The transaction it is part of. Such a batch takes no lease: acks=1 is answered as durable.
    pub transaction: Option<Transactional>,
    /// False for partitions that take no lease (compacted topics): acks=1 is then answered as durable.
    pub lease_allowed: bool,
}

/// What a transactional batch says of its transaction; producer id and epoch stand in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactional {
    pub id: Arc<str>,
    /// Transactions of version 2 (KIP-890): the batch adds its partition, and opens the transaction if none is open.
    pub adds: bool,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub log_start: Offset,
    /// It was stored before; `base_offset` is where.
    pub duplicate: bool,
}

pub type AppendResult = Result<Appended, Failure>;

/// The answer to come. Dropping it changes nothing about the batch.
#[derive(Debug)]
pub struct Ticket(pub(crate) oneshot::Receiver<AppendResult>);

impl Future for Ticket {
    type Output = AppendResult;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AppendResult> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| {
                let text = "this agent is shutting down; the record may or may not be stored";
                Err(Failure::new(ErrorCode::StorageUnavailable, text))
            })
        })
    }
}
