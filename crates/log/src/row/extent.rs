//! An extent: a run of record batches of one partition inside one object. Extents tile `[log start, next offset)`.
use bytes::Bytes;
use sh_base::{ObjectId, Offset};

use super::ids::{put_object_id, read_object_id};
use crate::codec::{Malformed, Reader};

/// Where a run of batches lies, and which offsets and times it holds. Its key names the base offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// One past its last offset.
    pub end: Offset,
    /// `None`: a gap, offsets that hold nothing.
    pub place: Option<Place>,
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

const FORMAT: u8 = 1;

impl Extent {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend(self.end.to_be_bytes());
        out.push(self.place.is_some().into());
        if let Some(place) = &self.place {
            put_object_id(&mut out, &place.object);
            out.extend(place.start.to_be_bytes());
            out.extend(place.len.to_be_bytes());
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
        let extent = Extent {
            end: r.i64()?,
            place: match r.bool()? {
                true => Some(Place {
                    object: read_object_id(r)?,
                    start: r.u64()?,
                    len: r.u32()?,
                }),
                false => None,
            },
            leader_epoch: r.i32()?,
            min_timestamp: r.i64()?,
            max_timestamp: r.i64()?,
        };
        r.end(extent)
    }
}
