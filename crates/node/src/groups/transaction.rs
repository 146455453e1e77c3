//! Offsets that are committed by a transaction (KIP-98, KIP-447): they wait beside the committed ones until it ends.
//!
//! The group's coordinator puts them there ([`check`], in the update of [`super::change`]); whoever ends the transaction makes
//! them committed, or drops them, with [`PendingOffsets`], in the update that ends it.
use bytes::Bytes;
use sh_base::{Org, PartitionIndex, ProducerId, TopicId};
use sh_coord::{GroupError, command::Transaction};
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
    _transaction: &Transaction,
    _group: &str,
) -> Result<Option<Bytes>, GroupError> {
    match row {
        None => Err(GroupError::InvalidProducerIdMapping),
        Some(_) => Err(GroupError::InvalidTxnState),
    }
}

/// More offsets than one transaction may commit for one group: its end is one update.
pub const PENDING_MAX: usize = 1_500;

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
            if commit && !newer {
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
