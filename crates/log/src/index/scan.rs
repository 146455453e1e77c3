//! Reading heads and extents from the store.
use sh_base::{ErrorCode, Failure, Offset, TopicPartition};
use sh_meta::{Key, KeyRange, MetaError, MetaStore, Row};

use super::chain::{EXTENTS_KEPT, Snapshot};
use crate::{
    codec::Malformed,
    row::{Extent, Head},
};

/// How often a scan is tried again that a change of the partition tore.
const ATTEMPTS: usize = 8;

/// The metadata store did not answer: the client may try again.
pub fn unavailable(error: MetaError) -> Failure {
    Failure::new(ErrorCode::StorageUnavailable, error.to_string())
}

/// A row that cannot be read: a bug, or a newer version's.
pub fn malformed(error: Malformed) -> Failure {
    Failure::new(ErrorCode::Internal, error.to_string())
}

/// The head of a partition and its row version. A tombstone is a deleted partition; no row at all an empty one.
pub async fn read_head(store: &dyn MetaStore, tp: TopicPartition) -> Result<(u64, Head), Failure> {
    let mut rows = store.get(&[Key::Head(tp)]).await.map_err(unavailable)?;
    let row = rows.pop().unwrap_or_default();
    let head = head_of(&row).map_err(malformed)?;
    Ok((row.version, head))
}

/// The head that a row's value and version tell.
pub fn head_of(row: &Row) -> Result<Head, Malformed> {
    if row.value.is_none() && row.version > 0 {
        return Ok(Head {
            deleted: true,
            ..Head::default()
        });
    }
    Head::of(row.value.as_ref())
}

/// Up to `limit` extents whose base lies in `[from, to)`, in order of their bases; the last ones first with `newest`.
pub async fn read_extents(
    store: &dyn MetaStore,
    tp: TopicPartition,
    from: Offset,
    to: Offset,
    limit: usize,
    newest: bool,
) -> Result<Vec<(Offset, Extent)>, Failure> {
    let range = KeyRange::extents(tp, from, to);
    let rows = store
        .scan(range, limit, newest)
        .await
        .map_err(unavailable)?;
    let mut extents = rows
        .into_iter()
        .filter_map(|(key, row)| match key {
            Key::Extent(_, base) => Some((base, row.value?)),
            _ => None,
        })
        .map(|(base, value)| Ok((base, Extent::decode(&value)?)))
        .collect::<Result<Vec<_>, Malformed>>()
        .map_err(malformed)?;
    if newest {
        extents.reverse();
    }
    Ok(extents)
}

/// Up to `limit` extents from the one that holds `offset` on, with bases before `to`.
pub async fn read_extents_at(
    store: &dyn MetaStore,
    tp: TopicPartition,
    offset: Offset,
    to: Offset,
    limit: usize,
) -> Result<Vec<(Offset, Extent)>, Failure> {
    let holder = read_extents(store, tp, Offset::MIN, offset + 1, 1, true).await?;
    let from = holder.first().map_or(offset, |(base, _)| *base);
    let mut extents = read_extents(store, tp, from, to, limit, false).await?;
    extents.retain(|(_, e)| e.end > offset);
    Ok(extents)
}

/// A partition as it stands: **the head first**, then the newest extents before its next offset. If they do not tile, the
/// partition changed in between; it is read again.
pub async fn read_snapshot(store: &dyn MetaStore, tp: TopicPartition) -> Result<Snapshot, Failure> {
    for _ in 0..ATTEMPTS {
        let (version, head) = read_head(store, tp).await?;
        if head.deleted {
            return Ok(Snapshot::of_deleted(version, head));
        }
        let to = head.next_offset;
        let extents = read_extents(store, tp, Offset::MIN, to, EXTENTS_KEPT, true).await?;
        let complete = extents.len() < EXTENTS_KEPT;
        if let Ok(snapshot) = Snapshot::of_scan(version, head, extents, complete) {
            return Ok(snapshot);
        }
    }
    Err(torn(tp))
}

/// The rows contradict each other, and not because they are changing: a bug.
pub fn torn(tp: TopicPartition) -> Failure {
    let what =
        format!("the extents of {tp:?} do not fit its head; `streamhouse inspect meta` shows both");
    Failure::new(ErrorCode::Internal, what)
}
