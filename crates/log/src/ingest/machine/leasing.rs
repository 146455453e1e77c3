//! Leases, and what goes out again: the part of the machine that decides when a partition may be written to.
use std::{collections::VecDeque, time::Duration};

use sh_base::TopicPartition;

use super::{Effect, Machine};
use crate::{
    ingest::{
        lease::LeaseTaken,
        part::{HeldLease, LeaseState, Part},
        window::Entry,
    },
    mutant,
    row::Head,
};

impl Machine {
    /// Nothing of the partition is under way: what waited for that may happen.
    pub(super) fn settle(&mut self, tp: TopicPartition) {
        let Some(part) = self.parts.get_mut(&tp) else {
            return;
        };
        let early = match part.lease {
            LeaseState::Wanted => mutant::is("lease_early"),
            _ => mutant::is("release_early"),
        };
        if part.pending > 0 && !early {
            return;
        }
        match part.lease {
            LeaseState::Wanted => {
                part.lease = LeaseState::Taking;
                self.effects.push(Effect::TakeLease(tp));
            }
            LeaseState::GivingUp(epoch) => {
                part.lease = LeaseState::Releasing;
                self.effects.push(Effect::ReleaseLease(tp, epoch));
            }
            _ => {}
        }
    }

    /// After a commit or a change of lease: refused entries first, then the parked ones, as far as it goes.
    pub(super) fn resume(&mut self, now: Duration, now_ms: i64, tp: TopicPartition) {
        self.settle(tp);
        let Some(part) = self.parts.get_mut(&tp) else {
            return;
        };
        if !matches!(part.lease, LeaseState::None | LeaseState::Held(_)) {
            return;
        }
        if !part.redo.is_empty() {
            if part.pending > 0 {
                return;
            }
            let redo = std::mem::take(&mut part.redo);
            self.redo(now, redo);
        }
        self.unpark(now, now_ms, tp);
    }

    /// Refused entries in a new window of their own ids (model: `Redo`): at their own offsets while the lease is still ours.
    fn redo(&mut self, now: Duration, entries: VecDeque<Entry>) {
        for entry in entries {
            let (wal, replaces) = (entry.wal, entry.replaces);
            let (index, ordinal) = self.put(now, entry);
            if let Some(id) = replaces
                .filter(|id| mutant::is("reuse_key") && self.windows.iter().all(|w| w.id != *id))
            {
                self.windows[index].id = id;
            }
            let replaced = &mut self.windows[index].replaces;
            replaced.extend(replaces.filter(|id| !replaced.contains(id)));
            self.move_in_wal(
                index,
                wal.map(|number| (number, ordinal)).into_iter().collect(),
            );
        }
    }

    fn unpark(&mut self, now: Duration, now_ms: i64, tp: TopicPartition) {
        while let Some(part) = self.parts.get_mut(&tp)
            && !part.is_blocked()
            && let Some(entry) = part.parked.pop_front()
        {
            self.place(now, now_ms, entry);
        }
    }

    pub(super) fn lease_taken(
        &mut self,
        now: Duration,
        now_ms: i64,
        tp: TopicPartition,
        taken: LeaseTaken,
    ) {
        let Some(part) = self.parts.get_mut(&tp) else {
            return;
        };
        match taken {
            LeaseTaken::Held(lease) => {
                part.lease = LeaseState::Held(HeldLease {
                    last_used: now,
                    ..lease
                })
            }
            LeaseTaken::NotNow => {
                part.lease = LeaseState::None;
                part.pause_until = now + self.cfg.lease_pause;
            }
            LeaseTaken::Foreign => {
                part.lease = LeaseState::Foreign;
                self.effects.push(Effect::AwaitFree(tp));
            }
        }
        self.resume(now, now_ms, tp);
        if self.draining {
            self.give_up(now, tp);
        }
    }

    /// The lease was given up, or the other agent's is over: for a while nobody here takes one, so that two writers of a
    /// partition do not pass it to and fro.
    pub(super) fn lease_over(&mut self, now: Duration, now_ms: i64, tp: TopicPartition) {
        let Some(part) = self.parts.get_mut(&tp) else {
            return;
        };
        let foreign = matches!(part.lease, LeaseState::Foreign);
        if foreign || matches!(part.lease, LeaseState::Releasing) {
            part.lease = LeaseState::None;
            if foreign {
                part.pause_until = now + self.cfg.lease_pause;
            }
            self.resume(now, now_ms, tp);
        }
    }

    /// Somebody else wants a partition whose lease is ours.
    pub(super) fn head(&mut self, now: Duration, tp: TopicPartition, head: &Head) {
        if let Some(lease) = self.parts.get_mut(&tp).and_then(Part::held) {
            lease.log_start = head.log_start;
            if head.wanted {
                self.give_up(now, tp);
                if let Some(part) = self.parts.get_mut(&tp) {
                    part.pause_until = now + self.cfg.lease_pause;
                }
            }
        }
    }

    /// **A lease ends when what was assigned under it is committed** (model: `Release`).
    pub(super) fn give_up(&mut self, now: Duration, tp: TopicPartition) {
        let Some(part) = self.parts.get_mut(&tp) else {
            return;
        };
        let Some(epoch) = part.held().map(|l| l.epoch) else {
            return;
        };
        part.lease = LeaseState::GivingUp(epoch);
        if part.pending > 0 {
            self.close(now);
        }
        self.settle(tp);
    }

    /// Gives idle leases up and forgets partitions that nothing is known of.
    pub(super) fn sweep(&mut self, now: Duration) {
        let idle = |p: &Part| matches!(&p.lease, LeaseState::Held(l) if p.pending == 0 && l.last_used + self.cfg.lease_idle < now);
        let over: Vec<_> = self
            .parts
            .iter()
            .filter(|(_, p)| idle(p))
            .map(|(tp, _)| *tp)
            .collect();
        over.into_iter().for_each(|tp| self.give_up(now, tp));
        self.parts.retain(|_, p| !p.is_idle(now));
    }
}
