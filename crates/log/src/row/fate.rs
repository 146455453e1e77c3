//! The fate of an object id: committed or aborted. Whoever inserts first decides, for ever.
use bytes::Bytes;
use sh_base::{ErrorCode, Offset, TopicPartition};

use super::ids::{put_partition, read_partition};
use crate::codec::{Malformed, Reader, put_list};

/// What the metadata store says of an object id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With the answer of each batch, by partition, in the order of the object. Kept until the agent has written that it needs
    /// it no more: fencing alone is not enough (model: `aw_forget_fenced`).
    Committed(Vec<RunAnswers>),
    Aborted,
}

/// The answers of one partition's batches in a window, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAnswers {
    pub partition: TopicPartition,
    pub answers: Vec<Answer>,
}

/// What the commit made of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the log, from this offset on.
    Stored { base_offset: Offset },
    /// It was in the log already, from this offset on.
    Duplicate { base_offset: Offset },
    /// Not stored, and never will be.
    Refused(Refusal),
    /// Not stored: another agent holds the lease (or an earlier batch was told this). To be submitted again.
    Again,
}

/// Why a batch is refused for good.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    OutOfOrderSequence = 1,
    InvalidProducerEpoch = 2,
    TopicDeleted = 3,
    InvalidTransactionState = 4,
    InvalidProducerIdMapping = 5,
    /// The partition is not part of the open transaction.
    TransactionAbortable = 6,
}

impl Refusal {
    pub fn code(self) -> ErrorCode {
        match self {
            Refusal::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
            Refusal::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            Refusal::TopicDeleted => ErrorCode::UnknownTopicOrPartition,
            Refusal::InvalidTransactionState => ErrorCode::InvalidTxnState,
            Refusal::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
            Refusal::TransactionAbortable => ErrorCode::TransactionAbortable,
        }
    }
    fn from_u8(n: u8) -> Option<Refusal> {
        Some(match n {
            1 => Refusal::OutOfOrderSequence,
            2 => Refusal::InvalidProducerEpoch,
            3 => Refusal::TopicDeleted,
            4 => Refusal::InvalidTransactionState,
            5 => Refusal::InvalidProducerIdMapping,
            6 => Refusal::TransactionAbortable,
            _ => return None,
        })
    }
}

const FORMAT: u8 = 1;

impl Fate {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        match self {
            Fate::Aborted => out.push(0),
            Fate::Committed(runs) => {
                out.push(1);
                put_list(&mut out, runs, RunAnswers::put);
            }
        }
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Fate, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("object row"))
    }

    fn read(r: &mut Reader<'_>) -> Option<Fate> {
        (r.u8()? == FORMAT).then_some(())?;
        let fate = match r.u8()? {
            0 => Fate::Aborted,
            1 => Fate::Committed(r.list(24, RunAnswers::read)?),
            _ => return None,
        };
        r.end(fate)
    }
}

impl RunAnswers {
    pub fn put(out: &mut Vec<u8>, run: &RunAnswers) {
        put_partition(out, &run.partition);
        put_list(out, &run.answers, |out, answer| answer.put(out));
    }
    pub fn read(r: &mut Reader<'_>) -> Option<RunAnswers> {
        Some(RunAnswers {
            partition: read_partition(r)?,
            answers: r.list(1, Answer::read)?,
        })
    }
}

impl Answer {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Answer::Stored { base_offset } => {
                out.push(0);
                out.extend(base_offset.to_be_bytes());
            }
            Answer::Duplicate { base_offset } => {
                out.push(1);
                out.extend(base_offset.to_be_bytes());
            }
            Answer::Refused(why) => out.extend([2, *why as u8]),
            Answer::Again => out.push(3),
        }
    }
    fn read(r: &mut Reader<'_>) -> Option<Answer> {
        Some(match r.u8()? {
            0 => Answer::Stored {
                base_offset: r.i64()?,
            },
            1 => Answer::Duplicate {
                base_offset: r.i64()?,
            },
            2 => Answer::Refused(Refusal::from_u8(r.u8()?)?),
            3 => Answer::Again,
            _ => return None,
        })
    }
}
