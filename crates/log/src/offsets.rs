//! Look-ups by time and epoch (ListOffsets, OffsetForLeaderEpoch), and what describes a partition. All from the store.
use std::collections::HashMap;

use bytes::Bytes;
use sh_base::{
    ErrorCode, Failure, Offset, PartitionIndex, ProducerId, TopicId, TopicPartition,
    batch::{Batch, BatchHeader, HEADER_BYTES, NO_TIMESTAMP, TimestampType},
};
use sh_meta::{Key, KeyRange};

use crate::{
    cache::{Age, Rope},
    index::scan::{malformed, read_extents, read_extents_at, read_head, unavailable},
    mutant,
    read::{ReadError, Trouble, damaged},
    reader::{Inner, Reader},
    row::{Extent, OpenTransaction, Place, ProducerState},
};

/// Rows of one page of a scan.
const PAGE: usize = 2_000;

/// No epoch, no offset (Kafka's `UNDEFINED_EPOCH` and `UNDEFINED_EPOCH_OFFSET`).
const UNDEFINED: (i32, Offset) = (-1, -1);

/// A record that a look-up found: its offset, its timestamp in milliseconds, its leader epoch.
pub type FoundRecord = (Offset, i64, i32);

impl Reader {
    /// The first record at or past the log start whose timestamp is at or after `timestamp_ms`, if its offset is before `upto`.
    pub async fn offset_at(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
        upto: Offset,
    ) -> Result<Option<FoundRecord>, Failure> {
        let search = Search {
            timestamp_ms,
            log_start: self.ends(partition).await?.log_start,
        };
        let found = self.inner().first_match(partition, &search, upto).await?;
        Ok(found.filter(|(offset, ..)| *offset < upto))
    }

