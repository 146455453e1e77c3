//! Writing markers: what the end of a transaction makes of one partition.
use sh_base::TopicPartition;
use sh_meta::{Key, View, Write};

use crate::{
    codec::Malformed,
    index::scan::head_of,
    row::{AbortedTransaction, Extent, Head, ProducerState, TransactionMarker},
};

/// Which of these partitions somebody has a lease of: a marker has to wait until it is given up (DESIGN 5).
pub fn leased(
    view: &View,
    partitions: &[TopicPartition],
) -> Result<Vec<TopicPartition>, Malformed> {
    let mut leased = Vec::new();
    for tp in partitions {
        if head_of(view.row(&Key::Head(*tp)))?.lease.is_some() {
            leased.push(*tp);
        }
    }
    Ok(leased)
}

/// Puts a marker at the end of a partition: head, extent, producer, and the aborted transaction if there is one. The keys of
/// head and producer are locked, and nobody holds a lease. **A partition that is gone has nothing to mark**; one of a deleted
/// topic whose records are still there is marked: it may be brought back.
pub fn mark(
    view: &View,
    tp: TopicPartition,
    marker: &TransactionMarker,
    now_ms: i64,
) -> Result<Vec<Write>, Malformed> {
    let row = view.row(&Key::Head(tp));
    let old = head_of(row)?;
    let first_offset = old.first_offset_of(marker.producer);
    if old.deleted && first_offset.is_none() {
        return Ok(Vec::new());
    }
    let version = row.version + 1;
    let offset = old.next_offset;
    let mut head = Head {
        next_offset: offset + 1,
        ..old
    };
    head.open.retain(|open| open.producer != marker.producer);
    let extent = Extent::of_marker(*marker, offset, head.leader_epoch, now_ms);
    let covered = |key, value| Write {
        key,
        value: Some(value),
        version: Some(version),
    };
    let mut writes = vec![covered(Key::Extent(tp, offset), extent.encode())];
    if let Some(first_offset) = first_offset.filter(|_| !marker.committed) {
        head.aborted_end = offset + 1;
        let aborted = AbortedTransaction {
            producer: marker.producer,
            first_offset,
            last_stable_offset: head.last_stable_offset(),
        };
        let key = Key::AbortedTransaction(tp, offset);
        writes.push(covered(key, aborted.encode()));
    }
    writes.push(locked(Key::Head(tp), head.encode()));
    let key = Key::Producer(tp, marker.producer);
    let known = view.value(&key).map(|v| ProducerState::decode(v));
    let state = ProducerState::after_marker(
        known.transpose()?,
        marker.epoch,
        marker.coordinator_epoch,
        now_ms,
    );
    writes.push(locked(key, state.encode()));
    Ok(writes)
}

pub(super) fn locked(key: Key, value: bytes::Bytes) -> Write {
    Write {
        key,
        value: Some(value),
        version: None,
    }
}
