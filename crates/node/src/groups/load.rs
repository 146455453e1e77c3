//! Taking a group over, and reading its rows.
//!
//! A group that has no coordinator row does not exist; it is only looked at, and nothing is written for it: anybody may ask
//! about any name. A group that has one is taken over first, so that its former coordinator can change nothing any more, and
//! read then.
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use sh_base::Env;
use sh_coord::{
    GroupError, Now, Snapshot, Topics,
    row::{GroupRow, MemberRow, UnreadableRow},
};
use sh_log::mutant;
use sh_meta::{Key, KeyRange, MetaStore, Row};
use tokio::sync::{Semaphore, oneshot};

use super::{
    change::{Fence, Op, Part},
    committed::{away, scan_all},
    row::GroupKey,
    settings::Configs,
    slot::chunks,
    staged::{Resolved, resolve},
    topics::OrgTopics,
    writer::{Outcome, Writer},
};
use crate::group_configs;

/// Groups that are read at the same time.
const READS_MAX: usize = 8;
/// How often a group may be created or deleted by others while it is being taken over.
const ATTEMPTS: usize = 5;

/// What a group is begun with.
pub(super) struct Loaded {
    pub fence: Fence,
    /// The version of its coordinator row.
    pub version: u64,
    pub snapshot: Snapshot,
    pub topics: Arc<Topics>,
    /// What is set for the group, and the version of the row that says so.
    pub configs: (u64, Configs),
}

/// What loading takes; shared by all shards.
pub(super) struct Loader {
    pub store: Arc<dyn MetaStore>,
    pub writer: Writer,
    pub topics: Arc<OrgTopics>,
    reads: Semaphore,
}

impl Loader {
    pub fn new(store: Arc<dyn MetaStore>, writer: Writer, topics: Arc<OrgTopics>) -> Loader {
        Loader {
            store,
            writer,
            topics,
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// `life` is a number of the caller's that it never gave before; see [`Fence::Absent`].
    pub async fn load(&self, key: &GroupKey, life: u64) -> Result<Loaded, GroupError> {
        let topics = self.topics.of(&key.org).await.map_err(|e| away(&e))?;
        for _ in 0..ATTEMPTS {
            let (row, configs) = self.first_rows(key).await?;
            if row.value.is_none() {
                let version = row.version;
                return Ok(Loaded {
                    fence: Fence::Absent {
                        version,
                        epoch: life,
                    },
                    version,
                    snapshot: Snapshot::default(),
                    topics,
                    configs,
                });
            }
            match self.take_over(key).await {
                Outcome::Stored { fence, version, .. } => {
                    let snapshot = self.read(key, fence).await?;
                    metrics::counter!("streamhouse_group_takeovers_total").increment(1);
                    return Ok(Loaded {
                        fence,
                        version,
                        snapshot,
                        topics,
                        configs,
                    });
                }
                // It was deleted meanwhile.
                Outcome::Fenced => {}
                Outcome::Away => return Err(GroupError::CoordinatorLoadInProgress),
            }
        }
        Err(GroupError::CoordinatorLoadInProgress)
    }

    /// The coordinator row, and what is set for the group.
    async fn first_rows(&self, key: &GroupKey) -> Result<(Row, (u64, Configs)), GroupError> {
        let _turn = self.reads.acquire().await;
        let keys = [key.coordinator(), group_configs::key(&key.org, &key.group)];
        let mut rows = self
            .store
            .get(&keys)
            .await
            .map_err(|e| away(&e))?
            .into_iter();
        let (row, set) = (
            rows.next().unwrap_or_default(),
            rows.next().unwrap_or_default(),
        );
        let configs = group_configs::configs_of(&set).map_err(|e| away(&e))?;
        Ok((row, (set.version, configs)))
    }

    async fn take_over(&self, key: &GroupKey) -> Outcome {
        let part = Part {
            group: key.clone(),
            fence: Fence::TakeOver,
            ops: Vec::new(),
        };
        self.write(part).await
    }

    async fn write(&self, part: Part) -> Outcome {
        let (tell, told) = oneshot::channel();
        let done = |outcome| {
            // Nobody waits for a group that was given up meanwhile.
            let _ = tell.send(outcome);
        };
        self.writer.store(part, Box::new(done));
        told.await.unwrap_or(Outcome::Away)
    }

    /// The rows of a group that is held by this fence; a change that its former coordinator left half done is ended first.
    async fn read(&self, key: &GroupKey, fence: Fence) -> Result<Snapshot, GroupError> {
        let turn = self.reads.acquire().await;
        let mut snapshot = Snapshot::default();
        if mutant::is("group_take_over_forgets") {
            return Ok(snapshot);
        }
        let rows = self.store.get(&[key.row()]).await.map_err(|e| away(&e))?;
        for row in &rows {
            add_row(&mut snapshot, &key.row(), row)?;
        }
        let members = KeyRange::group_members(&key.org, &key.group);
        let Resolved { rows, repairs } = resolve(key, scan_all(&*self.store, members).await?);
        drop(turn);
        add_members(&mut snapshot, rows)?;
        if !repairs.is_empty() {
            self.repair(key, fence, &repairs).await?;
        }
        Ok(snapshot)
    }

    async fn repair(
        &self,
        key: &GroupKey,
        fence: Fence,
        repairs: &[(Key, Option<Bytes>)],
    ) -> Result<(), GroupError> {
        tracing::info!(group = %key.group, rows = repairs.len(), "a change of a group is ended that its coordinator left half done");
        let part = Part {
            group: key.clone(),
            fence,
            ops: chunks(repairs).into_iter().map(Op::Rows).collect(),
        };
        match self.write(part).await {
            Outcome::Stored { .. } => Ok(()),
            Outcome::Fenced | Outcome::Away => Err(GroupError::CoordinatorLoadInProgress),
        }
    }
}

/// The moment, as a machine wants it.
pub(super) fn now(env: &Env) -> Now {
    Now {
        mono: env.mono(),
        wall_ms: env.wall_ms(),
    }
}

/// Adds the rows of members, as they count, to what is known of a group.
pub(super) fn add_members(
    snapshot: &mut Snapshot,
    rows: BTreeMap<Key, Bytes>,
) -> Result<(), GroupError> {
    for (key, value) in rows {
        let row = Row {
            value: Some(value),
            version: 0,
        };
        add_row(snapshot, &key, &row)?;
    }
    Ok(())
}

/// Adds one row of the group to what is known of it.
pub(super) fn add_row(snapshot: &mut Snapshot, key: &Key, row: &Row) -> Result<(), GroupError> {
    add(snapshot, key, row).map_err(|error| {
        tracing::error!(%error, ?key, "a group cannot be read");
        GroupError::UnknownServerError
    })
}

fn add(snapshot: &mut Snapshot, key: &Key, row: &Row) -> Result<(), UnreadableRow> {
    match (key, &row.value) {
        (Key::Group(..), Some(value)) => snapshot.group = Some(GroupRow::decode(value)?),
        (Key::GroupMember(_, _, member), Some(value)) => {
            let row = MemberRow::decode(value)?;
            snapshot.members.insert(member.clone(), row);
        }
        _ => {}
    }
    Ok(())
}
