//! One group that is coordinated here: its machine, and what stands between the machine and the store.
use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use sh_base::Rng;
use sh_coord::{
    Change, Changes, Client, Command, Event, Group, GroupError, GroupSettings, Now, OffsetChange,
    Output, Persist, Reply, command::RequestId, row::GroupRow,
};
use sh_meta::Key;
use tokio::sync::oneshot;

use super::{
    change::{Fence, Op, Part, bytes_of},
    load::Loaded,
    names::Names,
    row::GroupKey,
    staged::{Stage, valid, valid_key},
    writer::Outcome,
};

/// Rows, and bytes, that change together in one update.
const TOGETHER_ROWS: usize = 1_500;
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;
/// Rows of one step of a transactional commit.
const PENDING_ROWS: usize = 500;

/// A request to a group, and where the answer goes.
pub(super) struct Ask {
    pub client: Client,
    pub command: Command,
    pub names: Names,
    pub reply: oneshot::Sender<Reply>,
}

impl Ask {
    pub fn refuse(self, code: GroupError) {
        answer(self.reply, Reply::refused(&self.command, code));
    }
}

/// Nobody waits for the answer if the client has gone.
fn answer(to: oneshot::Sender<Reply>, reply: Reply) {
    let _ = to.send(reply);
}

struct Asked {
    names: Names,
    reply: oneshot::Sender<Reply>,
}

/// A group that was read from the store.
pub(super) struct Ready {
    key: GroupKey,
    group: Group,
    fence: Fence,
    /// The newest version of its coordinator row that this agent wrote or read.
    version: u64,
    asked: HashMap<RequestId, Asked>,
    next_request: RequestId,
    /// The change that is on its way.
    storing: Option<u64>,
    /// The newest generation (or group epoch) that was stored, for counting rebalances.
    generation: Option<i32>,
    used: Duration,
}

