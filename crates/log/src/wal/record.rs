//! What the WAL holds: the acks=1 batches of windows that are not committed, and under which ids they went out.
use bytes::Bytes;
use sh_base::{ObjectId, Offset, Org, TopicPartition};

use super::{crc, segment::Salt};
use crate::{
    codec::{Reader, put_list},
    row::{put_object_id, put_partition, read_object_id, read_partition},
};

/// One record. Records are numbered 1, 2, 3... in the order of appending, across files and restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalRecord {
    /// A batch that was given an offset under a lease and is acknowledged once this record is synced.
    Batch(WalBatch),
    /// Batches that now go out under a new id: synced before that id's upload (model: `aw_no_chain`).
    Moved {
        to: ObjectId,
        /// The number of each batch's record, and its new ordinal.
        batches: Vec<(u64, u32)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalBatch {
    /// The window it went into, and which of its partition's batches in that window it is.
    pub object: ObjectId,
    pub ordinal: u32,
    pub partition: TopicPartition,
    pub org: Org,
    pub lease_epoch: u64,
    pub base_offset: Offset,
    /// Wall clock when it was acknowledged, milliseconds since the epoch. It decides only whether a replay asks first
    /// (`replay::require_young`).
    pub appended_ms: i64,
    /// The whole record batch. **Its own CRC must be good**: that of the record is made of it.
    pub bytes: Bytes,
}

/// Kinds are on disk. 1 was a batch without its time; no release wrote it.
const BATCH: u8 = 3;
const MOVED: u8 = 2;
/// Room for the head of a batch's record.
const HEAD_BYTES_ABOUT: usize = 128;
/// A record's bytes before its body: length, CRC and tag.
pub(super) const FRAME_BYTES: usize = 12;
/// In place of a length: the file ends here.
pub(super) const END_MARK: u32 = u32::MAX;

/// A record, ready to be written to whichever file there will be room in.
pub(super) struct Encoded {
    /// Everything but a batch's own bytes; its CRC is that of no file yet.
    head: Vec<u8>,
    payload: Bytes,
    crc: u32,
}

impl Encoded {
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// The bytes for the file with this salt.
    pub fn salted(&mut self, salt: Salt) -> [&[u8]; 2] {
        self.head[4..8].copy_from_slice(&(self.crc ^ salt.mask()).to_be_bytes());
        self.head[8..FRAME_BYTES].copy_from_slice(&salt.tag().to_be_bytes());
        [&self.head, &self.payload]
    }
}

/// Encodes a record. `into` is where in its write it begins.
pub(super) fn encode(number: u64, into: u32, record: &WalRecord) -> Encoded {
    let mut head = Vec::with_capacity(HEAD_BYTES_ABOUT);
    head.extend([0; FRAME_BYTES]);
    head.extend(number.to_be_bytes());
    let body = &mut head;
    body.extend(into.to_be_bytes());
    let payload = match record {
        WalRecord::Batch(b) => {
            body.push(BATCH);
            put_object_id(body, &b.object);
            body.extend(b.ordinal.to_be_bytes());
            put_partition(body, &b.partition);
            body.push(b.org.as_str().len() as u8);
            body.extend(b.org.as_str().as_bytes());
            body.extend(b.lease_epoch.to_be_bytes());
            body.extend(b.base_offset.to_be_bytes());
            body.extend(b.appended_ms.to_be_bytes());
            b.bytes.clone()
        }
        WalRecord::Moved { to, batches } => {
            body.push(MOVED);
            put_object_id(body, to);
            put_list(body, batches, |out, (number, ordinal)| {
                out.extend(number.to_be_bytes());
                out.extend(ordinal.to_be_bytes());
            });
            Bytes::new()
        }
    };
    let len = (head.len() - FRAME_BYTES + payload.len()) as u32;
    head[..4].copy_from_slice(&len.to_be_bytes());
    let crc = match record {
        WalRecord::Batch(_) => crc::with_batch(crc32c::crc32c(&head[FRAME_BYTES..]), &payload),
        WalRecord::Moved { .. } => crc32c::crc32c(&head[FRAME_BYTES..]),
    };
    Encoded { head, payload, crc }
}

/// A record as it was read.
pub(super) struct Numbered {
    pub number: u64,
    pub into: u32,
    pub record: WalRecord,
}

/// Reads the body of a record whose CRC was right.
pub(super) fn decode(body: &Bytes) -> Option<Numbered> {
    let mut r = Reader(body);
    let (number, into) = (r.u64()?, r.u32()?);
    let record = match r.u8()? {
        BATCH => {
            let object = read_object_id(&mut r)?;
            let ordinal = r.u32()?;
            let partition = read_partition(&mut r)?;
            let len = r.u8()? as usize;
            let org = std::str::from_utf8(r.bytes(len)?).ok()?.try_into().ok()?;
            let (lease_epoch, base_offset, appended_ms) = (r.u64()?, r.i64()?, r.i64()?);
            let bytes = body.slice(body.len() - r.0.len()..);
            WalRecord::Batch(WalBatch {
                object,
                ordinal,
                partition,
                org,
                lease_epoch,
                base_offset,
                appended_ms,
                bytes,
            })
        }
        MOVED => {
            let to = read_object_id(&mut r)?;
            let batches = r.list(12, |r| Some((r.u64()?, r.u32()?)))?;
            r.end(WalRecord::Moved { to, batches })?
        }
        _ => return None,
    };
    Some(Numbered {
        number,
        into,
        record,
    })
}
