//! Object bytes in memory: byte-bounded, single flight, the tail apart from history.
//!
//! Two budgets. The **tail** holds own windows, in the memory they came in, and other agents' new objects, fetched whole: many
//! readers want all of it now. **History** holds blocks for readers that lag, so that they never push the tail out. An object
//! of which several runs are asked for is fetched whole there, too: one GET instead of many.
//!
//! What is counted is what the cache pins. Answers on their way out may pin more for a moment: their sockets are bounded.
mod rope;
mod segment;
mod window;

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;
use sh_base::ObjectId;
use sh_blob::{BlobError, Bucket, ObjectKey};

use crate::{object::RunBytes, row::Place};
pub use rope::Rope;
use segment::Segment;
use window::Window;

/// What a lagging reader's GET asks for at most: large enough to pay for a round trip, small enough that many readers fit.
pub const BLOCK_BYTES: u64 = 1024 * 1024;
/// A third run of one object that is asked for makes it worth its whole.
const RUNS_BEFORE_WHOLE: usize = 3;
/// Objects whose asked runs are remembered.
const TOUCHED_MAX: usize = 4096;

/// Who asks: the budget is chosen by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// Just committed; everybody reads it.
    Tail,
    /// Somebody catches up.
    History,
}

pub struct ObjectCache {
    bucket: Arc<dyn Bucket>,
    tail: Segment<ObjectId, Held>,
    history: Segment<Block, Bytes>,
    touched: Mutex<Touched>,
}

#[derive(Clone)]
enum Held {
    Own(Arc<Window>),
    Whole(Bytes),
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

/// Which runs of which objects were asked for lately.
#[derive(Default)]
struct Touched {
    runs: HashMap<ObjectId, Runs>,
    order: VecDeque<ObjectId>,
}

enum Runs {
    /// The first bytes of some of them.
    Asked(Vec<u64>),
    /// The object does not fit into the budget: it is read by blocks only.
    TooLarge,
}

impl ObjectCache {
    /// `bytes_max` in all: three quarters for the tail, one for history.
    pub fn new(bucket: Arc<dyn Bucket>, bytes_max: usize) -> ObjectCache {
        ObjectCache {
            bucket,
            tail: Segment::new(bytes_max / 4 * 3),
            history: Segment::new(bytes_max / 4),
            touched: Mutex::default(),
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
        match age {
            Age::Tail => {
                let held = self.fetch_tail(place.object).await?;
                held.slice(&range).ok_or_else(|| beyond(place))
            }
            Age::History if self.wants_whole(place) => {
                let object = self.fetch_whole(place.object).await?;
                cut(&object, &range)
                    .map(|piece| vec![piece])
                    .ok_or_else(|| beyond(place))
            }
            Age::History => self.blocks(place, range).await,
        }
    }

    /// How far ahead of a sequential reader it is sensible to fetch.
    pub fn ahead_bytes(&self) -> u64 {
        (self.history.bytes_max() as u64 / 16).min(4 * BLOCK_BYTES)
    }

    async fn fetch_tail(&self, object: ObjectId) -> Result<Held, BlobError> {
        let fetch = async {
            count_fetch("tail");
            let bytes = self.bucket.get_all(&key(object)).await?;
            let len = bytes.len();
            Ok((Held::Whole(bytes), len))
        };
        self.tail.get_or_fetch(object, fetch).await
    }

    async fn fetch_whole(&self, object: ObjectId) -> Result<Bytes, BlobError> {
        let fetch = async {
            count_fetch("whole");
            let bytes = self.bucket.get_all(&key(object)).await?;
            let len = bytes.len();
            if len > self.history.bytes_max() {
                self.touched.lock().give_up(object);
            }
            Ok((bytes, len))
        };
        self.history.get_or_fetch(Block::Whole(object), fetch).await
    }

    fn wants_whole(&self, place: &Place) -> bool {
        if self.history.get(&Block::Whole(place.object)).is_some() {
            return true;
        }
        let small = u64::from(place.len) < BLOCK_BYTES;
        small && self.touched.lock().touch(place)
    }

    /// The blocks of the extent's own grid that hold the range, cut to it.
    async fn blocks(&self, place: &Place, range: Range<u64>) -> Result<Vec<Bytes>, BlobError> {
        let end = place.start + u64::from(place.len);
        let first = (range.start - place.start) / BLOCK_BYTES;
        let last = (range.end - place.start).div_ceil(BLOCK_BYTES);
        let grid = (first..last).map(|i| {
            let start = place.start + i * BLOCK_BYTES;
            start..(start + BLOCK_BYTES).min(end)
        });
        let fetches = grid.map(|block| {
            let wanted = range.start.max(block.start)..range.end.min(block.end);
            self.block(place.object, block, wanted)
        });
        try_join_all(fetches).await
    }

    async fn block(
        &self,
        object: ObjectId,
        block: Range<u64>,
        wanted: Range<u64>,
    ) -> Result<Bytes, BlobError> {
        let id = Block::Part {
            object,
            start: block.start,
            end: block.end,
        };
        let fetch = async {
            count_fetch("block");
            let mut got = self
                .bucket
                .get(&key(object), std::slice::from_ref(&block))
                .await?;
            let bytes = got.pop().unwrap_or_default();
            let len = bytes.len();
            Ok((bytes, len))
        };
        let bytes = self.history.get_or_fetch(id, fetch).await?;
        let within = wanted.start - block.start..wanted.end - block.start;
        cut(&bytes, &within).ok_or_else(|| {
            BlobError::Definite(format!("the bucket gave too few bytes of {object}"))
        })
    }
}

impl Held {
    fn slice(&self, range: &Range<u64>) -> Option<Vec<Bytes>> {
        match self {
            Held::Own(window) => window.slice(range),
            Held::Whole(bytes) => cut(bytes, range).map(|piece| vec![piece]),
        }
    }
}

impl Touched {
    fn give_up(&mut self, object: ObjectId) {
        if let Some(runs) = self.runs.get_mut(&object) {
            *runs = Runs::TooLarge;
        }
    }

    /// Notes the run; says whether enough different ones of its object were asked for.
    fn touch(&mut self, place: &Place) -> bool {
        let runs = self.runs.entry(place.object).or_insert_with(|| {
            self.order.push_back(place.object);
            Runs::Asked(Vec::new())
        });
        let Runs::Asked(starts) = runs else {
            return false;
        };
        if starts.len() < RUNS_BEFORE_WHOLE && !starts.contains(&place.start) {
            starts.push(place.start);
        }
        let enough = starts.len() >= RUNS_BEFORE_WHOLE;
        if self.order.len() > TOUCHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
        enough
    }
}

fn count_fetch(what: &'static str) {
    metrics::counter!("streamhouse_cache_fetches_total", "what" => what).increment(1);
}

fn key(object: ObjectId) -> String {
    ObjectKey::L0(object).to_string()
}

fn cut(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let fits = range.start <= range.end && range.end <= bytes.len() as u64;
    fits.then(|| bytes.slice(range.start as usize..range.end as usize))
}

fn beyond(place: &Place) -> BlobError {
    let (object, end) = (place.object, place.start + u64::from(place.len));
    BlobError::Definite(format!(
        "object {object} ends before byte {end}, which an extent names"
    ))
}
