//! A change of a group's rows that is too large for one update, and is nevertheless whole or not at all.
//!
//! First each member's row takes the new row beside the one that counts (*staged*). One small update then says that the
//! change is valid, together with the group's own row: from here on the new rows count. Last, the rows are written plainly.
//! Whoever reads the group in the middle ([`resolve`]) finds the former group or the new one, never a part of each, and ends
//! what was begun before it does anything else.
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sh_meta::{Key, Row};

use super::row::GroupKey;

/// Names one change of one group: the coordinator epoch, and the coordinator's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stage {
    pub epoch: u64,
    pub version: u64,
}

/// What stands in a member's place while a change is under way; else there is a plain row of `sh_coord::row`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StagedRow {
    /// `was` counts, until the stage is valid; `becomes` then. `null`: no member.
    Staged {
        stage: Stage,
        was: Option<Value>,
        becomes: Option<Value>,
    },
    /// Under the empty member id: this stage is valid.
    Valid(Stage),
}

impl StagedRow {
    fn decode(value: &[u8]) -> Option<StagedRow> {
        let staged = value.starts_with(b"{\"staged\"") || value.starts_with(b"{\"valid\"");
        staged.then(|| serde_json::from_slice(value).ok()).flatten()
    }
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

fn parsed(value: &Bytes) -> Option<Value> {
    serde_json::from_slice(value).ok()
}

fn written(value: &Value) -> Bytes {
    value.to_string().into()
}

/// The key of the row that says which stage is valid. No member has the empty id.
pub(super) fn valid_key(group: &GroupKey) -> Key {
    group.member("")
}

pub(super) fn valid(stage: Stage) -> Bytes {
    StagedRow::Valid(stage).encode()
}

/// A member's row with what it becomes. `now`: the row as it is; a row of this very stage is staged again.
pub(super) fn stage(stage: Stage, now: Option<&Bytes>, becomes: Option<&Bytes>) -> Bytes {
    let was = match now.and_then(|now| StagedRow::decode(now)) {
        Some(StagedRow::Staged { was, .. }) => was,
        Some(StagedRow::Valid(_)) => None,
        None => now.and_then(parsed),
    };
    let becomes = becomes.and_then(parsed);
    StagedRow::Staged {
        stage,
        was,
        becomes,
    }
    .encode()
}

/// A group's member rows as they count, and the writes that end a change which somebody left half done, in their order.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub rows: BTreeMap<Key, Bytes>,
    pub repairs: Vec<(Key, Option<Bytes>)>,
}

/// `group`: whose rows these are.
pub(super) fn resolve(group: &GroupKey, rows: Vec<(Key, Row)>) -> Resolved {
    let mut resolved = Resolved::default();
    let mut staged = Vec::new();
    let mut valid = None;
    for (key, row) in rows {
        let Some(value) = row.value else { continue };
        match StagedRow::decode(&value) {
            Some(StagedRow::Valid(stage)) => valid = Some(stage),
            Some(StagedRow::Staged {
                stage,
                was,
                becomes,
            }) => staged.push((key, stage, was, becomes)),
            None => drop(resolved.rows.insert(key, value)),
        }
    }
    for (key, stage, was, becomes) in staged {
        let counts = if valid == Some(stage) { becomes } else { was };
        let counts = counts.as_ref().map(written);
        resolved.repairs.push((key.clone(), counts.clone()));
        resolved.rows.extend(counts.map(|value| (key, value)));
    }
    // Last: as long as it stands, the staged rows that are left mean what they mean.
    resolved
        .repairs
        .extend(valid.map(|_| (valid_key(group), None)));
    resolved
}

#[cfg(test)]
mod tests {
    use sh_base::{AgentId, Incarnation, Org};
    use sh_meta::{Decision, View};

    use super::*;
    use crate::groups::{
        change::{Fence, Op, Part, decide, plan},
        slot::row_ops,
        writer::ROWS_MAX,
    };

    const ME: Incarnation = Incarnation {
        agent: AgentId(1),
        epoch: 1,
        nonce: 1,
    };
    const MEMBERS: usize = 4_000;

    type Rows = Vec<(Key, Option<Bytes>)>;

    fn group() -> GroupKey {
        GroupKey::new(&Org::default(), "g")
    }

    /// Rows of a store, under keys; what is not there is absent.
    #[derive(Clone, Default)]
    struct Store(BTreeMap<Key, Bytes>, u64);

    impl Store {
        /// One update, as the metadata store does it.
        fn update(&mut self, op: &Op, epoch: u64) {
            let part = Part {
                group: group(),
                fence: match self.1 {
                    0 => Fence::Absent { version: 0, epoch },
                    _ => Fence::Held { epoch },
                },
                ops: vec![op.clone()],
            };
            let parts = [part];
            let wanted = plan(&parts);
            let row = |key: &Key| Row {
                value: self.0.get(key).cloned(),
                version: self.1,
            };
            let keys = wanted.locks.iter().chain(&wanted.reads);
            let view = View {
                rows: keys.map(|key| (key.clone(), row(key))).collect(),
                scans: Vec::new(),
            };
            let Decision { writes, .. } = decide(&parts, ME, &view);
            assert!(!writes.is_empty(), "fenced");
            for write in writes {
                match write.value {
                    Some(value) => drop(self.0.insert(write.key, value)),
                    None => drop(self.0.remove(&write.key)),
                }
            }
            self.1 += 1;
        }

