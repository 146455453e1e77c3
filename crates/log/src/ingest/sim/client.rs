//! Clients: what they send, what they are told, and when.
use std::sync::Arc;

use futures::FutureExt;
use sh_base::{
    Offset, Org, ProducerId, TopicId, TopicPartition,
    batch::{Batch, BatchBuilder, BatchProducer, Codec},
};

use super::world::World;
use crate::{
    api::{Ack, Append, Charge, Ticket},
    ingest::machine::Event,
};

pub(super) const PARTITIONS: usize = 2;

/// One record that a client sent: its own batch.
pub(super) struct Sent {
    pub partition: usize,
    pub ack: Ack,
    pub idempotent: bool,
    batch: Batch,
    /// Connections (agent, life) in the order of sending.
    pub on: Vec<(usize, u32)>,
    pub tickets: Vec<(usize, Ticket)>,
    pub promises: Vec<Promised>,
    pub told: Vec<Told>,
}

/// An offset that a record was given under a lease.
pub(super) struct Promised {
    pub by: usize,
    pub offset: Offset,
    pub lease: u64,
}

/// An answer that a client got.
pub(super) struct Told {
    pub offset: Offset,
    pub by: usize,
    /// The lease under which the offset was promised, for an answer before the commit.
    pub lease: Option<u64>,
    /// The disk that the answer stood for was lost.
    pub disk_lost: bool,
}

pub(super) fn tp(partition: usize) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), partition as i32)
}

/// A batch of one record, which says its number.
fn make_batch(number: usize, producer: Option<BatchProducer>) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(p) = producer {
        builder = builder.producer(p);
    }
    builder.push(
        number as i64,
        None,
        Some(&(number as u64).to_be_bytes()),
        &[],
    );
    builder.build().unwrap()
}

pub(super) fn number_of(batch: &Batch) -> usize {
    batch.header().base_timestamp as usize
}

impl World {
    pub(super) fn produce(&mut self) {
        let i = self.chance.below(2);
        if !self.is_awake(i) {
            return;
        }
        let number = self.sent.len();
        let partition = self.chance.below(PARTITIONS);
        let ack = if self.chance.below(4) < self.mood.leader_quarters {
            Ack::Leader
        } else {
            Ack::Durable
        };
        let idempotent = self.chance.below(4) < self.mood.idempotent_quarters;
        let producer = idempotent.then(|| {
            let base_sequence = self.next_sequence[partition];
            self.next_sequence[partition] += 1;
            BatchProducer {
                id: ProducerId(1),
                epoch: 0,
                base_sequence,
            }
        });
        let batch = make_batch(number, producer);
        let (on, tickets, promises, told) = (vec![], vec![], vec![], vec![]);
        self.sent.push(Sent {
            partition,
            ack,
            idempotent,
            batch,
            on,
            tickets,
            promises,
            told,
        });
        self.send(i, number);
    }

    /// An idempotent producer that got no answer, or an error, sends its record again, anywhere.
    pub(super) fn produce_again(&mut self) {
        let mut again: Vec<_> = (0..self.sent.len())
            .filter(|n| self.sent[*n].idempotent)
            .collect();
        let Some(number) = self.chance.draw(&mut again) else {
            return;
        };
        let i = self.chance.below(2);
        if self.is_awake(i) && self.sent[number].told.is_empty() {
            self.send(i, number);
        }
    }

    fn send(&mut self, i: usize, number: usize) {
        let life = self.agents[i].life;
        let sent = &mut self.sent[number];
        let memory = Arc::new(tokio::sync::Semaphore::new(1));
        let permit = memory.try_acquire_owned().unwrap();
        let (reply, ticket) = tokio::sync::oneshot::channel();
        let append = Append {
            transaction: None,
            partition: tp(sent.partition),
            org: Org::default(),
            ack: sent.ack,
            batch: sent.batch.clone(),
            charge: Charge::new(permit),
            lease_allowed: true,
        };
        sent.on.push((i, life));
        sent.tickets.push((i, Ticket(ticket)));
        let text = format!(
            "send {number} to {i}: p{} {:?} idem {}",
            sent.partition, sent.ack, sent.idempotent
        );
        self.note(text);
        self.handle(i, Event::Append(append, reply));
    }

    /// **What a client is told**, the moment it is told.
    pub(super) fn hear_answers(&mut self) {
        for sent in &mut self.sent {
            let (promises, told) = (&sent.promises, &mut sent.told);
            sent.tickets
                .retain_mut(|(by, ticket)| match ticket.now_or_never() {
                    None => true,
                    Some(Ok(appended)) => {
                        let offset = appended.base_offset;
                        let promise = promises
                            .iter()
                            .rev()
                            .find(|p| p.by == *by && p.offset == offset);
                        told.push(Told {
                            offset,
                            by: *by,
                            lease: promise.map(|p| p.lease),
                            disk_lost: false,
                        });
                        false
                    }
                    Some(Err(_)) => false,
                });
        }
    }
}
