//! Reading batches: which extents, their bytes, and the offsets of each batch in them.
mod aborted;
mod complaints;
mod walk;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sh_base::{
    ErrorCode, Failure, Offset, ProducerId, TopicPartition,
    batch::{BatchError, HEADER_BYTES},
};
use sh_blob::BlobError;

use crate::{
    cache::{Age, BLOCK_BYTES, Rope},
    index::Known,
    reader::{Ends, Inner},
    row::{Extent, Place},
};
pub(crate) use complaints::Complaints;
use walk::{Gathered, Walked, Want};

/// GETs of one read that run at once.
const FETCHES_AT_ONCE: usize = 8;

/// What a consumer asks of one partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub partition: TopicPartition,
    /// The batch that holds this offset comes first (with its earlier records: the consumer skips them).
    pub offset: Offset,
    /// Of whole batches together.
    pub max_bytes: usize,
    /// The first batch comes even if it is larger than `max_bytes` (KIP-74).
    pub at_least_one: bool,
    /// Nothing at or past the last stable offset.
    pub read_committed: bool,
}

#[derive(Clone, Debug)]
pub struct ReadAnswer {
    pub batches: Vec<StoredBatch>,
    /// As of the same head version as the batches.
    pub ends: Ends,
    /// Aborted transactions that reach into the batches, for read_committed: producer, first offset.
    pub aborted: Vec<(ProducerId, Offset)>,
}

/// A batch as it is stored. What stands in its first 16 bytes is its sender's: base offset and leader epoch are these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    pub base_offset: Offset,
    pub leader_epoch: i32,
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store says so, not a cache.
    #[error("the offset is not within [{}, {}]", .0.log_start, .0.next)]
    OutOfRange(Ends),
    #[error("the topic is deleted")]
    Deleted,
    #[error(transparent)]
    Storage(Failure),
}

/// Why an attempt ended.
pub(crate) enum Trouble {
    Read(ReadError),
    /// An object that an extent names is not in the bucket: the extent may be old.
    Missing(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Read(ReadError::Storage(failure))
    }
}

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound(key) => Trouble::Missing(key),
            other => Failure::new(ErrorCode::StorageUnavailable, other.to_string()).into(),
        }
    }
}

impl Trouble {
    /// After the second look: the object is named by the store, and is not there.
    pub(crate) fn into_read_error(self) -> ReadError {
        match self {
            Trouble::Read(error) => error,
            Trouble::Missing(key) => {
                let what =
                    format!("object {key} is named by the metadata store and is not in the bucket");
                ReadError::Storage(Failure::new(ErrorCode::StorageUnavailable, what))
            }
        }
    }
}

/// What an answer is gathered from, in order.
enum Wanted {
    Bytes(Want),
    /// The marker of a transaction, made of its row.
    Marker(StoredBatch),
}

enum Fetched {
    Bytes(Want, Vec<Bytes>),
    Marker(StoredBatch),
}

fn marker(known: &Known) -> Option<StoredBatch> {
    Some(StoredBatch {
        base_offset: known.base,
        leader_epoch: known.extent.leader_epoch,
        bytes: known.extent.marker_batch()?.bytes().clone(),
    })
}

impl Inner {
    pub(crate) async fn read(self: &Arc<Self>, r: &ReadRequest) -> Result<ReadAnswer, ReadError> {
        let answer = match self.try_read(r).await {
            Err(Trouble::Missing(_)) => {
                self.index.forget(&r.partition);
                self.try_read(r).await
            }
            first => first,
        };
        answer.map_err(|trouble| {
            let error = trouble.into_read_error();
            if let ReadError::Storage(failure) = &error {
                self.complaints
                    .of(&self.env, r.partition, r.offset, failure);
            }
            error
        })
    }

