//! What the machine keeps in the WAL: acks=1 batches, under which ids they go out, and until when.
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use sh_base::TopicPartition;

use super::{Effect, Machine, NEEDS_EVERY};
use crate::{
    agent::age,
    api::AppendResult,
    ingest::{
        part::Part,
        window::{Entry, Reply, Window},
    },
    mutant,
    wal::record::{WalBatch, WalRecord},
};

impl Machine {
    pub(super) fn write_ahead(
        &mut self,
        now_ms: i64,
        index: usize,
        tp: TopicPartition,
        ordinal: u32,
    ) {
        self.wal_last += 1;
        let (number, window) = (self.wal_last, &mut self.windows[index]);
        window.wal_upto = number;
        let object = window.id;
        let Some(entry) = window.entries.last_mut() else {
            return;
        };
        let Some(promise) = entry.promise else { return };
        entry.wal = Some(number);
        let record = WalBatch {
            object,
            ordinal,
            partition: tp,
            org: entry.org.clone(),
            lease_epoch: promise.lease_epoch,
            base_offset: promise.base_offset,
            appended_ms: now_ms,
            bytes: entry.batch.bytes().clone(),
        };
        self.wal_bytes += record.bytes.len() as u64;
        if let Some(reply) = entry.reply.take()
            && let Some(lease) = self.parts.get_mut(&tp).and_then(Part::held)
        {
            self.acks
                .push_back((number, reply, lease.appended(promise.base_offset, false)));
        }
        self.effects
            .push(Effect::Wal(number, WalRecord::Batch(record)));
        if mutant::is("ack_before_fsync") {
            self.wal_synced(number);
        }
    }

    pub(super) fn wal_synced(&mut self, upto: u64) {
        self.wal_synced = self.wal_synced.max(upto);
        while self
            .acks
            .front()
            .is_some_and(|(number, ..)| *number <= self.wal_synced)
        {
            if let Some((_, reply, appended)) = self.acks.pop_front() {
                let _ = reply.send(Ok(appended));
            }
        }
        self.upload_what_is_ready();
    }

    /// These batches are answered when they are durable.
    pub(super) fn wal_skipped(&mut self, numbers: &[u64]) {
        if mutant::is("full_is_synced") {
            return;
        }
        let skipped: HashSet<u64> = numbers.iter().copied().collect();
        let (back, waiting) = self.acks.drain(..).partition(|(n, ..)| skipped.contains(n));
        self.acks = waiting;
        let back: VecDeque<_> = back;
        let mut replies: HashMap<u64, Reply> =
            back.into_iter().map(|(n, reply, _)| (n, reply)).collect();
        let in_windows = self.windows.iter_mut().flat_map(|w| &mut w.entries);
        let refused = self.parts.values_mut().flat_map(|p| &mut p.redo);
        for entry in in_windows.chain(refused) {
            if let Some(number) = entry.wal.filter(|n| skipped.contains(n)) {
                entry.wal = None;
                entry.reply = replies.remove(&number);
                self.wal_bytes -= entry.batch.bytes().len() as u64;
            }
        }
    }

    /// **An entry is finished in the WAL only when it was stored** (model: `aw_again_dropped`, `bug_trim_early`), or when it is
    /// refused for good, which for an acknowledged one only the deletion of its topic may do.
    pub(super) fn finish_in_wal(&mut self, entry: &Entry, result: &AppendResult) {
        let Some(number) = entry.wal else { return };
        if let Err(why) = result {
            tracing::warn!(partition = ?entry.partition, %why, "an acknowledged batch of the WAL was refused");
        }
        self.wal_bytes -= entry.batch.bytes().len() as u64;
        self.effects.push(Effect::WalFinish(number));
    }

    /// Tells the WAL that records go out under another id; the upload of that id waits for the sync.
    pub(super) fn move_in_wal(&mut self, index: usize, batches: Vec<(u64, u32)>) {
        if batches.is_empty() || mutant::is("no_chain") {
            return;
        }
        self.wal_last += 1;
        let window = &mut self.windows[index];
        window.wal_upto = self.wal_last;
        self.effects.push(Effect::Wal(
            self.wal_last,
            WalRecord::Moved {
                to: window.id,
                batches,
            },
        ));
    }

    /// **An id is needed while a commit may still ask for its fate, or a replay of the WAL's files** (model: `Done`): whether
    /// its batches are finished counts for nothing before their file is gone.
    fn needs_from(&self) -> (u32, u64) {
        let in_wal = self.wal_oldest.filter(|_| !mutant::is("needs_without_wal"));
        let ids = self.windows.iter().map(|w| w.id).chain(in_wal);
        ids.map(age).min().unwrap_or((self.me.epoch, self.next_seq))
    }

    pub(super) fn say_what_is_needed(&mut self, now: Duration) {
        let needs = self.needs_from();
        if needs > self.needs_said && self.next_needs <= now {
            (self.needs_said, self.next_needs) = (needs, now + NEEDS_EVERY);
            self.effects.push(Effect::NeedNothingBefore(needs));
        }
    }
}

/// The WAL records of a window and their ordinals, in the order of its (sorted) entries.
pub(super) fn moved_records(window: &Window) -> Vec<(u64, u32)> {
    let mut ordinals: HashMap<TopicPartition, u32> = HashMap::new();
    let mut moved = Vec::new();
    for entry in &window.entries {
        let next = ordinals.entry(entry.partition).or_default();
        if let Some(number) = entry.wal {
            moved.push((number, *next));
        }
        *next += 1;
    }
    moved
}
