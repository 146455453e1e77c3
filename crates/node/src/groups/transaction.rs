//! Offsets that are committed by a transaction (KIP-98, KIP-447): they wait beside the committed ones until it ends.
//!
//! The group's coordinator puts them there ([`check`], in the update of [`super::change`]); whoever ends the transaction makes
//! them committed, or drops them, with [`PendingOffsets`], in the update that ends it.
use bytes::Bytes;
use sh_base::{ErrorCode, Org, PartitionIndex, ProducerId, TopicId};
use sh_coord::{GroupError, command::Transaction};
use sh_log::{
    mutant,
    transaction::{TransactionRow, admit_offsets},
};
use sh_meta::{Key, KeyRange, MetaError, MetaStore, View, Write};

/// The row of a commit's transaction.
pub(super) fn key(org: &Org, transaction: &Transaction) -> Key {
    Key::Transaction(org.clone(), transaction.transactional_id.clone())
}

/// May this transaction commit offsets for the group? `Some`: and its row becomes this.
///
/// A transactional id without a row belongs to no producer.
pub(super) fn check(
    row: Option<&Bytes>,
    transaction: &Transaction,
    group: &str,
    now_ms: i64,
) -> Result<Option<Bytes>, GroupError> {
    let row = TransactionRow::of(row).map_err(|error| {
        tracing::error!(%error, "a transaction cannot be read");
        GroupError::UnknownServerError
    })?;
    let producer = (transaction.producer_id, transaction.producer_epoch);
    let admitted = admit_offsets(
        row.as_ref(),
        producer,
        group,
        transaction.adds_group,
        now_ms,
    );
    let changed = admitted.map_err(|code| match code {
        ErrorCode::InvalidProducerIdMapping => GroupError::InvalidProducerIdMapping,
        ErrorCode::InvalidProducerEpoch => GroupError::InvalidProducerEpoch,
        _ => GroupError::TransactionAbortable,
    })?;
    Ok(changed.map(|row| row.encode()))
}

/// Where a pending offset goes when its transaction is committed.
pub(super) fn committed(pending: &Key) -> Option<Key> {
    match pending {
        Key::TxnOffset(org, group, _, topic, partition) => Some(Key::GroupOffset(
            org.clone(),
            group.clone(),
            *topic,
            *partition,
        )),
        _ => None,
    }
}

/// More offsets than one transaction may commit for one group: its end is one update.
pub const PENDING_MAX: usize = 2_000;

/// What a transaction that ends holds for one group, and how its end changes that.
///
/// First [`PendingOffsets::read`] them, so that the update knows what to lock and read; in the update, [`PendingOffsets::end`]
/// says what to write, or that other offsets came meanwhile and it must be read again.
#[derive(Clone, Debug)]
pub struct PendingOffsets {
    org: Org,
    group: String,
    producer: ProducerId,
    offsets: Vec<(TopicId, PartitionIndex)>,
}

