//! **The chain rule** (DESIGN 6; model: `ReadCache`, mode "chain").
//!
//! A head's row version follows the version before it. What an agent hears, it may hear in any order; here version v is
//! applied on v - 1 only, with all that belongs to it: extents, next offset and last stable offset become visible together.
//! What comes early waits. A partition is served up to where the chain is unbroken; who asks for more makes the store be read.
//!
//! Without it (each of these runs fails in the model, and has its test below):
//! - served from any extent heard of, a fetch jumps over another agent's commit;
//! - with the newest head over older extents, it shows records of a transaction that is open or aborted;
//! - an end offset taken from here is behind what a reader has read elsewhere.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sh_base::Offset;

use crate::{
    mutant,
    row::{Extent, Head},
};

/// Extents kept of a partition; older ones are scanned from the store when somebody reads them.
pub const EXTENTS_KEPT: usize = 256;
/// Changes that wait for the one before them. More means that it will not come: a scan is cheaper.
const PENDING_MAX: usize = 64;

/// What one update made of a partition.
#[derive(Clone, Debug)]
pub struct PartChange {
    /// The head's row version.
    pub version: u64,
    pub head: Arc<Head>,
    /// By base offset; `None` is an extent that is no more.
    pub extents: Vec<(Offset, Option<Extent>)>,
    /// See [`Known::heard`].
    pub heard: Option<Heard>,
}

/// An extent, and when it was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub base: Offset,
    pub extent: Extent,
    /// Where a commit told of it; `None` where it was found by a scan. What is heard is new, and read by many; what is looked up is
    /// history.
    pub heard: Option<Heard>,
}

/// How a commit told of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// On the monotonic clock.
    pub at: Duration,
    /// Enough of its object is read here to fetch all of it.
    pub whole: bool,
}

/// A partition as of one head version: its extents tile `[from, next offset)`.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub version: u64,
    pub head: Arc<Head>,
    from: Offset,
    extents: VecDeque<Known>,
}

/// The extents do not tile the offsets that the head names.
#[derive(Debug, PartialEq, Eq)]
pub struct Torn;

/// What a snapshot says to somebody who reads from an offset.
#[derive(Clone, Debug)]
pub enum Found {
    /// The offset lies before what is kept here.
    Older { head: Arc<Head>, from: Offset },
    /// Extents from the one that holds the offset; none at the log end and outside of the log.
    Here {
        head: Arc<Head>,
        extents: Vec<Known>,
    },
}

/// What is known here, beside what somebody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// More than was seen, or nothing, or that it is deleted: reading tells.
    MayBePast,
    /// No more; but a change was heard of that is past a break of the chain.
    Behind,
    /// No more, as far as anybody has told.
    Level,
}

/// One partition's place in the index.
#[derive(Default, Debug)]
pub struct Chain {
    known: Option<Snapshot>,
    /// Heard, but not yet joined to what is known.
    pending: BTreeMap<u64, PartChange>,
    /// The newest version heard of.
    heard: u64,
}

impl Chain {
    /// Takes a change in, whenever it comes.
    pub fn hear(&mut self, change: PartChange) {
        self.heard = self.heard.max(change.version);
        if self
            .known
            .as_ref()
            .is_some_and(|k| change.version <= k.version)
        {
            return;
        }
        if let Some(known) = &mut self.known
            && mutant::is("cache_aborted")
        {
            Arc::make_mut(&mut known.head).open = change.head.open.clone();
        }
        self.pending.insert(change.version, change);
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_first();
        }
        self.advance();
    }

    /// Takes a scan in, if it is newer than what is known, and what was heard since.
    pub fn install(&mut self, scan: Snapshot) {
        if self.known.as_ref().is_none_or(|k| k.version < scan.version) {
            self.heard = self.heard.max(scan.version);
            self.known = Some(scan);
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(known) = &mut self.known {
            let next = known.version + 1;
            self.pending = self.pending.split_off(&next);
            let heard = match mutant::is("cache_hole") {
                true => self.pending.pop_first().map(|(_, change)| change),
                false => self.pending.remove(&next),
            };
            let Some(change) = heard else {
                return;
            };
            if known.apply(change).is_err() {
                self.known = None;
            }
        }
    }

    /// Has a version been heard of that is not joined to what is known?
    fn is_behind(&self) -> bool {
        self.known.as_ref().is_none_or(|k| k.version < self.heard)
    }

    /// The newest head of the unbroken chain.
    pub fn head(&self) -> Option<&Arc<Head>> {
        self.known.as_ref().map(|k| &k.head)
    }

    /// What may be served from `offset` on without asking anybody: never a negative, never past a break. `None`: only the
    /// store can tell.
    pub fn look(&self, offset: Offset) -> Option<Found> {
        let known = self.known.as_ref()?;
        let at_break = offset == known.head.next_offset && self.is_behind();
        // A deletion is final: topic ids do not come back.
        let sure = known.head.deleted
            || (known.covers(offset) && !at_break)
            || mutant::is("negative_from_cache");
        sure.then(|| known.look(offset))
    }

    /// How it stands against somebody who knows of the next offset `seen`.
    pub fn standing(&self, seen: Offset) -> Standing {
        match &self.known {
            Some(k) if k.head.next_offset <= seen && !k.head.deleted => match self.is_behind() {
                true => Standing::Behind,
                false => Standing::Level,
            },
            _ => Standing::MayBePast,
        }
    }

    /// About how many extents this holds in memory.
    pub fn weight(&self) -> usize {
        let pending: usize = self.pending.values().map(|c| 1 + c.extents.len()).sum();
        1 + pending + self.known.as_ref().map_or(0, |k| k.extents.len())
    }
}

