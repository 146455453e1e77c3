//! What happens to objects after their commit, or without one. The room that does this comes later; the rules are the model's.
use bytes::Bytes;
use futures::executor::block_on;
use sh_base::{AgentId, Incarnation, ObjectId};
use sh_meta::{Decision, Key, Plan, View, Write};

use super::{
    client::PARTITIONS,
    client::tp,
    world::{PATIENCE, World},
};
use crate::{
    agent::AgentRow,
    mutant,
    row::{Extent, Fate},
};

impl World {
    /// A PUT of a dead process lands.
    pub(super) fn haunt(&mut self) {
        if let Some(object) = self.chance.draw(&mut self.ghosts) {
            self.put(&object);
            self.note(format!("late PUT of {}", object.id));
        }
    }

    /// One of the youngest objects of the bucket.
    fn some_object(&mut self) -> Option<ObjectId> {
        let mut ids: Vec<ObjectId> = self
            .bucket
            .keys()
            .copied()
            .filter(|id| id.by.agent != MERGED)
            .collect();
        ids.sort_by_key(|id| std::cmp::Reverse(self.put_order.iter().rposition(|put| put == id)));
        ids.truncate(6);
        self.chance.draw(&mut ids)
    }

    /// **Whoever inserts first decides; only an aborted object is deleted** (model: `Abort`).
    pub(super) fn reconcile(&mut self) {
        let Some(id) = self.some_object() else { return };
        let decided = self.fate(id).is_some_and(|fate| match fate {
            Fate::Committed(_) => !mutant::is("blind_abort"),
            Fate::Aborted => true,
        });
        if decided {
            return;
        }
        if !mutant::is("delete_without_abort") {
            self.write(Key::Object(id), Some(Fate::Aborted.encode()));
        }
        self.bucket.remove(&id);
        self.note(format!("the reconciler aborts {id}"));
    }

    /// A committed object's records move to an object of their own; the old one goes (model: `Merge`).
    pub(super) fn merge(&mut self) {
        let Some(id) = self.some_object() else { return };
        if !matches!(self.fate(id), Some(Fate::Committed(_))) {
            return;
        }
        let seq = self.put_order.len() as u64;
        let merged = ObjectId {
            by: Incarnation {
                agent: MERGED,
                epoch: 1,
                nonce: 1,
            },
            seq,
        };
        let bytes = self.bucket.remove(&id).unwrap();
        self.bucket.insert(merged, bytes);
        self.put_order.push(merged);
        for partition in 0..PARTITIONS {
            for (base, mut extent) in self.extents(partition) {
                if let Some(place) = extent.place.as_mut().filter(|place| place.object == id) {
                    place.object = merged;
                    self.write(
                        Key::Extent(tp(partition), base),
                        Some(Extent::encode(&extent)),
                    );
                }
            }
        }
        self.note(format!("upkeep merges {id}"));
    }

    /// Rows of ids whose object is gone (model: `Forget`).
    pub(super) fn forget(&mut self) {
        let gone = |id: &ObjectId| !self.bucket.contains_key(id) && self.fate(*id).is_some();
        let mut ids: Vec<_> = self.put_order.iter().copied().filter(gone).collect();
        let Some(id) = self.chance.draw(&mut ids) else {
            return;
        };
        let row = self
            .value(Key::Agent(id.by.agent))
            .map(|v| AgentRow::decode(&v).unwrap());
        if row.is_some_and(|row| row.may_forget(id)) {
            self.write(Key::Object(id), None);
            self.note(format!("upkeep forgets {id}"));
        }
    }

    pub(super) fn write(&self, key: Key, value: Option<Bytes>) {
        let plan = Plan {
            locks: vec![key.clone()],
            ..Plan::default()
        };
        let write = move |_: &View| Decision {
            writes: vec![Write {
                key: key.clone(),
                value: value.clone(),
                version: None,
            }],
            reply: Bytes::new(),
        };
        block_on(self.boot.update(plan, PATIENCE, write)).unwrap();
    }
}

/// Merged objects are nobody's window.
const MERGED: AgentId = AgentId(99);