impl PendingOffsets {
    /// What is pending now.
    pub async fn read(
        store: &dyn MetaStore,
        org: &Org,
        group: &str,
        producer: ProducerId,
    ) -> Result<PendingOffsets, MetaError> {
        let range = KeyRange::txn_offsets_of(org, group, producer);
        let rows = store.scan(range, PENDING_MAX + 1, false).await?;
        let offsets = rows.into_iter().filter_map(|(key, _)| match key {
            Key::TxnOffset(_, _, _, topic, partition) => Some((topic, partition)),
            _ => None,
        });
        Ok(PendingOffsets {
            org: org.clone(),
            group: group.to_owned(),
            producer,
            offsets: offsets.collect(),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.offsets.len()
    }

    /// To be locked by the update: the row that covers the group's offsets.
    pub fn lock(&self) -> Key {
        Key::GroupCoordinator(self.org.clone(), self.group.clone())
    }

    /// To be read by the update, beside its locks: the pending offsets, and what they replace.
    pub fn reads(&self) -> Vec<Key> {
        let keys = self.offsets.iter();
        keys.flat_map(|at| [self.pending(*at), self.committed(*at)])
            .collect()
    }

    /// To be scanned by the update, so that nothing is overlooked; [`PendingOffsets::end`] wants its result.
    pub fn scan(&self) -> (KeyRange, usize) {
        let range = KeyRange::txn_offsets_of(&self.org, &self.group, self.producer);
        (range, PENDING_MAX + 1)
    }

    /// Pure: the writes that commit the offsets, or drop them. `None`: not what was read before; read again.
    ///
    /// A committed offset that is newer than the pending one stays. The coordinator goes on unaware: its row keeps its owner.
    pub fn end(
        &self,
        view: &View,
        scanned: &[(Key, sh_meta::Row)],
        commit: bool,
    ) -> Option<Vec<Write>> {
        let lock = self.lock();
        let Some(owner) = view.value(&lock) else {
            // The group was deleted, and its offsets with it.
            return scanned.is_empty().then(Vec::new);
        };
        let expected = self.offsets.iter().map(|at| self.pending(*at));
        if !expected.eq(scanned.iter().map(|(key, _)| key.clone())) {
            return None;
        }
        if scanned.is_empty() {
            return Some(Vec::new());
        }
        let version = view.row(&lock).version + 1;
        let covered = |key: Key, value: Option<Bytes>| Write {
            key,
            value,
            version: Some(version),
        };
        let mut writes = vec![Write {
            key: lock,
            value: Some(owner.clone()),
            version: None,
        }];
        for (at, (key, row)) in self.offsets.iter().zip(scanned) {
            let committed = self.committed(*at);
            let newer = view.row(&committed).version > row.version;
            if commit && !newer && !mutant::is("txn_offsets_lost") {
                writes.push(covered(committed, row.value.clone()));
            }
            writes.push(covered(key.clone(), None));
        }
        Some(writes)
    }

    fn pending(&self, (topic, partition): (TopicId, PartitionIndex)) -> Key {
        let (org, group) = (self.org.clone(), self.group.clone());
        Key::TxnOffset(org, group, self.producer, topic, partition)
    }

    fn committed(&self, (topic, partition): (TopicId, PartitionIndex)) -> Key {
        Key::GroupOffset(self.org.clone(), self.group.clone(), topic, partition)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sh_meta::Row;
    use uuid::Uuid;

    use super::*;

    const PRODUCER: ProducerId = ProducerId(7);

    fn pending(partitions: &[i32]) -> PendingOffsets {
        let at = |p: &i32| (TopicId(Uuid::from_u128(1)), *p);
        PendingOffsets {
            org: Org::default(),
            group: "g".into(),
            producer: PRODUCER,
            offsets: partitions.iter().map(at).collect(),
        }
    }

    fn row(value: &'static str, version: u64) -> Row {
        Row {
            value: Some(Bytes::from_static(value.as_bytes())),
            version,
        }
    }

    /// The group as it is stored: its coordinator at version 9, and committed offsets.
    fn stored(of: &PendingOffsets, committed: &[(usize, Row)]) -> View {
        let mut view = View::default();
        view.rows.insert(of.lock(), row("owner", 9));
        for (place, row) in committed {
            view.rows
                .insert(of.committed(of.offsets[*place]), row.clone());
        }
        view
    }

    fn scanned(of: &PendingOffsets) -> Vec<(Key, Row)> {
        of.offsets
            .iter()
            .map(|at| (of.pending(*at), row("pending", 5)))
            .collect()
    }

    fn values(writes: Vec<Write>) -> Vec<(Key, Option<Bytes>, Option<u64>)> {
        writes
            .into_iter()
            .map(|w| (w.key, w.value, w.version))
            .collect()
    }

    #[test]
    fn a_commit_makes_pending_offsets_committed_under_the_group_s_row() {
        let of = pending(&[0]);
        let at = of.offsets[0];
        let writes = of.end(&stored(&of, &[]), &scanned(&of), true).unwrap();
        let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            values(writes),
            [
                (of.lock(), value("owner"), None),
                (of.committed(at), value("pending"), Some(10)),
                (of.pending(at), None, Some(10)),
            ]
        );
    }

    #[test]
    fn an_abort_drops_them() {
        let of = pending(&[0, 1]);
        let writes = of.end(&stored(&of, &[]), &scanned(&of), false).unwrap();
        assert!(writes[1..].iter().all(|w| w.value.is_none()));
        assert_eq!(writes.len(), 3);
    }

    #[test]
    fn an_offset_that_was_committed_later_stays() {
        let of = pending(&[0, 1]);
        let view = stored(&of, &[(0, row("older", 4)), (1, row("newer", 6))]);
        let writes = of.end(&view, &scanned(&of), true).unwrap();
        let written = |place: usize| {
            let key = of.committed(of.offsets[place]);
            writes.iter().any(|w| w.key == key)
        };
        assert!(written(0) && !written(1));
    }

    #[test]
    fn offsets_that_came_meanwhile_are_not_overlooked() {
        let (read, now) = (pending(&[0]), pending(&[0, 1]));
        assert_eq!(read.end(&stored(&read, &[]), &scanned(&now), true), None);
        assert_eq!(now.end(&stored(&now, &[]), &scanned(&read), true), None);
    }

    #[test]
    fn a_group_that_was_deleted_has_nothing_to_commit() {
        let of = pending(&[0]);
        assert_eq!(of.end(&View::default(), &[], true), Some(Vec::new()));
    }
}
