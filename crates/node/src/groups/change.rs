//! What one update does to the rows of groups: pure functions.
//!
//! **Every change of a group locks its coordinator row, checks that it names this agent and this coordinator epoch, and writes
//! it.** So a former coordinator changes nothing ([`own`]), and the row covers all other rows of the group, which take
//! its new version. Many groups share one update; what is refused of one does not touch the others.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sh_base::Incarnation;
use sh_coord::{
    GroupError,
    command::{RequestId, Transaction},
    offsets::OffsetRow,
};
use sh_log::mutant;
use sh_meta::{Decision, Key, KeyRange, Plan, Row, View, Write};

use super::{
    row::{CoordinatorRow, GroupKey},
    staged::{self, Stage},
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

impl Fence {
    /// The coordinator epoch of what is written by it; a take-over has none yet.
    pub fn epoch(self) -> u64 {
        match self {
            Fence::Absent { epoch, .. } | Fence::Held { epoch } => epoch,
            Fence::TakeOver => 0,
        }
    }
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// Writes a row that the coordinator row covers.
    Put(Key, Bytes),
    /// Rows that change together, in one update: members and the group itself. `None`: deletes the row, if there is one.
    Rows(Vec<(Key, Option<Bytes>)>),
    /// Puts the new rows of members beside those that count; see [`staged`].
    Stage(Stage, Vec<(Key, Option<Bytes>)>),
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
            Op::Rows(rows) | Op::Stage(_, rows) => rows.len(),
            _ => 1,
        }
    }
    /// What it looks through.
    fn scans(&self, group: &GroupKey) -> Vec<(KeyRange, usize)> {
        let GroupKey { org, group } = group;
        match self {
            Op::RemoveOffsets => vec![
                (KeyRange::group_offsets(org, group), REMOVED_MAX),
                (KeyRange::txn_offsets(org, group), REMOVED_MAX),
            ],
            Op::Pending { transaction, .. } => {
                let range = KeyRange::txn_offsets_of(org, group, transaction.producer_id);
                vec![(range, transaction::PENDING_MAX + 1)]
            }
            _ => Vec::new(),
        }
    }
    /// About how much it writes.
    pub fn bytes(&self) -> usize {
        match self {
            Op::Put(_, value) => value.len(),
            Op::Pending { rows, .. } => rows.iter().map(|(_, value)| value.len()).sum(),
            Op::Rows(rows) | Op::Stage(_, rows) => bytes_of(rows),
            _ => 0,
        }
    }
}

