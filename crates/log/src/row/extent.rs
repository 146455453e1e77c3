//! An extent: a run of record batches of one partition inside one object. Extents tile `[log start, next offset)`.
use bytes::Bytes;
use sh_base::{
    ObjectId, Offset, ProducerEpoch, ProducerId,
    batch::{Batch, BatchBuilder, Marker},
};

use super::ids::{put_object_id, read_object_id};
use crate::codec::{Malformed, Reader};

/// Where a run of batches lies, and which offsets and times it holds. Its key names the base offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// One past its last offset.
    pub end: Offset,
    /// `None`: offsets that hold nothing (a gap), or a transaction marker.
    pub place: Option<Place>,
    /// It is the marker that ended a transaction: one offset, no object. Its bytes follow from this row. Never with a place.
    pub marker: Option<TransactionMarker>,
    /// The leader epoch its batches are stamped with when they are read.
    pub leader_epoch: i32,
    /// Timestamps of its records, milliseconds; -1 where there are none.
    pub min_timestamp: i64,
    pub max_timestamp: i64,
}

/// Bytes `[start, start + len)` of an object: whole batches, one after the other. Batches of an L0 object do not know their
/// offsets: the first has the extent's base offset, each next one follows its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub object: ObjectId,
    pub start: u64,
    pub len: u32,
}

/// What ends a producer's transaction in a partition (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    pub producer: ProducerId,
    /// With transactions of version 2 (KIP-890) that of the next transaction.
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub committed: bool,
}

const FORMAT: u8 = 1;
/// What an extent holds.
const GAP: u8 = 0;
const BATCHES: u8 = 1;
const MARKER: u8 = 2;

impl TransactionMarker {
    /// The control batch as Kafka writes it; `timestamp` in milliseconds.
    pub fn batch(&self, timestamp: i64) -> Batch {
        let marker = match self.committed {
            true => Marker::Commit,
            false => Marker::Abort,
        };
        BatchBuilder::marker(
            marker,
            self.producer,
            self.epoch,
            self.coordinator_epoch,
            timestamp,
        )
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.producer.0.to_be_bytes());
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.coordinator_epoch.to_be_bytes());
        out.push(self.committed.into());
    }

    fn read(r: &mut Reader<'_>) -> Option<TransactionMarker> {
        Some(TransactionMarker {
            producer: ProducerId(r.i64()?),
            epoch: r.i16()?,
            coordinator_epoch: r.i32()?,
            committed: r.bool()?,
        })
    }
}

impl Extent {
    /// The extent of a marker that is written at `offset` and time `now_ms`.
    pub fn of_marker(
        marker: TransactionMarker,
        offset: Offset,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Extent {
        Extent {
            end: offset + 1,
            place: None,
            marker: Some(marker),
            leader_epoch,
            min_timestamp: now_ms,
            max_timestamp: now_ms,
        }
    }

    /// The control batch, where the extent is a marker.
    pub fn marker_batch(&self) -> Option<Batch> {
        self.marker.map(|marker| marker.batch(self.max_timestamp))
    }

    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend(self.end.to_be_bytes());
        match (&self.place, &self.marker) {
            (Some(place), _) => {
                out.push(BATCHES);
                put_object_id(&mut out, &place.object);
                out.extend(place.start.to_be_bytes());
                out.extend(place.len.to_be_bytes());
            }
            (None, Some(marker)) => {
                out.push(MARKER);
                marker.put(&mut out);
            }
            (None, None) => out.push(GAP),
        }
        out.extend(self.leader_epoch.to_be_bytes());
        out.extend(self.min_timestamp.to_be_bytes());
        out.extend(self.max_timestamp.to_be_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Extent, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("extent row"))
    }

    fn read(r: &mut Reader<'_>) -> Option<Extent> {
        (r.u8()? == FORMAT).then_some(())?;
        let end = r.i64()?;
        let (mut place, mut marker) = (None, None);
        match r.u8()? {
            GAP => {}
            BATCHES => {
                place = Some(Place {
                    object: read_object_id(r)?,
                    start: r.u64()?,
                    len: r.u32()?,
                });
            }
            MARKER => marker = Some(TransactionMarker::read(r)?),
            _ => return None,
        }
        let extent = Extent {
            end,
            place,
            marker,
            leader_epoch: r.i32()?,
            min_timestamp: r.i64()?,
            max_timestamp: r.i64()?,
        };
        r.end(extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_is_the_control_batch_of_kafka() {
        let marker = TransactionMarker {
            producer: ProducerId(7),
            epoch: 3,
            coordinator_epoch: 0,
            committed: false,
        };
        let extent = Extent::of_marker(marker, 41, 2, 1_000);
        assert_eq!(Extent::decode(&extent.encode()), Ok(extent.clone()));
        assert_eq!(extent.end, 42);
        let batch = extent.marker_batch().unwrap();
        let header = batch.header();
        assert!(header.is_transactional() && header.is_control());
        let producer = header.producer.unwrap();
        assert_eq!((producer.id, producer.epoch), (ProducerId(7), 3));
        assert_eq!((batch.offsets(), header.max_timestamp), (1, 1_000));
        let record = batch.records().unwrap().next().unwrap().unwrap();
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, 0][..]), "abort");
        assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 0, 0][..]));
        for cut in 0..extent.encode().len() {
            assert!(Extent::decode(&extent.encode()[..cut]).is_err());
        }
    }
}
