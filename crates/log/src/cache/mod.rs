//! Object bytes in memory: byte-bounded, single flight, the tail apart from history.
//!
//! Two budgets. The **tail** holds own windows, in the memory they came in, and other agents' new objects, fetched whole: many
//! readers want all of it now. **History** holds blocks for readers that lag, so that they never push the tail out. An object
//! of which several runs are asked for is fetched whole there, too: one GET instead of many.
//!
//! What is in neither is asked of the zone's ring first, then of the bucket (see [`source`]); peers are lent from both.
//!
//! What is counted is what the cache pins. Answers on their way out may pin more for a moment: their sockets are bounded.
mod rope;
mod segment;
mod source;
mod touched;
mod window;

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;
use sh_base::ObjectId;
use sh_blob::{BlobError, Bucket};

use crate::{
    object::RunBytes,
    peers::{Loan, Part, Peers},
    row::Place,
};
pub use rope::Rope;
use segment::Segment;
use source::{Asker, Source};
use touched::Touched;
use window::Window;

/// What a lagging reader's GET asks for at most: large enough to pay for a round trip, small enough that many readers fit.
pub const BLOCK_BYTES: u64 = 1024 * 1024;
/// Who asks: the budget is chosen by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// Just committed, and enough of its object is read here to fetch all of it: everybody reads it.
    Tail,
    /// Just committed, and little of its object is read here.
    Part,
    /// Somebody catches up.
    History,
}

pub struct ObjectCache {
    source: Source,
    tail: Segment<ObjectId, Held>,
    history: Segment<Block, Loan>,
    /// `None` where parts cost no more than wholes.
    touched: Option<Mutex<Touched>>,
}

#[derive(Clone)]
enum Held {
    Own(Arc<Window>),
    Fetched(Loan),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Block {
    Whole(ObjectId),
    Part {
        object: ObjectId,
        start: u64,
        end: u64,
    },
}

impl ObjectCache {
    /// `bytes_max` in all: three quarters for the tail, one for history. `peers` are asked before the bucket, once there are any.
    /// `wholes`: see [`ReadConfig::whole_objects`](crate::ReadConfig::whole_objects).
    pub fn new(
        bucket: Arc<dyn Bucket>,
        peers: Arc<OnceLock<Peers>>,
        bytes_max: usize,
        wholes: bool,
    ) -> ObjectCache {
        ObjectCache {
            source: Source::new(bucket, peers),
            tail: Segment::new(bytes_max / 4 * 3),
            history: Segment::new(bytes_max / 4),
            touched: wholes.then(Mutex::default),
        }
    }

    /// Keeps an own window as it lies in memory.
    pub fn remember(&self, object: ObjectId, runs: Vec<RunBytes>) {
        let window = Window::new(runs);
        let bytes = window.pinned_bytes();
        self.tail.insert(object, Held::Own(Arc::new(window)), bytes);
    }

    /// The bytes of `range` (counted from the object's first byte), which lies within `place`, in pieces.
    pub async fn bytes(
        &self,
        place: &Place,
        range: Range<u64>,
        age: Age,
    ) -> Result<Vec<Bytes>, BlobError> {
        if let Some(pieces) = self
            .tail
            .get(&place.object)
            .and_then(|held| held.slice(&range))
        {
            metrics::counter!("streamhouse_cache_tail_hits_total").increment(1);
            return Ok(pieces);
        }
        if age == Age::Tail {
            let held = self.fetch_tail(place.object, Asker::Here).await?;
            if let Some(pieces) = held.slice(&range) {
                return Ok(pieces);
            }
        } else if self.wants_whole(place, age) {
            let loan = self.fetch_whole(place.object, age, Asker::Here).await?;
            if let Some(piece) = loan.slice(&range) {
                return Ok(vec![piece]);
            }
        }
        // Not worth its whole, or the whole ends early: then these bytes by themselves tell what is wrong.
        self.blocks(place, range, age).await
    }

