//! Walking over the batches of an extent: each header tells the next one's place and offset.
use std::ops::Range;

use sh_base::{
    ErrorCode, Failure, Offset,
    batch::{BatchHeader, HEADER_BYTES},
};

use super::{ReadRequest, StoredBatch};
use crate::{
    cache::{Age, Rope},
    row::Place,
};

/// Bytes of one extent that a read wants: from a batch's first byte on.
#[derive(Clone)]
pub struct Want {
    /// The offset of the batch at `range.start`.
    pub offset: Offset,
    pub end: Offset,
    pub leader_epoch: i32,
    pub place: Place,
    pub age: Age,
    pub range: Range<u64>,
}

/// Where a walk over a want's bytes stopped.
pub enum Walked {
    /// At the end of the extent, or at the limit.
    Through,
    /// The next batch is more than the answer takes.
    Full,
    /// The next batch needs this many bytes.
    Cut(usize),
}

/// The answer as it grows.
pub struct Gathered {
    pub from: Offset,
    /// Nothing at or past it.
    pub limit: Offset,
    pub max_bytes: usize,
    pub at_least_one: bool,
    pub batches: Vec<StoredBatch>,
    pub bytes: usize,
    /// Where the next batch is, if the walk stopped within an extent.
    pub stopped: Option<Want>,
    /// The walk stopped at a marker that had no room.
    full: bool,
}

impl Want {
    /// Skips batches that end at or before `offset`. Says whether the next batch is the one that holds it; else the rope was
    /// too short.
    pub fn skip_to(&mut self, offset: Offset, mut rope: Rope) -> Result<bool, Failure> {
        let begun = self.range.start;
        while let Some(header) = rope.peek::<HEADER_BYTES>() {
            let header = self.header(&header)?;
            let end = self.offset + offsets(&header);
            if end > offset {
                return Ok(true);
            }
            rope.skip(header.size as usize);
            self.offset = end;
            self.range.start += u64::from(header.size);
            if self.range.start >= self.place.end() {
                break;
            }
        }
        match self.range.start > begun && self.range.start < self.place.end() {
            true => Ok(false),
            false => Err(self.damaged("it ends before the offsets of its extent")),
        }
    }

    /// The header of the batch at hand, which must fit the extent.
    fn header(&self, bytes: &[u8]) -> Result<BatchHeader, Failure> {
        let header = BatchHeader::read(bytes).map_err(|e| self.damaged(e))?;
        match self.offset + offsets(&header) <= self.end {
            true => Ok(header),
            false => Err(self.damaged("it holds more offsets than its extent")),
        }
    }

    pub fn damaged(&self, why: impl std::fmt::Display) -> Failure {
        let Want {
            place,
            range,
            offset,
            ..
        } = self;
        let (object, at) = (place.object, range.start);
        let what = format!("object {object} is damaged at byte {at}, offset {offset}: {why}");
        tracing::error!("{what}");
        Failure::new(ErrorCode::Internal, what)
    }
}

impl Gathered {
    pub fn new(r: &ReadRequest, limit: Offset) -> Gathered {
        Gathered {
            from: r.offset,
            limit,
            max_bytes: r.max_bytes,
            at_least_one: r.at_least_one,
            batches: Vec::new(),
            bytes: 0,
            stopped: None,
            full: false,
        }
    }

    /// Did the walk stop because there is no more room?
    pub fn is_full(&self) -> bool {
        self.full || self.stopped.is_some()
    }

    /// Takes the marker of a transaction. Says whether there was room.
    pub fn take_marker(&mut self, marker: StoredBatch) -> bool {
        let size = marker.bytes.len();
        if !self.takes(size) {
            self.full = true;
            return false;
        }
        self.bytes += size;
        self.batches.push(marker);
        true
    }

    fn takes(&self, size: usize) -> bool {
        let first = self.at_least_one && self.batches.is_empty();
        first || self.bytes + size <= self.max_bytes
    }

    pub fn take_batches(&mut self, want: &mut Want, mut rope: Rope) -> Result<Walked, Failure> {
        while want.offset < want.end.min(self.limit) {
            let Some(header) = rope.peek::<HEADER_BYTES>() else {
                return Ok(Walked::Cut(HEADER_BYTES));
            };
            let header = want.header(&header)?;
            let size = header.size as usize;
            if !self.takes(size) {
                return Ok(Walked::Full);
            }
            let Some(bytes) = rope.take(size) else {
                return Ok(Walked::Cut(size));
            };
            self.batches.push(StoredBatch {
                base_offset: want.offset,
                leader_epoch: want.leader_epoch,
                bytes,
            });
            self.bytes += size;
            want.offset += offsets(&header);
            want.range.start += size as u64;
        }
        Ok(Walked::Through)
    }

    /// Where a reader goes on after this answer.
    pub fn next_offset(&self) -> Option<Offset> {
        let last = self.batches.last()?;
        // It was read from this very header a moment ago.
        let header = BatchHeader::read(&last.bytes).ok()?;
        Some(last.base_offset + offsets(&header))
    }
}

fn offsets(header: &BatchHeader) -> Offset {
    Offset::from(header.last_offset_delta) + 1
}
