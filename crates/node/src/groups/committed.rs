//! Reading committed offsets (OffsetFetch).
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sh_base::{PartitionIndex, TopicId};
use sh_coord::{Client, Command, GroupError, Reply, command::OffsetFetch, offsets::OffsetRow};
use sh_meta::{Key, KeyRange, MetaStore, Row};

use crate::{Caller, Node, Topic, TopicChoice, topic_table::after};

/// Rows of one page of a scan.
const PAGE: usize = 1_000;

/// The committed offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// As the caller named it.
    pub topic: String,
    pub partitions: Vec<CommittedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPartition {
    pub partition: PartitionIndex,
    /// `None`: nothing was committed (the wire's -1). `UnstableOffsetCommit`: an open transaction will.
    pub committed: Result<Option<OffsetRow>, GroupError>,
}

/// Offsets by topic and partition.
type Offsets = BTreeMap<(TopicId, PartitionIndex), OffsetRow>;

impl Node {
    /// OffsetFetch for one group: of these partitions, or (`None`) of all that have an offset. Every commit that was
    /// answered is seen. An unknown group, topic or partition has no offset.
    ///
    /// With `require_stable` a partition that an open transaction has committed for is refused (KIP-447).
    pub async fn committed_offsets(
        &self,
        caller: &Caller,
        group: &str,
        client: Client,
        fetch: OffsetFetch,
        topics: Option<Vec<(String, Vec<PartitionIndex>)>>,
        require_stable: bool,
    ) -> Result<Vec<CommittedTopic>, GroupError> {
        let command = Command::OffsetFetch(fetch);
        match self.group(caller, group, client, command).await {
            Reply::OffsetFetch(None) => {}
            Reply::OffsetFetch(Some(code)) => return Err(code),
            _ => return Err(GroupError::UnknownServerError),
        }
        let unstable = match require_stable {
            true => self.unstable(caller, group).await?,
            false => BTreeSet::new(),
        };
        match topics {
            Some(topics) => self.some_offsets(caller, group, topics, &unstable).await,
            None => self.all_offsets(caller, group, &unstable).await,
        }
    }

    async fn some_offsets(
        &self,
        caller: &Caller,
        group: &str,
        topics: Vec<(String, Vec<PartitionIndex>)>,
        unstable: &BTreeSet<(TopicId, PartitionIndex)>,
    ) -> Result<Vec<CommittedTopic>, GroupError> {
        let mut found = Vec::with_capacity(topics.len());
        let mut keys = Vec::new();
        for (name, partitions) in topics {
            let topic = self.topic_of_name(caller, &name).await?;
            if let Some(topic) = &topic {
                let key = |p: &PartitionIndex| {
                    Key::GroupOffset(caller.org.clone(), group.to_owned(), topic.id, *p)
                };
                keys.extend(partitions.iter().map(key));
            }
            found.push((name, topic, partitions));
        }
        let offsets = self.read_offsets(&keys).await?;
        let shown = found.into_iter().map(|(name, topic, partitions)| {
            let id = topic.map(|topic| topic.id);
            let partition = |p| match id {
                Some(id) => committed((id, p), &offsets, unstable),
                None => CommittedPartition {
                    partition: p,
                    committed: Ok(None),
                },
            };
            CommittedTopic {
                topic: name,
                partitions: partitions.into_iter().map(partition).collect(),
            }
        });
        Ok(shown.collect())
    }