    /// A part of an object for a peer: from memory, or from the bucket, into memory. In pieces, the first of which lies at the
    /// offset that comes with them.
    pub async fn lend(&self, object: ObjectId, part: Part) -> Result<(u64, Vec<Bytes>), BlobError> {
        let held = self.tail.get(&object);
        let found = match (&part, held) {
            (Part::Bytes(range), Some(held)) => held.slice(range).map(|p| (range.start, p)),
            (Part::Tail | Part::Whole, Some(held)) => held.all(),
            (_, None) => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let loan = match part {
            Part::Tail => match self.fetch_tail(object, Asker::Peer).await?.all() {
                Some(found) => return Ok(found),
                None => self.fetch_whole(object, Age::Tail, Asker::Peer).await?,
            },
            Part::Whole => self.fetch_whole(object, Age::History, Asker::Peer).await?,
            Part::Bytes(range) => {
                let bytes = self.lend_bytes(object, range.clone()).await?;
                return Ok((range.start, vec![bytes]));
            }
        };
        Ok((loan.start, vec![loan.bytes]))
    }

    /// Several agents that each ask for a little make an object worth its whole, as one that asks for much.
    async fn lend_bytes(&self, object: ObjectId, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let place = Place {
            object,
            start: range.start,
            len,
        };
        if self.wants_whole(&place, Age::Part) {
            let loan = self.fetch_whole(object, Age::History, Asker::Peer).await?;
            if let Some(bytes) = loan.slice(&range) {
                return Ok(bytes);
            }
        }
        let loan = self.fetch_block(object, range, Age::History, Asker::Peer);
        Ok(loan.await?.bytes)
    }

    /// How far ahead of a sequential reader it is sensible to fetch.
    pub fn ahead_bytes(&self) -> u64 {
        (self.history.bytes_max() as u64 / 16).min(4 * BLOCK_BYTES)
    }

    async fn fetch_tail(&self, object: ObjectId, asker: Asker) -> Result<Held, BlobError> {
        let fetch = async {
            let loan = self.source.whole(object, Age::Tail, asker).await?;
            let len = loan.bytes.len();
            Ok((Held::Fetched(loan), len))
        };
        self.tail.get_or_fetch(object, fetch).await
    }

    async fn fetch_whole(
        &self,
        object: ObjectId,
        age: Age,
        asker: Asker,
    ) -> Result<Loan, BlobError> {
        let fetch = async {
            let loan = self.source.whole(object, age, asker).await?;
            let len = loan.bytes.len();
            if len > self.history.bytes_max() {
                self.give_up(object);
            }
            Ok((loan, len))
        };
        self.history.get_or_fetch(Block::Whole(object), fetch).await
    }

    fn give_up(&self, object: ObjectId) {
        if let Some(touched) = &self.touched {
            touched.lock().give_up(object);
        }
    }

    fn wants_whole(&self, place: &Place, age: Age) -> bool {
        let small = u64::from(place.len) < BLOCK_BYTES;
        let touched = self.touched.as_ref().filter(|_| small);
        // Noted also where the whole is there already: that it is read proves it worth it.
        let worth = touched.is_some_and(|t| t.lock().touch(place, age == Age::History));
        worth || self.history.get(&Block::Whole(place.object)).is_some()
    }

    /// The blocks of the extent's own grid that hold the range, cut to it.
    async fn blocks(
        &self,
        place: &Place,
        range: Range<u64>,
        age: Age,
    ) -> Result<Vec<Bytes>, BlobError> {
        let end = place.start + u64::from(place.len);
        let first = (range.start - place.start) / BLOCK_BYTES;
        let last = (range.end - place.start).div_ceil(BLOCK_BYTES);
        let grid = (first..last).map(|i| {
            let start = place.start + i * BLOCK_BYTES;
            start..(start + BLOCK_BYTES).min(end)
        });
        let fetches = grid.map(|block| {
            let wanted = range.start.max(block.start)..range.end.min(block.end);
            self.block(place.object, block, wanted, age)
        });
        try_join_all(fetches).await
    }

    async fn block(
        &self,
        object: ObjectId,
        block: Range<u64>,
        wanted: Range<u64>,
        age: Age,
    ) -> Result<Bytes, BlobError> {
        let loan = self.fetch_block(object, block, age, Asker::Here).await?;
        loan.slice(&wanted).ok_or_else(|| {
            BlobError::Definite(format!("the bucket gave too few bytes of {object}"))
        })
    }

    async fn fetch_block(
        &self,
        object: ObjectId,
        block: Range<u64>,
        age: Age,
        asker: Asker,
    ) -> Result<Loan, BlobError> {
        let id = Block::Part {
            object,
            start: block.start,
            end: block.end,
        };
        let fetch = async {
            let loan = self.source.block(object, block, age, asker).await?;
            let len = loan.bytes.len();
            Ok((loan, len))
        };
        self.history.get_or_fetch(id, fetch).await
    }
}

impl Held {
    fn slice(&self, range: &Range<u64>) -> Option<Vec<Bytes>> {
        match self {
            Held::Own(window) => window.slice(range),
            Held::Fetched(loan) => loan.slice(range).map(|piece| vec![piece]),
        }
    }

    /// All batches, and where the first one lies.
    fn all(&self) -> Option<(u64, Vec<Bytes>)> {
        match self {
            Held::Own(window) => window.all(),
            Held::Fetched(loan) => Some((loan.start, vec![loan.bytes.clone()])),
        }
    }
}
