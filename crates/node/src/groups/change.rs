//! What one update does to the rows of groups: pure functions.
//!
//! **Every change of a group locks its coordinator row, checks that it names this agent and this coordinator epoch, and writes
//! it.** So a former coordinator changes nothing ([`Draft::own`]), and the row covers all other rows of the group, which take
//! its new version. Many groups share one update; what is refused of one does not touch the others.
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::Incarnation;
use sh_coord::{
    GroupError,
    command::{RequestId, Transaction},
    offsets::OffsetRow,
};
use sh_meta::{Decision, Key, KeyRange, Plan, Row, View, Write};

use super::{
    row::{CoordinatorRow, GroupKey},
    transaction,
};

/// Rows of one family that one removal of all offsets takes in an update; what is left goes in the next.
const REMOVED_MAX: usize = 1_000;

/// By what right a group is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nobody coordinates it: it has no row, and had none at this version. Whoever makes one begins with this epoch, of its own
    /// choice, by which it knows its own row again.
    Absent { version: u64, epoch: u64 },
    /// This agent coordinates it, in this coordinator epoch.
    Held { epoch: u64 },
    /// Whoever coordinates it, this agent shall.
    TakeOver,
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// Writes a row that the coordinator row covers.
    Put(Key, Bytes),
    /// Deletes a row, if there is one.
    Remove(Key),
    /// Deletes an offset if it is still this one.
    RemoveIf(Key, OffsetRow),
    /// Puts offsets beside the committed ones, if the transaction is open and holds the group.
    Pending {
        request: RequestId,
        transaction: Transaction,
        rows: Vec<(Key, Bytes)>,
    },
    /// Deletes all offsets, also those of open transactions.
    RemoveOffsets,
    /// The group is deleted: nobody coordinates it any more. The last step.
    Release,
}

impl Op {
    /// How many rows it writes, at most.
    pub fn rows(&self) -> usize {
        match self {
            Op::Pending { rows, .. } => rows.len() + 1,
            Op::RemoveOffsets => REMOVED_MAX,
            _ => 1,
        }
    }
    /// About how much it writes.
    pub fn bytes(&self) -> usize {
        match self {
            Op::Put(_, value) => value.len(),
            Op::Pending { rows, .. } => rows.iter().map(|(_, value)| value.len()).sum(),
            _ => 0,
        }
    }
}

/// What is done to one group.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub group: GroupKey,
    pub fence: Fence,
    pub ops: Vec<Op>,
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    Done {
        epoch: u64,
        /// The new version of the coordinator row.
        version: u64,
        /// How many of the steps are done; the others are to be asked for again.
        ops: usize,
        /// Transactional commits that their transaction refused, by place in [`GroupError::ALL`].
        refused: Vec<(RequestId, usize)>,
    },
    /// Another coordinator has the group, or had it meanwhile.
    Fenced,
}

/// What the update of these parts locks and reads.
pub(super) fn plan(parts: &[Part]) -> Plan {
    let mut plan = Plan::default();
    for part in parts {
        let GroupKey { org, group } = &part.group;
        plan.locks.push(part.group.coordinator());
        for op in &part.ops {
            match op {
                Op::Put(..) | Op::Release => {}
                Op::Remove(key) | Op::RemoveIf(key, _) => plan.reads.push(key.clone()),
                Op::Pending { transaction, .. } => {
                    plan.locks.push(transaction::key(org, transaction))
                }
                Op::RemoveOffsets => plan.scans.extend(
                    [
                        KeyRange::group_offsets(org, group),
                        KeyRange::txn_offsets(org, group),
                    ]
                    .map(|range| (range, REMOVED_MAX)),
                ),
            }
        }
    }
    plan.locks.sort_unstable();
    plan.locks.dedup();
    plan
}

/// Decides all parts. The reply is the list of verdicts; see [`verdicts`].
pub(super) fn decide(parts: &[Part], me: Incarnation, view: &View) -> Decision {
    let mut draft = Draft {
        view,
        writes: BTreeMap::new(),
    };
    let mut scans = view.scans.iter();
    let mut verdicts = Vec::with_capacity(parts.len());
    for part in parts {
        let removals = part.ops.iter().filter(|op| **op == Op::RemoveOffsets);
        let scanned: Vec<&Vec<(Key, Row)>> = scans.by_ref().take(2 * removals.count()).collect();
        verdicts.push(draft.part(part, me, &scanned));
    }
    let writes = draft.writes.into_iter();
    Decision {
        writes: writes
            .map(|(key, (value, version))| Write {
                key,
                value,
                version,
            })
            .collect(),
        reply: serde_json::to_vec(&verdicts).unwrap_or_default().into(),
    }
}

/// Reads the reply of an update back.
pub(super) fn verdicts(reply: &[u8]) -> Option<Vec<Verdict>> {
    serde_json::from_slice(reply).ok()
}

/// The codes of refused commits.
pub(super) fn codes(refused: Vec<(RequestId, usize)>) -> Vec<(RequestId, GroupError)> {
    let code = |place: usize| GroupError::ALL.get(place).copied();
    let read = |(request, place)| {
        (
            request,
            code(place).unwrap_or(GroupError::UnknownServerError),
        )
    };
    refused.into_iter().map(read).collect()
}

