//! What the WAL's files hold, and which of them may go. Without I/O: the simulation keeps its disks by the same rules.
use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

use sh_base::ObjectId;

use super::record::WalRecord;
use crate::agent::age;

/// A file that exists.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    /// The batch records in it that are still needed.
    needed: BTreeSet<u64>,
    /// The oldest object id that its records name.
    oldest: Option<ObjectId>,
}

/// All files, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Files {
    segments: VecDeque<Segment>,
    /// The last one is being written.
    writing: bool,
}

impl Segment {
    pub fn new(path: PathBuf) -> Segment {
        Segment {
            path,
            needed: BTreeSet::new(),
            oldest: None,
        }
    }

    pub fn add(&mut self, number: u64, record: &WalRecord) {
        let object = match record {
            WalRecord::Batch(batch) => {
                self.needed.insert(number);
                batch.object
            }
            WalRecord::Moved { to, .. } => *to,
        };
        self.oldest = [self.oldest, Some(object)]
            .into_iter()
            .flatten()
            .min_by_key(|id| age(*id));
    }
}

impl Files {
    /// Files of a former life; none of them is written to.
    pub fn sealed(segments: Vec<Segment>) -> Files {
        Files {
            segments: segments.into(),
            writing: false,
        }
    }

    /// A new file, which is written from now on.
    pub fn begin(&mut self, path: PathBuf) {
        self.segments.push_back(Segment::new(path));
        self.writing = true;
    }

    /// A record was written to the newest file.
    pub fn add(&mut self, number: u64, record: &WalRecord) {
        if let Some(newest) = self.segments.back_mut() {
            newest.add(number, record);
        }
    }

    /// This batch record is needed no more.
    pub fn finish(&mut self, number: u64) {
        let _ = self
            .segments
            .iter_mut()
            .any(|segment| segment.needed.remove(&number));
    }

    /// **Files go oldest first**: a later file may say where the batches of an older one went.
    pub fn first_to_go(&self) -> Option<&Path> {
        let others = self.segments.len() > usize::from(self.writing);
        self.segments
            .front()
            .filter(|s| others && s.needed.is_empty())
            .map(|s| s.path.as_path())
    }

    /// The oldest file is gone.
    pub fn forget_first(&mut self) {
        self.segments.pop_front();
    }

    /// The oldest object id that a replay of these files would ask for.
    pub fn oldest_object(&self) -> Option<ObjectId> {
        self.segments
            .iter()
            .filter_map(|s| s.oldest)
            .min_by_key(|id| age(*id))
    }
}
