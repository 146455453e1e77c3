//! Removing the rows of deleted topics, in the background.
use std::time::Duration;

use sh_base::{Failure, TopicId, TopicPartition};
use sh_log::Head;
use sh_meta::{Key, KeyRange, View, Write};

use super::{ROWS_PER_UPDATE, delete::heads};
use crate::{
    Node, TopicRow,
    control::{decision, delete, put, storage},
    topic::{Deletion, DeletionStage},
};

/// How long the heads of a purged topic go on refusing writes. A window that was filled before the deletion may wait for a
/// bucket that is away; when it is committed at last, it must find its partitions deleted and not absent.
const FENCE_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What is due for a deleted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A deletion that was cut short.
    Fence,
    /// Its extents and producers.
    Contents,
    /// What is left: heads and the topic's own row.
    Remains,
}

impl Node {
    /// One round over the deleted topics: completes deletions that were cut short, and removes the rows of topics that can no
    /// longer be brought back. Returns how many topics it worked on. Objects are left to garbage collection.
    pub async fn purge_deleted(&self, now_ms: i64) -> Result<usize, Failure> {
        let undelete_ms = self.broker().number("topic.undelete.ms");
        let mut worked = 0;
        for (id, row, deletion) in self.deleted_rows().await? {
            let due = due(&deletion, undelete_ms, now_ms);
            worked += usize::from(due != Due::Nothing);
            match due {
                Due::Nothing => {}
                Due::Fence => self.fence(id, row.partitions).await?,
                Due::Contents => self.purge_contents(id, &row).await?,
                Due::Remains => self.purge_remains(id, &row).await?,
            }
        }
        Ok(worked)
    }

    async fn purge_contents(&self, id: TopicId, row: &TopicRow) -> Result<(), Failure> {
        let purging = DeletionStage::Purging;
        if !self.set_stage(id, DeletionStage::Kept, purging).await? {
            return Ok(());
        }
        for partition in 0..row.partitions {
            self.purge_partition(TopicPartition::new(id, partition))
                .await?;
        }
        Ok(())
    }

    /// Extents, aborted transactions and producers go, in chunks, each with the head's lock held.
    async fn purge_partition(&self, tp: TopicPartition) -> Result<(), Failure> {
        for range in [
            KeyRange::extents(tp, 0, i64::MAX),
            KeyRange::aborted_transactions(tp, 0, i64::MAX),
            KeyRange::producers(tp),
        ] {
            loop {
                let rows = self
                    .store()
                    .scan(range.clone(), ROWS_PER_UPDATE, false)
                    .await
                    .map_err(storage)?;
                if rows.is_empty() {
                    break;
                }
                let keys: Vec<Key> = rows.into_iter().map(|(key, _)| key).collect();
                self.empty(tp, keys).await?;
            }
        }
        Ok(())
    }

    /// Deletes rows of a partition. Most are covered by the head and take its version; producers are locked themselves.
    async fn empty(&self, tp: TopicPartition, keys: Vec<Key>) -> Result<(), Failure> {
        let head = Key::Head(tp);
        let own_lock = |key: &&Key| matches!(key, Key::Producer(..));
        let locks = std::iter::once(&head).chain(keys.iter().filter(own_lock));
        self.change(locks.cloned().collect(), move |view| {
            let covered = view.row(&head).version + 1;
            let deletion = |key: &Key| Write {
                key: key.clone(),
                value: None,
                version: (!matches!(key, Key::Producer(..))).then_some(covered),
            };
            let mut writes: Vec<Write> = keys.iter().map(deletion).collect();
            writes.push(put(head.clone(), emptied(view, &head).encode()));
            decision(writes, &())
        })
        .await
    }

    async fn delete_rows(&self, keys: Vec<Key>) -> Result<(), Failure> {
        self.change(keys.clone(), move |_| {
            decision(keys.iter().cloned().map(delete).collect(), &())
        })
        .await
    }

    async fn purge_remains(&self, id: TopicId, row: &TopicRow) -> Result<(), Failure> {
        // A purge that was cut short left rows behind; they go now at the latest.
        for partition in 0..row.partitions {
            self.purge_partition(TopicPartition::new(id, partition))
                .await?;
        }
        let keys: Vec<Key> = heads(id, 0..row.partitions).collect();
        for chunk in keys.chunks(ROWS_PER_UPDATE) {
            self.delete_rows(chunk.to_vec()).await?;
        }
        self.delete_rows(vec![Key::Topic(id)]).await
    }
}

/// A purged head has nothing in it, but it keeps its offsets: they never go back, not even here.
fn emptied(view: &View, key: &Key) -> Head {
    let head = Head::of(view.value(key)).unwrap_or_default();
    Head {
        deleted: true,
        log_start: head.next_offset,
        lease: None,
        open: Vec::new(),
        ..head
    }
}

/// Pure: what a deleted topic is due for.
fn due(deletion: &Deletion, undelete_ms: i64, now_ms: i64) -> Due {
    let purge_ms = deletion.at_ms.saturating_add(undelete_ms);
    let gone_ms = purge_ms.saturating_add(FENCE_KEPT.as_millis() as i64);
    match deletion.stage {
        DeletionStage::Fencing if now_ms >= deletion.at_ms.saturating_add(FENCING_MS) => Due::Fence,
        DeletionStage::Kept if now_ms >= purge_ms => Due::Contents,
        DeletionStage::Purging if now_ms >= gone_ms => Due::Remains,
        _ => Due::Nothing,
    }
}

/// A deletion that has been fencing for so long was cut short.
const FENCING_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_topic_is_kept_then_emptied_then_forgotten() {
        let at = |stage, now_ms| {
            due(
                &Deletion {
                    at_ms: 1_000,
                    stage,
                },
                3_600_000,
                now_ms,
            )
        };
        let day = 24 * 3_600_000;
        assert_eq!(at(DeletionStage::Fencing, 2_000), Due::Nothing);
        assert_eq!(at(DeletionStage::Fencing, 61_000), Due::Fence);
        assert_eq!(at(DeletionStage::Kept, 3_600_999), Due::Nothing);
        assert_eq!(at(DeletionStage::Kept, 3_601_000), Due::Contents);
        assert_eq!(at(DeletionStage::Purging, 3_601_000), Due::Nothing);
        assert_eq!(at(DeletionStage::Purging, 3_601_000 + day), Due::Remains);
    }
}