/// The writes of an update as they come together. A row that is written twice counts as it was written last.
struct Draft<'a> {
    view: &'a View,
    writes: BTreeMap<Key, (Option<Bytes>, Option<u64>)>,
}

impl Draft<'_> {
    fn part(&mut self, part: &Part, me: Incarnation, scanned: &[&Vec<(Key, Row)>]) -> Verdict {
        let key = part.group.coordinator();
        let Some(epoch) = own(self.view.row(&key), part.fence, me) else {
            return Verdict::Fenced;
        };
        let version = self.view.row(&key).version + 1;
        self.writes.insert(
            key.clone(),
            (Some(CoordinatorRow::new(me, epoch).encode()), None),
        );
        let (mut done, mut refused, mut scanned) = (0, Vec::new(), scanned.chunks(2));
        for op in &part.ops {
            let complete = match op {
                Op::RemoveOffsets => {
                    let scanned = scanned.next().unwrap_or_default();
                    self.remove_all(&part.group, scanned, version)
                }
                Op::Release => {
                    self.writes.insert(key.clone(), (None, None));
                    true
                }
                op => {
                    refused.extend(self.op(&part.group, op, version));
                    true
                }
            };
            if !complete {
                break;
            }
            done += 1;
        }
        Verdict::Done {
            epoch,
            version,
            ops: done,
            refused,
        }
    }

    /// Does one step; the answer is a commit that was refused.
    fn op(&mut self, group: &GroupKey, op: &Op, version: u64) -> Option<(RequestId, usize)> {
        match op {
            Op::Put(key, value) => self.write(key, Some(value.clone()), version),
            Op::Remove(key) if self.value(key).is_some() => self.write(key, None, version),
            Op::RemoveIf(key, seen) if self.is_still(key, seen) => self.write(key, None, version),
            Op::Pending {
                request,
                transaction,
                rows,
            } => {
                let key = transaction::key(&group.org, transaction);
                let checked = transaction::check(self.value(&key), transaction, &group.group);
                match checked {
                    Err(code) => {
                        let place = GroupError::ALL.iter().position(|c| *c == code);
                        return Some((*request, place.unwrap_or_default()));
                    }
                    Ok(changed) => {
                        if let Some(row) = changed {
                            self.writes.insert(key, (Some(row), None));
                        }
                        rows.iter()
                            .for_each(|(key, row)| self.write(key, Some(row.clone()), version));
                    }
                }
            }
            _ => {}
        }
        None
    }

    /// False: there are more than one update should remove.
    fn remove_all(&mut self, group: &GroupKey, scanned: &[&Vec<(Key, Row)>], version: u64) -> bool {
        // What this very update has put is not among the scanned.
        let fresh = self.writes.keys().filter(|key| is_offset_of(key, group));
        let fresh: Vec<Key> = fresh.cloned().collect();
        let stored = scanned.iter().copied().flatten().map(|(key, _)| key);
        for key in fresh.iter().chain(stored) {
            self.write(key, None, version);
        }
        scanned.iter().all(|rows| rows.len() < REMOVED_MAX)
    }

    fn value(&self, key: &Key) -> Option<&Bytes> {
        match self.writes.get(key) {
            Some((value, _)) => value.as_ref(),
            None => self.view.value(key),
        }
    }

    fn is_still(&self, key: &Key, seen: &OffsetRow) -> bool {
        let row = self
            .value(key)
            .and_then(|value| OffsetRow::decode(value).ok());
        row.as_ref() == Some(seen)
    }

    fn write(&mut self, key: &Key, value: Option<Bytes>, version: u64) {
        self.writes.insert(key.clone(), (value, Some(version)));
    }
}

fn is_offset_of(key: &Key, group: &GroupKey) -> bool {
    match key {
        Key::GroupOffset(org, name, ..) | Key::TxnOffset(org, name, ..) => {
            *org == group.org && **name == *group.group
        }
        _ => false,
    }
}

/// **The fence**: the coordinator epoch in which this agent may change the group; `None`, it may not.
fn own(row: &Row, fence: Fence, me: Incarnation) -> Option<u64> {
    let owner = match row.value.as_deref().map(CoordinatorRow::decode) {
        Some(Err(error)) => {
            tracing::error!(%error, "a coordinator row cannot be read");
            return None;
        }
        Some(Ok(owner)) => Some(owner),
        None => None,
    };
    match (fence, owner) {
        (Fence::Absent { version, epoch }, None) => (row.version == version).then_some(epoch),
        // With `Absent`: asked again, and it had happened.
        (Fence::Absent { epoch, .. } | Fence::Held { epoch }, Some(owner)) => {
            (owner.is_of(me) && owner.coordinator_epoch == epoch).then_some(epoch)
        }
        (Fence::TakeOver, Some(owner)) => Some(owner.coordinator_epoch + 1),
        (Fence::Held { .. } | Fence::TakeOver, None) => None,
    }
}