        /// What a take-over reads, and how it leaves the store.
        fn taken_over(&self) -> (BTreeMap<Key, Bytes>, Store) {
            let rows = self
                .0
                .iter()
                .filter(|(key, _)| matches!(key, Key::GroupMember(..)));
            let row = |(key, value): (&Key, &Bytes)| {
                let row = Row {
                    value: Some(value.clone()),
                    version: 1,
                };
                (key.clone(), row)
            };
            let mut resolved = resolve(&group(), rows.map(row).collect());
            let mut store = self.clone();
            for (key, value) in resolved.repairs {
                match value {
                    Some(value) => drop(store.0.insert(key, value)),
                    None => drop(store.0.remove(&key)),
                }
            }
            let own = self.0.get(&group().row()).cloned();
            resolved.rows.extend(own.map(|own| (group().row(), own)));
            (resolved.rows, store)
        }
    }

    fn value(text: &str) -> Bytes {
        Bytes::from(format!("{{\"classic\":\"{text}\"}}"))
    }

    /// Members from `from` on, in a generation.
    fn members(from: usize, generation: &str) -> Rows {
        let member = |i| (group().member(&format!("m{i}")), Some(value(generation)));
        (from..from + MEMBERS).map(member).collect()
    }

    fn counting(rows: &Rows, own: &str) -> BTreeMap<Key, Bytes> {
        let own = [(group().row(), Some(value(own)))];
        let all = rows.iter().chain(&own);
        all.filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect()
    }

    fn ops(version: u64, rows: Rows, own: &str) -> Vec<Op> {
        let stage = Stage { epoch: 1, version };
        row_ops(
            &group(),
            stage,
            rows,
            Some((group().row(), Some(value(own)))),
        )
    }

    /// Half of the members go, as many come, and the others have something new.
    fn next_generation() -> Rows {
        let gone = (0..MEMBERS / 2).map(|i| (group().member(&format!("m{i}")), None));
        gone.chain(members(MEMBERS / 2, "two")).collect()
    }

    #[test]
    fn a_coordinator_that_dies_between_two_updates_leaves_one_group_or_the_other() {
        let mut store = Store::default();
        ops(1, members(0, "one"), "one")
            .iter()
            .for_each(|op| store.update(op, 1));
        let (before, _) = store.taken_over();
        assert_eq!(before, counting(&members(0, "one"), "one"));
        let after = counting(&members(MEMBERS / 2, "two"), "two");
        let (mut olds, mut news) = (0, 0);
        for op in ops(2, next_generation(), "two") {
            let (found, repaired) = store.taken_over();
            assert!(found == before || found == after, "a part of each");
            assert_eq!(repaired.taken_over().0, found, "and that stays so");
            let plain = repaired.0.values().all(|v| StagedRow::decode(v).is_none());
            assert!(plain, "nothing is left half done");
            *(if found == before {
                &mut olds
            } else {
                &mut news
            }) += 1;
            store.update(&op, 1);
        }
        assert_eq!(store.taken_over().0, after);
        assert!(olds > 2 && news > 2, "{olds} and {news}");
    }

    #[test]
    fn a_repair_that_is_cut_short_changes_nothing_of_what_is_found() {
        let mut store = Store::default();
        ops(1, members(0, "one"), "one")
            .iter()
            .for_each(|op| store.update(op, 1));
        for op in ops(2, next_generation(), "two") {
            store.update(&op, 1);
            let (found, _) = store.taken_over();
            let rows = store
                .0
                .iter()
                .filter(|(key, _)| matches!(key, Key::GroupMember(..)));
            let rows = rows.map(|(key, value)| {
                let value = Some(value.clone());
                (key.clone(), Row { value, version: 1 })
            });
            let repairs = resolve(&group(), rows.collect()).repairs;
            let mut half = store.clone();
            for (key, value) in repairs.iter().take(repairs.len() / 2) {
                half.update(&Op::Rows(vec![(key.clone(), value.clone())]), 1);
            }
            assert_eq!(half.taken_over().0, found);
        }
    }

    #[test]
    fn a_stage_that_is_stored_twice_is_the_same() {
        let mut store = Store::default();
        ops(1, members(0, "one"), "one")
            .iter()
            .for_each(|op| store.update(op, 1));
        let (before, _) = store.taken_over();
        let ops = ops(2, next_generation(), "two");
        store.update(&ops[0], 1);
        store.update(&ops[0], 1);
        assert_eq!(store.taken_over().0, before);
    }

    #[test]
    fn a_change_that_fits_is_one_step() {
        let rows: Rows = members(0, "one").into_iter().take(1_000).collect();
        let ops = ops(1, rows, "one");
        assert!(ops.len() == 1 && ops[0].rows() == 1_001, "{}", ops.len());
        assert!(ops[0].rows() <= ROWS_MAX);
    }
}