    async fn try_read(self: &Arc<Self>, r: &ReadRequest) -> Result<ReadAnswer, Trouble> {
        let view = self.view(r.partition, r.offset).await?;
        let ends = Ends::of(&view.head);
        if ends.deleted {
            return Err(Trouble::Read(ReadError::Deleted));
        }
        if !(ends.log_start..=ends.next).contains(&r.offset) {
            return Err(Trouble::Read(ReadError::OutOfRange(ends)));
        }
        let limit = if r.read_committed {
            ends.last_stable
        } else {
            ends.next
        };
        let mut out = Gathered::new(r, limit);
        let mut extents = view.extents;
        // More than one round only where all that was looked at were gaps.
        loop {
            self.gather(r.partition, &extents, &mut out).await?;
            let reached = extents.last().map_or(limit, |k| k.extent.end);
            if !out.batches.is_empty() || out.is_full() || reached >= limit {
                break;
            }
            extents = self.view(r.partition, reached).await?.extents;
        }
        self.note(r, &extents, &out);
        let aborted = match out.next_offset().filter(|_| r.read_committed) {
            Some(upto) => {
                self.aborted(r.partition, &view.head, r.offset, upto)
                    .await?
            }
            None => Vec::new(),
        };
        Ok(ReadAnswer {
            batches: out.batches,
            ends,
            aborted,
        })
    }