    /// The first of the records with the greatest timestamp (KIP-734).
    pub async fn max_timestamp(
        &self,
        partition: TopicPartition,
    ) -> Result<Option<FoundRecord>, Failure> {
        let ends = self.ends(partition).await?;
        // The extent that holds the log start may owe its greatest timestamp to records that were deleted.
        let (mut first, mut rest) = (NO_TIMESTAMP, NO_TIMESTAMP);
        let mut pages = Pages::new(self.inner(), partition, ends.log_start, ends.next);
        while let Some(page) = pages.next().await? {
            for (base, extent) in page {
                let side = if base < ends.log_start {
                    &mut first
                } else {
                    &mut rest
                };
                *side = extent.max_timestamp.max(*side);
            }
        }
        for timestamp in [first.max(rest), rest] {
            let found = match timestamp {
                NO_TIMESTAMP => None,
                timestamp => self.offset_at(partition, timestamp, ends.next).await?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The end of a leader epoch (OffsetForLeaderEpoch, KIP-279): the greatest epoch that is not after `epoch`, and the offset
    /// where the next one began; (-1, -1) for an epoch that has not been.
    pub async fn epoch_end(
        &self,
        partition: TopicPartition,
        epoch: i32,
    ) -> Result<(i32, Offset), Failure> {
        let ends = self.ends(partition).await?;
        if epoch == ends.leader_epoch {
            return Ok((epoch, ends.next));
        }
        // Epoch 0 is where every partition begins.
        let mut floor = 0;
        for (later, began) in &ends.epochs {
            if *later > epoch {
                return Ok(if epoch < 0 {
                    UNDEFINED
                } else {
                    (floor, *began)
                });
            }
            floor = *later;
        }
        Ok(UNDEFINED)
    }

    /// What the partition knows of its producers.
    pub async fn producers(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<(ProducerId, ProducerState)>, Failure> {
        let mut range = KeyRange::producers(partition);
        let mut producers = Vec::new();
        loop {
            let rows = self.inner().store.scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(unavailable)?;
            let Some((last, _)) = rows.last() else {
                return Ok(producers);
            };
            range.start = after(last);
            for (key, row) in rows {
                if let (Key::Producer(_, id), Some(value)) = (key, row.value) {
                    producers.push((id, ProducerState::decode(&value).map_err(malformed)?));
                }
            }
        }
    }

    /// The transactions that are open in a partition.
    pub async fn open_transactions(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<OpenTransaction>, Failure> {
        let (_, head) = read_head(&*self.inner().store, partition).await?;
        Ok(head.open)
    }

    /// Bytes of all batches in the log (DescribeLogDirs).
    pub async fn size_bytes(&self, partition: TopicPartition) -> Result<u64, Failure> {
        let range = KeyRange::extents(partition, Offset::MIN, Offset::MAX);
        let sizes = self.sizes(range).await?;
        Ok(sizes.get(&partition.partition).copied().unwrap_or(0))
    }

    /// The same for all partitions of a topic that hold any, in one scan.
    pub async fn sizes_bytes(
        &self,
        topic: TopicId,
    ) -> Result<HashMap<PartitionIndex, u64>, Failure> {
        self.sizes(KeyRange::extents_of_topic(topic)).await
    }

    async fn sizes(&self, mut range: KeyRange) -> Result<HashMap<PartitionIndex, u64>, Failure> {
        let mut sizes = HashMap::new();
        loop {
            let rows = self.inner().store.scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(unavailable)?;
            for (key, row) in &rows {
                if let (Key::Extent(tp, _), Some(value)) = (key, &row.value) {
                    let place = Extent::decode(value).map_err(malformed)?.place;
                    let size = sizes.entry(tp.partition).or_default();
                    *size += place.map_or(0, |p| u64::from(p.len));
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == PAGE => range.start = after(last),
                _ => return Ok(sizes),
            }
        }
    }
}

/// The first key after `key`.
fn after(key: &Key) -> Bytes {
    [&key.encode()[..], &[0]].concat().into()
}

struct Search {
    timestamp_ms: i64,
    log_start: Offset,
}

impl Inner {
    /// Extents that changed under our feet are looked at once more.
    async fn first_match(
        &self,
        tp: TopicPartition,
        search: &Search,
        upto: Offset,
    ) -> Result<Option<FoundRecord>, Failure> {
        let found = match self.try_first_match(tp, search, upto).await {
            Err(Trouble::Missing(_)) => self.try_first_match(tp, search, upto).await,
            first => first,
        };
        found.map_err(|trouble| match trouble.into_read_error() {
            ReadError::Storage(failure) => failure,
            other => Failure::new(ErrorCode::Internal, other.to_string()),
        })
    }

    async fn try_first_match(
        &self,
        tp: TopicPartition,
        search: &Search,
        upto: Offset,
    ) -> Result<Option<FoundRecord>, Trouble> {
        let mut pages = Pages::new(self, tp, search.log_start, upto);
        while let Some(page) = pages.next().await? {
            for (base, extent) in page {
                let newest = match mutant::is("time_by_min") {
                    true => extent.min_timestamp,
                    false => extent.max_timestamp,
                };
                if newest < search.timestamp_ms {
                    continue;
                }
                if let Some(found) = self.match_in_extent(search, base, &extent).await? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    async fn match_in_extent(
        &self,
        search: &Search,
        base: Offset,
        extent: &Extent,
    ) -> Result<Option<FoundRecord>, Trouble> {
        let Some(place) = extent.place else {
            return Ok(search.match_marker(base, extent));
        };
        let range = place.start..place.end();
        let pieces = self.cache.bytes(&place, range, Age::History).await?;
        let mut rope = Rope::new(pieces);
        let mut offset = base;
        while rope.len() > 0 {
            let batch = next_batch(&mut rope, &place)?;
            if let Some((offset, timestamp)) = search.match_in_batch(offset, &batch, &place)? {
                return Ok(Some((offset, timestamp, extent.leader_epoch)));
            }
            offset += batch.offsets();
        }
        Ok(None)
    }
}

fn next_batch(rope: &mut Rope, place: &Place) -> Result<Batch, Failure> {
    // A cut header reads as one that is none.
    let header = rope.peek::<HEADER_BYTES>().unwrap_or([0; HEADER_BYTES]);
    let header = BatchHeader::read(&header).map_err(|e| damaged(place, e))?;
    let bytes = rope.take(header.size as usize).unwrap_or_default();
    Batch::parse_trusted(bytes).map_err(|e| damaged(place, e))
}

impl Search {
    /// Markers have a timestamp, too, and Kafka finds them by it.
    fn match_marker(&self, base: Offset, extent: &Extent) -> Option<FoundRecord> {
        let matches = extent.marker.is_some()
            && base >= self.log_start
            && extent.max_timestamp >= self.timestamp_ms;
        matches.then_some((base, extent.max_timestamp, extent.leader_epoch))
    }

    /// The first record of a batch (whose base offset is `base`) that matches: offset and timestamp.
    fn match_in_batch(
        &self,
        base: Offset,
        batch: &Batch,
        place: &Place,
    ) -> Result<Option<(Offset, i64)>, Failure> {
        let header = batch.header();
        let end = base + batch.offsets();
        if header.max_timestamp < self.timestamp_ms || end <= self.log_start {
            return Ok(None);
        }
        if header.timestamp_type() == TimestampType::LogAppendTime {
            return Ok(Some((base.max(self.log_start), header.max_timestamp)));
        }
        for record in batch.records().map_err(|e| damaged(place, e))? {
            let record = record.map_err(|e| damaged(place, e))?;
            let offset = base + Offset::from(record.offset_delta);
            if offset >= self.log_start && record.timestamp >= self.timestamp_ms {
                return Ok(Some((offset, record.timestamp)));
            }
        }
        Ok(None)
    }
}

/// The extents of a partition from the one that holds `from` on, page by page, straight from the store.
struct Pages<'a> {
    inner: &'a Inner,
    tp: TopicPartition,
    from: Offset,
    to: Offset,
    begun: bool,
}

impl<'a> Pages<'a> {
    fn new(inner: &'a Inner, tp: TopicPartition, from: Offset, to: Offset) -> Self {
        Pages {
            inner,
            tp,
            from,
            to,
            begun: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<(Offset, Extent)>>, Failure> {
        let (store, tp) = (&*self.inner.store, self.tp);
        let page = match self.begun || self.from == Offset::MIN {
            true => read_extents(store, tp, self.from, self.to, PAGE, false).await?,
            false => read_extents_at(store, tp, self.from, self.to, PAGE).await?,
        };
        self.begun = true;
        let Some((base, _)) = page.last() else {
            return Ok(None);
        };
        self.from = base + 1;
        Ok(Some(page))
    }
}
