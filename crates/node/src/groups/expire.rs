//! Dropping committed offsets: of topics that are gone, and those that are too old (KIP-211).
//!
//! Which offsets are too old is the group's to say; this job reads the rows and asks only the groups that may have any, so that
//! groups nobody uses stay out of memory.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, stream};
use sh_base::{Failure, PartitionIndex, TopicId};
use sh_coord::{
    Client, Command, GroupError, Reply,
    command::ExpireOffsets,
    offsets::{OffsetRow, RetentionStart, StoredOffset, is_expired},
};
use sh_meta::{Decision, Family, Key, KeyRange, View, Write};

use super::{CoordinatorKind, Names, committed::scan_all, row::GroupKey};
use crate::{
    Node, TopicRow,
    control::{decision, storage},
    topic::DeletionStage,
};

/// Groups that are looked through at the same time.
const AT_ONCE: usize = 8;
/// Rows of orphans that one update removes.
const ROWS_PER_UPDATE: usize = 1_000;

/// The offsets of one group as they are stored.
#[derive(Default)]
struct Stored {
    offsets: BTreeMap<(TopicId, PartitionIndex), OffsetRow>,
    pending: BTreeMap<(TopicId, PartitionIndex), OffsetRow>,
}

impl Node {
    /// One round over the groups that this agent should coordinate. Returns how many offsets were dropped. A group that could
    /// not be read is left to the next round.
    pub async fn expire_group_offsets(&self) -> Result<usize, Failure> {
        let cluster = self.cluster().await?;
        let groups = scan_all(&**self.store(), KeyRange::family(Family::Group)).await;
        let ours = |(key, _)| {
            let Key::Group(org, group) = key else {
                return None;
            };
            let place = cluster.coordinator(&org, CoordinatorKind::Group, &group);
            let ours = place.is_some_and(|agent| agent.id == self.agent());
            ours.then(|| GroupKey::new(&org, &group))
        };
        let ours: Vec<GroupKey> = groups
            .map_err(unreadable)?
            .into_iter()
            .filter_map(ours)
            .collect();
        let expired = stream::iter(ours).map(|key| self.try_expire(key));
        let dropped: usize = expired
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await
            .iter()
            .sum();
        metrics::counter!("streamhouse_group_offsets_expired_total").increment(dropped as u64);
        Ok(dropped)
    }

    async fn try_expire(&self, key: GroupKey) -> usize {
        let group = key.group.clone();
        self.expire_of(key).await.unwrap_or_else(|error| {
            tracing::warn!(%group, %error, "offsets of a group do not expire in this round");
            0
        })
    }

    async fn expire_of(&self, key: GroupKey) -> Result<usize, Failure> {
        let stored = self.stored_offsets(&key).await?;
        let topics = self.topics_of(&stored).await?;
        let gone: Vec<Key> = stored.orphans(&key, &topics).collect();
        self.remove_orphans(&key, &gone).await?;
        let minutes = self.broker().number("offsets.retention.minutes");
        let retention_ms = minutes.saturating_mul(60_000);
        if !stored.may_expire(&topics, self.env().wall_ms(), retention_ms) {
            return Ok(gone.len());
        }
        // SUBTLE: the version first, then the rows again: what is committed in between makes the group refuse.
        let Some(as_of) = self.groups().durable_version(key.clone()).await else {
            return Ok(gone.len());
        };
        let offsets = self.stored_offsets(&key).await?.named(&topics);
        let command = Command::ExpireOffsets(ExpireOffsets { as_of, offsets });
        let (client, names) = (Client::default(), Names::default());
        let reply = self.groups().ask(key, client, command, names).await;
        let expired = match reply {
            Reply::ExpireOffsets(reply) => reply.offsets_deleted,
            _ => 0,
        };
        Ok(gone.len() + expired)
    }

    async fn stored_offsets(&self, key: &GroupKey) -> Result<Stored, Failure> {
        let mut stored = Stored::default();
        for range in [
            KeyRange::group_offsets(&key.org, &key.group),
            KeyRange::txn_offsets(&key.org, &key.group),
        ] {
            let rows = scan_all(&**self.store(), range).await.map_err(unreadable)?;
            for (key, row) in rows {
                stored.add(key, row.value.as_deref().unwrap_or_default())?;
            }
        }
        Ok(stored)
    }