/// How much these rows are.
pub(super) fn bytes_of(rows: &[(Key, Option<Bytes>)]) -> usize {
    let values = rows.iter().filter_map(|(_, value)| value.as_ref());
    values.map(Bytes::len).sum()
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
        plan.locks.push(part.group.coordinator());
        for op in &part.ops {
            plan.scans.extend(op.scans(&part.group));
            match op {
                Op::Remove(key) | Op::RemoveIf(key, _) => plan.reads.push(key.clone()),
                Op::Pending { transaction, .. } => {
                    plan.locks
                        .push(transaction::key(&part.group.org, transaction));
                }
                Op::Rows(rows) => {
                    let gone = rows.iter().filter(|(_, value)| value.is_none());
                    plan.reads.extend(gone.map(|(key, _)| key.clone()));
                }
                Op::Stage(_, rows) => plan.reads.extend(rows.iter().map(|(key, _)| key.clone())),
                Op::Put(..) | Op::RemoveOffsets | Op::Release => {}
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
        let count = part.ops.iter().map(|op| op.scans(&part.group).len()).sum();
        let mut scanned = scans.by_ref().take(count).collect::<Vec<_>>().into_iter();
        verdicts.push(draft.part(part, me, &mut scanned));
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

fn place(code: GroupError) -> usize {
    let place = GroupError::ALL.iter().position(|c| *c == code);
    place.unwrap_or(GroupError::ALL.len())
}

/// What one range held.
type Scanned = Vec<(Key, Row)>;

/// The writes of an update as they come together. A row that is written twice counts as it was written last.
struct Draft<'a> {
    view: &'a View,
    writes: BTreeMap<Key, (Option<Bytes>, Option<u64>)>,
}

impl Draft<'_> {
    fn part(
        &mut self,
        part: &Part,
        me: Incarnation,
        scanned: &mut dyn Iterator<Item = &Scanned>,
    ) -> Verdict {
        let key = part.group.coordinator();
        let version = self.view.row(&key).version;
        // SUBTLE: an earlier part of this update may have had the group; then the row is as that part left it.
        let Some(epoch) = own(self.value(&key), version, part.fence, me) else {
            return Verdict::Fenced;
        };
        let version = version + 1;
        let owner = CoordinatorRow::new(me, epoch).encode();
        self.writes.insert(key.clone(), (Some(owner), None));
        let (mut done, mut refused) = (0, Vec::new());
        for op in &part.ops {
            let scanned = scanned.take(op.scans(&part.group).len());
            let scanned: Vec<&Key> = scanned.flatten().map(|(key, _)| key).collect();
            match op {
                Op::Put(key, value) => self.write(key, Some(value.clone()), version),
                Op::Rows(rows) => {
                    let rows = rows.iter();
                    rows.for_each(|(key, value)| self.put_or_remove(key, value.as_ref(), version));
                }
                Op::Stage(stage, rows) => {
                    for (key, value) in rows {
                        let staged = staged::stage(*stage, self.value(key), value.as_ref());
                        self.write(key, Some(staged), version);
                    }
                }
                Op::Remove(key) => self.put_or_remove(key, None, version),
                Op::RemoveIf(key, seen) if !self.is_still(key, seen) => {}
                Op::RemoveIf(key, _) => self.write(key, None, version),
                Op::Pending {
                    request,
                    transaction,
                    rows,
                } => {
                    let put = self.pending(&part.group, transaction, rows, &scanned, version);
                    refused.extend(put.err().map(|code| (*request, place(code))));
                }
                Op::RemoveOffsets => {
                    self.remove_offsets(&part.group, &scanned, version);
                    if scanned.len() >= REMOVED_MAX {
                        break;
                    }
                }
                Op::Release => {
                    self.writes.insert(key.clone(), (None, None));
                }
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

    /// Offsets of a transaction, if it is open and holds no more than its end can write in one update.
    fn pending(
        &mut self,
        group: &GroupKey,
        transaction: &Transaction,
        rows: &[(Key, Bytes)],
        scanned: &[&Key],
        version: u64,
    ) -> Result<(), GroupError> {
        let key = transaction::key(&group.org, transaction);
        let first = rows
            .first()
            .and_then(|(_, row)| OffsetRow::decode(row).ok());
        let now_ms = first.map_or(0, |row| row.committed_ms);
        let row = self.value(&key);
        let changed = transaction::check(row, transaction, &group.group, now_ms)?;
        let range = KeyRange::txn_offsets_of(&group.org, &group.group, transaction.producer_id);
        let fresh = self
            .writes
            .keys()
            .filter(|key| range.contains(&key.encode()));
        let held = fresh.chain(scanned.iter().copied());
        let held: BTreeSet<&Key> = held.chain(rows.iter().map(|(key, _)| key)).collect();
        if held.len() > transaction::PENDING_MAX {
            return Err(GroupError::TransactionAbortable);
        }
        if let Some(row) = changed {
            self.writes.insert(key, (Some(row), None));
        }
        for (key, row) in rows {
            let early = mutant::is("txn_offsets_early").then(|| transaction::committed(key));
            let key = early.flatten().unwrap_or_else(|| key.clone());
            self.write(&key, Some(row.clone()), version);
        }
        Ok(())
    }

    fn remove_offsets(&mut self, group: &GroupKey, scanned: &[&Key], version: u64) {
        // What this very update has put is not among the scanned.
        let fresh = self.writes.keys().filter(|key| is_offset_of(key, group));
        let fresh: Vec<Key> = fresh.cloned().collect();
        for key in fresh.iter().chain(scanned.iter().copied()) {
            self.write(key, None, version);
        }
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

    fn put_or_remove(&mut self, key: &Key, value: Option<&Bytes>, version: u64) {
        if value.is_some() || self.value(key).is_some() {
            self.write(key, value.cloned(), version);
        }
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
fn own(row: Option<&Bytes>, version: u64, fence: Fence, me: Incarnation) -> Option<u64> {
    let owner = match row.map(|row| CoordinatorRow::decode(row)) {
        Some(Err(error)) => {
            tracing::error!(%error, "a coordinator row cannot be read");
            return None;
        }
        Some(Ok(owner)) => Some(owner),
        None => None,
    };
    match (fence, owner) {
        (Fence::Held { epoch }, Some(_)) if mutant::is("group_no_fence") => Some(epoch),
        (
            Fence::Absent {
                version: seen,
                epoch,
            },
            None,
        ) => (seen == version).then_some(epoch),
        // With `Absent`: asked again, and it had happened.
        (Fence::Absent { epoch, .. } | Fence::Held { epoch }, Some(owner)) => {
            (owner.is_of(me) && owner.coordinator_epoch == epoch).then_some(epoch)
        }
        (Fence::TakeOver, Some(owner)) => Some(owner.coordinator_epoch + 1),
        (Fence::Held { .. } | Fence::TakeOver, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use sh_base::{AgentId, Org, TopicId};
    use uuid::Uuid;

    use super::*;

    const ME: Incarnation = Incarnation {
        agent: AgentId(1),
        epoch: 4,
        nonce: 9,
    };
    const OTHER: Incarnation = Incarnation {
        agent: AgentId(2),
        ..ME
    };

    fn group(name: &str) -> GroupKey {
        GroupKey::new(&Org::default(), name)
    }

    fn offset(name: &str, partition: i32) -> Key {
        let topic = TopicId(Uuid::from_u128(1));
        Key::GroupOffset(Org::default(), name.into(), topic, partition)
    }

    fn owned(name: &str, by: Incarnation, epoch: u64, version: u64) -> (Key, Row) {
        let value = Some(CoordinatorRow::new(by, epoch).encode());
        (group(name).coordinator(), Row { value, version })
    }

    fn view(rows: impl IntoIterator<Item = (Key, Row)>) -> View {
        View {
            rows: rows.into_iter().collect(),
            scans: Vec::new(),
        }
    }

    fn part(name: &str, fence: Fence, ops: Vec<Op>) -> Part {
        let group = group(name);
        Part { group, fence, ops }
    }

    fn put(name: &str) -> Op {
        Op::Put(offset(name, 0), Bytes::from_static(b"{}"))
    }

    fn decided(parts: &[Part], view: &View) -> (Vec<Verdict>, Vec<Write>) {
        let decision = decide(parts, ME, view);
        (verdicts(&decision.reply).unwrap(), decision.writes)
    }

    fn done(epoch: u64, version: u64, ops: usize) -> Verdict {
        Verdict::Done {
            epoch,
            version,
            ops,
            refused: Vec::new(),
        }
    }

    #[test]
    fn only_the_coordinator_of_this_very_epoch_changes_a_group() {
        let held = Fence::Held { epoch: 7 };
        let absent = Fence::Absent {
            version: 3,
            epoch: 7,
        };
        let tombstone = |version| {
            let value = None;
            (group("g").coordinator(), Row { value, version })
        };
        let cases = [
            (held, owned("g", ME, 7, 3), true),
            (held, owned("g", ME, 8, 3), false),
            (held, owned("g", OTHER, 7, 3), false),
            (held, tombstone(3), false),
            (absent, tombstone(3), true),
            (absent, tombstone(4), false),
            (absent, owned("g", ME, 7, 4), true),
            (absent, owned("g", ME, 8, 4), false),
            (absent, owned("g", OTHER, 7, 4), false),
            (Fence::TakeOver, owned("g", OTHER, 7, 4), true),
            (Fence::TakeOver, tombstone(4), false),
        ];
        for (fence, row, allowed) in cases {
            let parts = [part("g", fence, vec![put("g")])];
            let (verdicts, writes) = decided(&parts, &view([row.clone()]));
            assert_eq!(verdicts[0] != Verdict::Fenced, allowed, "{fence:?} {row:?}");
            assert_eq!(!writes.is_empty(), allowed, "{fence:?} {row:?}");
        }
    }

    #[test]
    fn every_change_writes_the_row_that_covers_it() {
        let rows = view([owned("g", ME, 7, 41)]);
        let parts = [part("g", Fence::Held { epoch: 7 }, vec![put("g")])];
        let (verdicts, writes) = decided(&parts, &rows);
        assert_eq!(verdicts, [done(7, 42, 1)]);
        let versions: Vec<_> = writes.into_iter().map(|w| (w.key, w.version)).collect();
        assert_eq!(
            versions,
            [(group("g").coordinator(), None), (offset("g", 0), Some(42))]
        );
    }

    #[test]
    fn one_group_that_is_fenced_does_not_stop_the_others() {
        let rows = view([owned("a", OTHER, 7, 1), owned("b", ME, 2, 5)]);
        let parts = [
            part("a", Fence::Held { epoch: 7 }, vec![put("a")]),
            part("b", Fence::Held { epoch: 2 }, vec![put("b")]),
        ];
        let (verdicts, writes) = decided(&parts, &rows);
        assert_eq!(verdicts, [Verdict::Fenced, done(2, 6, 1)]);
        assert!(writes.iter().all(|w| w.key != offset("a", 0)));
    }

    #[test]
    fn two_lives_of_a_group_in_one_update_do_not_mix() {
        let fence = |epoch| Fence::Absent { version: 0, epoch };
        let parts = [
            part("g", fence(1), vec![put("g")]),
            part("g", fence(2), vec![put("g")]),
        ];
        let (verdicts, _) = decided(&parts, &view([]));
        assert_eq!(verdicts, [done(1, 1, 1), Verdict::Fenced]);
    }

    #[test]
    fn an_offset_expires_only_if_it_is_still_the_one_that_was_seen() {
        let row = |offset| OffsetRow {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            committed_ms: 1,
            expires_ms: None,
        };
        let stored = Row {
            value: Some(row(5).encode()),
            version: 41,
        };
        let rows = view([owned("g", ME, 7, 41), (offset("g", 0), stored)]);
        for (seen, goes) in [(5, true), (4, false)] {
            let ops = vec![Op::RemoveIf(offset("g", 0), row(seen))];
            let (_, writes) = decided(&[part("g", Fence::Held { epoch: 7 }, ops)], &rows);
            assert_eq!(writes.iter().any(|w| w.key == offset("g", 0)), goes);
        }
    }

    #[test]
    fn more_offsets_than_one_update_removes_are_left_to_the_next() {
        let rows = |count: i32| {
            (0..count)
                .map(|p| (offset("g", p), Row::default()))
                .collect()
        };
        let mut all = view([owned("g", ME, 7, 1)]);
        let ops = vec![Op::RemoveOffsets, Op::Release];
        let parts = [part("g", Fence::Held { epoch: 7 }, ops)];
        all.scans = vec![rows(REMOVED_MAX as i32), Vec::new()];
        let (verdicts, writes) = decided(&parts, &all);
        assert_eq!(verdicts, [done(7, 2, 0)]);
        assert!(writes[0].value.is_some(), "it is still coordinated");
        all.scans = vec![rows(3), Vec::new()];
        let (verdicts, writes) = decided(&parts, &all);
        assert_eq!(verdicts, [done(7, 2, 2)]);
        assert!(writes.iter().all(|w| w.value.is_none()));
    }
}
