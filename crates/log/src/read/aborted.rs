//! Which aborted transactions reach into what is read (KIP-98): read_committed consumers leave their records out.
use bytes::Bytes;
use sh_base::{Offset, ProducerId, TopicPartition};
use sh_meta::{Key, KeyRange};

use super::Trouble;
use crate::{
    index::scan::{malformed, unavailable},
    reader::Inner,
    row::{AbortedTransaction, Head},
};

/// Rows of one page of a scan.
const PAGE: usize = 100;

impl Inner {
    /// The aborted transactions with records in `[from, upto)`, by the offsets of their markers: those that end at or after
    /// `from` and begin before `upto`.
    ///
    /// `head` is the one that the batches were read under, and `upto` is not past its last stable offset. **What belongs to
    /// the head is in the store**: a marker's row is written with the head that shows it. Rows that came later are of
    /// transactions that begin at or past the last stable offset.
    pub(super) async fn aborted(
        &self,
        tp: TopicPartition,
        head: &Head,
        from: Offset,
        upto: Offset,
    ) -> Result<Vec<(ProducerId, Offset)>, Trouble> {
        let mut aborted = Vec::new();
        let mut range = KeyRange::aborted_transactions(tp, from, head.aborted_end);
        // Most reads end here: nothing was aborted that could reach so far.
        while range.start < range.end {
            let rows = self.store.scan(range.clone(), PAGE, false).await;
            let rows = rows.map_err(unavailable)?;
            let full = rows.len() == PAGE;
            for (key, row) in rows {
                range.start = after(&key);
                let Some(value) = row.value else {
                    continue;
                };
                let row = AbortedTransaction::decode(&value).map_err(malformed)?;
                if row.first_offset < upto {
                    aborted.push((row.producer, row.first_offset));
                }
                if row.last_stable_offset >= upto {
                    return Ok(aborted);
                }
            }
            if !full {
                break;
            }
        }
        Ok(aborted)
    }
}

/// The first key after `key`.
fn after(key: &Key) -> Bytes {
    [&key.encode()[..], &[0]].concat().into()
}