impl Snapshot {
    /// A scan: the head, read first, and the newest extents before its next offset, in order. `complete`: there are no others.
    pub fn of_scan(
        version: u64,
        head: Head,
        extents: Vec<(Offset, Extent)>,
        complete: bool,
    ) -> Result<Snapshot, Torn> {
        let next = head.next_offset;
        let from = extents.first().map_or(next, |(base, _)| *base);
        let known = |(base, extent)| Known {
            base,
            extent,
            heard: None,
        };
        let snapshot = Snapshot {
            version,
            from,
            extents: extents.into_iter().map(known).collect(),
            head: Arc::new(head),
        };
        let whole = !complete || from <= snapshot.head.log_start.min(next);
        match whole && snapshot.tiles() {
            true => Ok(snapshot),
            false => Err(Torn),
        }
    }

    /// A deleted partition: nothing of it is served, so its extents, which are going away, do not matter.
    pub fn of_deleted(version: u64, head: Head) -> Snapshot {
        Snapshot {
            version,
            from: head.next_offset,
            extents: VecDeque::new(),
            head: Arc::new(head),
        }
    }

    /// Is `offset` in `[log start, next offset]`, the offsets that may be asked for?
    fn covers(&self, offset: Offset) -> bool {
        (self.head.log_start..=self.head.next_offset).contains(&offset)
    }

    /// What it says of `offset`.
    pub fn look(&self, offset: Offset) -> Found {
        let head = self.head.clone();
        let extents = match self.covers(offset) {
            true if offset < self.from => {
                let from = self.from;
                return Found::Older { head, from };
            }
            true => {
                let first = self.extents.partition_point(|k| k.extent.end <= offset);
                self.extents.range(first..).cloned().collect()
            }
            false => Vec::new(),
        };
        Found::Here { head, extents }
    }

    fn apply(&mut self, change: PartChange) -> Result<(), Torn> {
        let PartChange {
            version,
            head,
            mut extents,
            heard,
        } = change;
        let head = match mutant::is("cache_dirty") {
            true => Arc::new(Head {
                open: self.head.open.clone(),
                ..Head::clone(&head)
            }),
            false => head,
        };
        if head.deleted {
            *self = Snapshot::of_deleted(version, Head::clone(&head));
            return Ok(());
        }
        extents.sort_by_key(|(base, _)| *base);
        let end = self.head.next_offset;
        let appends = extents.iter().all(|(base, e)| *base >= end && e.is_some());
        if appends {
            self.append(extents, heard)?;
        } else {
            self.rewrite(extents, heard);
        }
        (self.version, self.head) = (version, head);
        self.trim();
        let joined = appends && self.end() == self.head.next_offset;
        match joined || self.tiles() || mutant::is("cache_hole") {
            true => Ok(()),
            false => Err(Torn),
        }
    }

    fn append(
        &mut self,
        extents: Vec<(Offset, Option<Extent>)>,
        heard: Option<Heard>,
    ) -> Result<(), Torn> {
        for (base, extent) in extents {
            let Some(extent) =
                extent.filter(|e| (base == self.end() || mutant::is("cache_hole")) && base < e.end)
            else {
                return Err(Torn);
            };
            self.extents.push_back(Known {
                base,
                extent,
                heard,
            });
        }
        Ok(())
    }

    /// Removals and replacements: retention, DeleteRecords, merges.
    fn rewrite(&mut self, extents: Vec<(Offset, Option<Extent>)>, heard: Option<Heard>) {
        let mut all: BTreeMap<Offset, Known> =
            self.extents.drain(..).map(|k| (k.base, k)).collect();
        for (base, extent) in extents {
            match extent {
                None => drop(all.remove(&base)),
                Some(e) if e.end <= self.from => {}
                // It reaches into what is kept: from its end on, we still know all.
                Some(e) if base < self.from => self.from = e.end,
                Some(extent) => {
                    let heard = heard.filter(|_| base >= self.head.next_offset);
                    all.insert(
                        base,
                        Known {
                            base,
                            extent,
                            heard,
                        },
                    );
                }
            }
        }
        self.extents = all.into_values().collect();
    }

    /// Lets go of what is before the log start, and of more than is kept.
    fn trim(&mut self) {
        while let Some(first) = self.extents.front() {
            let over = self.extents.len() > EXTENTS_KEPT;
            if !over && first.extent.end > self.head.log_start && first.base >= self.from {
                break;
            }
            self.from = self.from.max(first.extent.end);
            self.extents.pop_front();
        }
        // Extents that were deleted lay before the log start: it, and what follows it, is still known.
        let first = self
            .extents
            .front()
            .map_or(self.head.next_offset, |k| k.base);
        if self.from < first && first <= self.head.log_start {
            self.from = first;
        }
    }

    fn end(&self) -> Offset {
        self.extents.back().map_or(self.from, |k| k.extent.end)
    }

    fn tiles(&self) -> bool {
        let mut at = self.from;
        for known in &self.extents {
            if known.base != at || known.extent.end <= at {
                return false;
            }
            at = known.extent.end;
        }
        at == self.head.next_offset
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