    async fn all_offsets(
        &self,
        caller: &Caller,
        group: &str,
        unstable: &BTreeSet<(TopicId, PartitionIndex)>,
    ) -> Result<Vec<CommittedTopic>, GroupError> {
        let mut offsets = Offsets::new();
        let range = KeyRange::group_offsets(&caller.org, group);
        for (key, row) in scan_all(&**self.store(), range).await? {
            if let Key::GroupOffset(_, _, topic, partition) = key {
                offsets.extend(offset_of(&row)?.map(|row| ((topic, partition), row)));
            }
        }
        let mut topics: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic, partition) in offsets.keys().chain(unstable) {
            topics.entry(*topic).or_default().push(*partition);
        }
        let mut shown = Vec::with_capacity(topics.len());
        for (id, mut partitions) in topics {
            partitions.sort_unstable();
            partitions.dedup();
            // A deleted topic has no name that clients could use.
            let Ok(topic) = self.topic(caller, &TopicChoice::Id(id)).await else {
                continue;
            };
            let partition = |p| committed((id, p), &offsets, unstable);
            shown.push(CommittedTopic {
                topic: topic.name.to_string(),
                partitions: partitions.into_iter().map(partition).collect(),
            });
        }
        Ok(shown)
    }

    /// Partitions that open transactions have committed for.
    async fn unstable(
        &self,
        caller: &Caller,
        group: &str,
    ) -> Result<BTreeSet<(TopicId, PartitionIndex)>, GroupError> {
        let range = KeyRange::txn_offsets(&caller.org, group);
        let rows = scan_all(&**self.store(), range).await?;
        let partition = |(key, _): (Key, Row)| match key {
            Key::TxnOffset(_, _, _, topic, partition) => Some((topic, partition)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(partition).collect())
    }

    async fn read_offsets(&self, keys: &[Key]) -> Result<Offsets, GroupError> {
        let mut offsets = Offsets::new();
        for keys in keys.chunks(PAGE) {
            let rows = self.store().get(keys).await.map_err(|e| away(&e))?;
            for (key, row) in keys.iter().zip(&rows) {
                if let Key::GroupOffset(_, _, topic, partition) = key {
                    offsets.extend(offset_of(row)?.map(|row| ((*topic, *partition), row)));
                }
            }
        }
        Ok(offsets)
    }

    /// The topic of a name that a client wrote; `None` if there is none.
    pub(super) async fn topic_of_name(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Option<Arc<Topic>>, GroupError> {
        use sh_base::ErrorCode::{InvalidTopic, UnknownTopicOrPartition};
        let choice = TopicChoice::Name(name.to_owned());
        match self.topic(caller, &choice).await {
            Ok(topic) => Ok(Some(topic)),
            Err(e) if matches!(e.code, UnknownTopicOrPartition | InvalidTopic) => Ok(None),
            Err(e) => Err(away(&e)),
        }
    }
}

fn committed(
    key: (TopicId, PartitionIndex),
    offsets: &Offsets,
    unstable: &BTreeSet<(TopicId, PartitionIndex)>,
) -> CommittedPartition {
    CommittedPartition {
        partition: key.1,
        committed: match unstable.contains(&key) {
            true => Err(GroupError::UnstableOffsetCommit),
            false => Ok(offsets.get(&key).cloned()),
        },
    }
}

fn offset_of(row: &Row) -> Result<Option<OffsetRow>, GroupError> {
    let row = row.value.as_deref().map(OffsetRow::decode).transpose();
    row.map_err(|error| {
        tracing::error!(%error, "a committed offset");
        GroupError::UnknownServerError
    })
}

/// The metadata store does not answer.
pub(super) fn away(error: &dyn std::fmt::Display) -> GroupError {
    tracing::warn!(%error, "the rows of groups cannot be read");
    GroupError::CoordinatorNotAvailable
}

/// All live rows of a range, page by page.
pub(super) async fn scan_all(
    store: &dyn MetaStore,
    mut range: KeyRange,
) -> Result<Vec<(Key, Row)>, GroupError> {
    let mut rows = Vec::new();
    loop {
        let page = store.scan(range.clone(), PAGE, false).await;
        let page = page.map_err(|e| away(&e))?;
        let full = page.len() == PAGE;
        rows.extend(page);
        match rows.last() {
            Some((last, _)) if full => range.start = after(last),
            _ => return Ok(rows),
        }
    }
}