impl Ready {
    pub fn new(
        key: GroupKey,
        loaded: Loaded,
        settings: Arc<GroupSettings>,
        rng: Arc<dyn Rng>,
        now: Now,
    ) -> Ready {
        let Loaded {
            fence,
            version,
            snapshot,
            topics,
            configs: _,
        } = loaded;
        let generation = snapshot.group.as_ref().map(generation);
        Ready {
            group: Group::restore(now, &*key.group, snapshot, settings, topics, rng),
            key,
            fence,
            version,
            asked: HashMap::new(),
            next_request: 1,
            storing: None,
            generation,
            used: now.mono,
        }
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Hands a request to the machine. What is returned, here and below, is to be stored.
    #[must_use]
    pub fn ask(&mut self, now: Now, ask: Ask) -> Option<Part> {
        let id = self.next_request;
        self.next_request += 1;
        self.used = now.mono;
        let Ask {
            client,
            command,
            names,
            reply,
        } = ask;
        self.asked.insert(id, Asked { names, reply });
        self.handle(
            now,
            Event::Request {
                id,
                client,
                command,
            },
        )
    }

    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Option<Part> {
        let outputs = self.group.handle(now, event);
        self.carry_out(outputs)
    }

    #[must_use]
    pub fn poll(&mut self, now: Now) -> Option<Part> {
        let outputs = self.group.poll(now);
        self.carry_out(outputs)
    }

    /// What became of the change that was on its way.
    pub fn stored(&mut self, now: Now, outcome: Outcome) -> Result<Option<Part>, GroupError> {
        let Outcome::Stored {
            fence,
            version,
            refused,
        } = outcome
        else {
            return Err(GroupError::NotCoordinator);
        };
        (self.fence, self.version) = (fence, version);
        let Some(version) = self.storing.take() else {
            return Ok(None);
        };
        Ok(self.handle(now, Event::Persisted { version, refused }))
    }

    /// Answers all that waits; the group here is no more.
    pub fn abandon(mut self, now: Now, code: GroupError) {
        let nothing = self.handle(now, Event::Abandon(code));
        debug_assert!(nothing.is_none(), "an abandoned group has nothing to store");
    }

    /// Has somebody else taken the group, by a row of this version?
    pub fn is_taken_by(&self, version: u64) -> bool {
        version > self.version
    }

    /// It does not exist, and nobody waits for it.
    pub fn is_disposable(&self) -> bool {
        self.asked.is_empty() && self.storing.is_none() && self.group.is_disposable()
    }

    /// It does nothing, waits for nothing and was not asked since.
    pub fn is_idle_since(&self, since: Duration) -> bool {
        let still = self.asked.is_empty() && self.storing.is_none();
        still && self.used < since && self.group.next_timeout().is_none()
    }

    fn carry_out(&mut self, outputs: Vec<Output>) -> Option<Part> {
        let mut part = None;
        for output in outputs {
            match output {
                Output::Reply(id, reply) => {
                    if let Some(asked) = self.asked.remove(&id) {
                        answer(asked.reply, reply);
                    }
                }
                Output::Persist(persist) => part = Some(self.part(persist)),
            }
        }
        part
    }

    fn part(&mut self, persist: Persist) -> Part {
        let Persist { version, changes } = persist;
        self.storing = Some(version);
        self.count(&changes);
        Part {
            group: self.key.clone(),
            fence: self.fence,
            ops: self.ops(version, changes),
        }
    }

    fn count(&mut self, changes: &Changes) {
        if let Some(Change::Put(row)) = &changes.group {
            let newer = Some(generation(row));
            if self.generation != newer && generation(row) > 0 {
                metrics::counter!("streamhouse_group_rebalances_total").increment(1);
            }
            self.generation = newer;
        }
    }

    fn ops(&self, version: u64, changes: Changes) -> Vec<Op> {
        let Changes {
            group,
            members,
            offsets,
        } = changes;
        let mut ops = Vec::new();
        offsets
            .into_iter()
            .for_each(|change| self.offset_ops(change, &mut ops));
        let members = members.into_iter().map(|(id, change)| match change {
            Change::Put(row) => (self.key.member(&id), Some(row.encode())),
            Change::Delete => (self.key.member(&id), None),
        });
        let deleted = group == Some(Change::Delete);
        let own = group.map(|change| match change {
            Change::Put(row) => (self.key.row(), Some(row.encode())),
            Change::Delete => (self.key.row(), None),
        });
        let stage = Stage {
            epoch: self.fence.epoch(),
            version,
        };
        ops.extend(row_ops(&self.key, stage, members.collect(), own));
        ops.extend(deleted.then_some(Op::Release));
        ops
    }

    fn offset_ops(&self, change: OffsetChange, ops: &mut Vec<Op>) {
        let GroupKey { org, group } = &self.key;
        let id = |request, topic: &str| self.asked.get(&request)?.names.get(topic).copied();
        let committed =
            |topic, partition| Key::GroupOffset(org.clone(), group.to_string(), topic, partition);
        match change {
            OffsetChange::Commit {
                request,
                transaction: None,
                rows,
            } => ops.extend(rows.into_iter().filter_map(|(topic, partition, row)| {
                Some(Op::Put(
                    committed(id(request, &topic)?, partition),
                    row.encode(),
                ))
            })),
            OffsetChange::Commit {
                request,
                transaction: Some(transaction),
                rows,
            } => {
                let producer = transaction.producer_id;
                let pending =
                    |(topic, partition, row): &(String, i32, sh_coord::offsets::OffsetRow)| {
                        let topic = id(request, topic)?;
                        let (org, group) = (org.clone(), group.to_string());
                        Some((
                            Key::TxnOffset(org, group, producer, topic, *partition),
                            row.encode(),
                        ))
                    };
                ops.extend(rows.chunks(PENDING_ROWS).map(|rows| Op::Pending {
                    request,
                    transaction: transaction.clone(),
                    rows: rows.iter().filter_map(pending).collect(),
                }));
            }
            OffsetChange::Delete {
                request,
                topic,
                partition,
            } => ops.extend(id(request, &topic).map(|id| Op::Remove(committed(id, partition)))),
            OffsetChange::Expire {
                topic,
                partition,
                seen,
            } => ops.push(Op::RemoveIf(committed(topic, partition), seen)),
            OffsetChange::DeleteAll => ops.push(Op::RemoveOffsets),
        }
    }
}

type Rows = Vec<(Key, Option<Bytes>)>;

/// **The rows of a group change together**: in one update, or, where they are too many for one, staged first.
pub(super) fn row_ops(
    group: &GroupKey,
    stage: Stage,
    members: Rows,
    own: Option<(Key, Option<Bytes>)>,
) -> Vec<Op> {
    let fit = members.len() < TOGETHER_ROWS && bytes_of(&members) <= TOGETHER_BYTES;
    if fit {
        let rows: Rows = members.into_iter().chain(own).collect();
        return Vec::from_iter((!rows.is_empty()).then_some(Op::Rows(rows)));
    }
    let mut ops: Vec<Op> = chunks(&members)
        .into_iter()
        .map(|rows| Op::Stage(stage, rows))
        .collect();
    let valid = (valid_key(group), Some(valid(stage)));
    ops.push(Op::Rows(own.into_iter().chain([valid]).collect()));
    ops.extend(chunks(&members).into_iter().map(Op::Rows));
    ops.push(Op::Rows(vec![(valid_key(group), None)]));
    ops
}

/// The rows in parts that one update takes, with twice the bytes.
pub(super) fn chunks(rows: &[(Key, Option<Bytes>)]) -> Vec<Rows> {
    let mut parts: Vec<Rows> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let size = row.1.as_ref().map_or(0, Bytes::len);
        bytes += size;
        match parts.last_mut() {
            Some(part) if part.len() < TOGETHER_ROWS / 2 && bytes <= TOGETHER_BYTES / 2 => {
                part.push(row.clone());
            }
            _ => {
                bytes = size;
                parts.push(vec![row.clone()]);
            }
        }
    }
    parts
}

fn generation(row: &GroupRow) -> i32 {
    match row {
        GroupRow::Classic(row) => row.generation,
        GroupRow::Consumer(row) => row.epoch,
    }
}