    async fn gather(
        &self,
        tp: TopicPartition,
        extents: &[Known],
        out: &mut Gathered,
    ) -> Result<(), Trouble> {
        let wants = self.wants(tp, extents, out).await?;
        let mut fetched = stream::iter(wants)
            .map(|wanted| self.fetched(wanted))
            .buffered(FETCHES_AT_ONCE);
        while let Some(fetched) = fetched.try_next().await? {
            let goes_on = match fetched {
                Fetched::Bytes(want, pieces) => self.walk(want, pieces, out).await?,
                Fetched::Marker(marker) => out.take_marker(marker),
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    async fn fetched(&self, wanted: Wanted) -> Result<Fetched, Trouble> {
        Ok(match wanted {
            Wanted::Marker(marker) => Fetched::Marker(marker),
            Wanted::Bytes(want) => {
                let bytes = self.cache.bytes(&want.place, want.range.clone(), want.age);
                let pieces = bytes.await?;
                Fetched::Bytes(want, pieces)
            }
        })
    }

    /// The ranges that hold about as much as the answer takes.
    async fn wants(
        &self,
        tp: TopicPartition,
        extents: &[Known],
        out: &Gathered,
    ) -> Result<Vec<Wanted>, Trouble> {
        let mut wants = Vec::new();
        let mut room = out.max_bytes as u64;
        for known in extents.iter().take_while(|k| k.base < out.limit) {
            if room < HEADER_BYTES as u64 && !wants.is_empty() {
                break;
            }
            if let Some(marker) = marker(known) {
                room = room.saturating_sub(marker.bytes.len() as u64);
                wants.push(Wanted::Marker(marker));
                continue;
            }
            let Some(mut want) = self.want(known) else {
                continue;
            };
            if known.base < out.from {
                want = self.seek(tp, want, out.from).await?;
            }
            let least = room.max(HEADER_BYTES as u64);
            want.range.end = want.range.end.min(want.range.start + least);
            room = room.saturating_sub(want.range.end - want.range.start);
            wants.push(Wanted::Bytes(want));
        }
        Ok(wants)
    }

    /// All bytes of an extent; `None` for a gap and for a marker.
    fn want(&self, known: &Known) -> Option<Want> {
        let Extent {
            end,
            place,
            leader_epoch,
            ..
        } = known.extent;
        let place = place?;
        Some(Want {
            offset: known.base,
            end,
            leader_epoch,
            place,
            age: self.age(known),
            range: place.start..place.end(),
        })
    }

    /// Moves to the batch that holds `offset`: by what an earlier read noted, or by walking over the headers.
    async fn seek(
        &self,
        tp: TopicPartition,
        mut want: Want,
        offset: Offset,
    ) -> Result<Want, Trouble> {
        let hint = self.hints.lock().get(tp, offset);
        if let Some((object, at)) = hint.flatten()
            && object == want.place.object
            && want.range.contains(&at)
        {
            (want.offset, want.range.start) = (offset, at);
            return Ok(want);
        }
        let end = want.range.end;
        while want.offset < want.end {
            // To the end of the block that the next header begins in, and at least the header.
            let block_end = (want.range.start - want.place.start) / BLOCK_BYTES * BLOCK_BYTES
                + want.place.start
                + BLOCK_BYTES;
            let to = block_end
                .max(want.range.start + HEADER_BYTES as u64)
                .min(end);
            let range = want.range.start..to;
            let pieces = self.cache.bytes(&want.place, range, want.age).await?;
            if want.skip_to(offset, Rope::new(pieces))? {
                return Ok(want);
            }
        }
        Err(want
            .damaged("it holds fewer offsets than its extent")
            .into())
    }

    /// Takes batches out of the bytes of a want. Says whether there is room for those of the next.
    async fn walk(
        &self,
        mut want: Want,
        mut pieces: Vec<Bytes>,
        out: &mut Gathered,
    ) -> Result<bool, Trouble> {
        loop {
            match out.take_batches(&mut want, Rope::new(pieces))? {
                Walked::Through => return Ok(true),
                // The rope held all that the answer has room for.
                Walked::Cut(_) if !out.batches.is_empty() => break,
                Walked::Full => break,
                Walked::Cut(need) => {
                    let to = want.range.start + need as u64;
                    if to > want.place.end() {
                        return Err(want.damaged("its last batch is cut off").into());
                    }
                    let range = want.range.start..to;
                    pieces = self.cache.bytes(&want.place, range, want.age).await?;
                }
            }
        }
        out.stopped = Some(want);
        Ok(false)
    }

    /// Remembers where this reader goes on, and fetches ahead of it if it comes from where an earlier read ended.
    fn note(self: &Arc<Self>, r: &ReadRequest, extents: &[Known], out: &Gathered) {
        let Some(next) = out.next_offset() else {
            return;
        };
        let mut hints = self.hints.lock();
        let sequential = hints.get(r.partition, r.offset).is_some();
        let place = out
            .stopped
            .as_ref()
            .map(|w| (w.place.object, w.range.start));
        hints.put(r.partition, next, place);
        drop(hints);
        if sequential {
            self.fetch_ahead(self.ahead(extents, next, out));
        }
    }

    /// The next bytes of history from `next` on.
    fn ahead(&self, extents: &[Known], next: Offset, out: &Gathered) -> Vec<Ahead> {
        let mut room = self.cache.ahead_bytes();
        let mut ranges = Vec::new();
        for known in extents.iter().filter(|k| k.extent.end > next) {
            let Some(want) = self.want(known).filter(|w| w.age != Age::Tail && room > 0) else {
                continue;
            };
            let stopped = out.stopped.as_ref().filter(|s| s.place == want.place);
            let from = stopped.map_or(want.range.start, |s| s.range.start);
            let to = want.range.end.min(from + room);
            room -= to - from;
            ranges.push((want.place, from..to, want.age));
        }
        ranges
    }

    /// In the background, while there are not too many of these: the next read finds the blocks, or joins their fetch.
    fn fetch_ahead(self: &Arc<Self>, ranges: Vec<Ahead>) {
        if ranges.is_empty() {
            return;
        }
        let Ok(permit) = self.fetches_ahead.clone().try_acquire_owned() else {
            return;
        };
        let inner = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            for (place, range, age) in ranges {
                // Whoever reads it will meet the error, if it lasts.
                if inner.cache.bytes(&place, range, age).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Bytes that will be read next.
type Ahead = (Place, Range<u64>, Age);

/// Bytes of an object that are no batch.
pub(crate) fn damaged(place: &Place, error: BatchError) -> Failure {
    let object = place.object;
    Failure::new(
        ErrorCode::Internal,
        format!("object {object} is damaged: {error}"),
    )
}

impl Place {
    /// One past its last byte.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}