    /// The names of these topics; `None` for one that is gone for good. Of one that may still be brought back, too.
    async fn topics_of(
        &self,
        stored: &Stored,
    ) -> Result<HashMap<TopicId, Option<String>>, Failure> {
        let ids: BTreeSet<TopicId> = stored.topics().collect();
        let keys: Vec<Key> = ids.iter().map(|id| Key::Topic(*id)).collect();
        let rows = self.store().get(&keys).await.map_err(storage)?;
        let name = |value: &[u8]| -> Result<Option<String>, Failure> {
            let row = TopicRow::decode(value)?;
            let purging = row
                .deletion
                .is_some_and(|d| d.stage == DeletionStage::Purging);
            Ok((!purging).then_some(row.name))
        };
        let named = ids.into_iter().zip(rows).map(|(id, row)| {
            let name = row.value.as_deref().map_or(Ok(None), name)?;
            Ok((id, name))
        });
        named.collect()
    }

    async fn remove_orphans(&self, group: &GroupKey, gone: &[Key]) -> Result<(), Failure> {
        for keys in gone.chunks(ROWS_PER_UPDATE) {
            let (lock, keys) = (group.coordinator(), keys.to_vec());
            self.change::<()>(vec![lock.clone()], move |view| remove(view, &lock, &keys))
                .await?;
        }
        Ok(())
    }
}

impl Stored {
    fn add(&mut self, key: Key, value: &[u8]) -> Result<(), Failure> {
        let row = OffsetRow::decode(value);
        let row = row.map_err(|e| crate::control::damaged("committed offset", e))?;
        match key {
            Key::GroupOffset(_, _, topic, partition) => {
                self.offsets.insert((topic, partition), row)
            }
            Key::TxnOffset(_, _, _, topic, partition) => {
                self.pending.insert((topic, partition), row)
            }
            _ => None,
        };
        Ok(())
    }

    fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.offsets
            .keys()
            .chain(self.pending.keys())
            .map(|(topic, _)| *topic)
    }

    /// The committed offsets of topics that are gone.
    fn orphans(
        &self,
        group: &GroupKey,
        topics: &HashMap<TopicId, Option<String>>,
    ) -> impl Iterator<Item = Key> {
        let gone = |(topic, _): &&(TopicId, PartitionIndex)| topics.get(topic) == Some(&None);
        self.offsets.keys().filter(gone).map(|(topic, partition)| {
            let (org, name) = (group.org.clone(), group.group.to_string());
            Key::GroupOffset(org, name, *topic, *partition)
        })
    }

    /// Could the group find any of these too old, or itself to be without use?
    fn may_expire(
        &self,
        topics: &HashMap<TopicId, Option<String>>,
        now_ms: i64,
        retention_ms: i64,
    ) -> bool {
        let living = |topic: &TopicId| topics.get(topic).is_some_and(Option::is_some);
        let mut offsets = self
            .offsets
            .iter()
            .filter(|((topic, _), _)| living(topic))
            .peekable();
        let nothing = offsets.peek().is_none() && self.pending.is_empty();
        // The earliest that retention can begin is the commit.
        nothing
            || offsets.any(|(_, row)| is_expired(row, RetentionStart::Commit, now_ms, retention_ms))
    }

    /// As the group wants to know them; those of topics that are gone are no more.
    fn named(self, topics: &HashMap<TopicId, Option<String>>) -> Vec<StoredOffset> {
        let Stored {
            mut offsets,
            pending,
        } = self;
        for (at, row) in &pending {
            offsets.entry(*at).or_insert_with(|| row.clone());
        }
        let named = offsets
            .into_iter()
            .filter_map(|((topic_id, partition), row)| {
                let in_transaction = pending.contains_key(&(topic_id, partition));
                let topic = match topics.get(&topic_id) {
                    Some(None) if !in_transaction => return None,
                    Some(name) => name.clone().unwrap_or_default(),
                    // Committed since; it counts as use of the group.
                    None => topic_id.to_string(),
                };
                Some(StoredOffset {
                    topic,
                    topic_id,
                    partition,
                    row,
                    in_transaction,
                })
            });
        named.collect()
    }
}

/// Pure: offsets go, and the row that covers them is written as it is.
fn remove(view: &View, lock: &Key, keys: &[Key]) -> Decision {
    let Some(owner) = view.value(lock) else {
        return decision(Vec::new(), &());
    };
    let version = Some(view.row(lock).version + 1);
    let gone = keys.iter().map(|key| Write {
        key: key.clone(),
        value: None,
        version,
    });
    let cover = crate::control::put(lock.clone(), owner.clone());
    decision(gone.chain([cover]).collect(), &())
}

fn unreadable(code: GroupError) -> Failure {
    Failure::new(sh_base::ErrorCode::CoordinatorNotAvailable, code.text())
}
