//! What an agent's disk holds of its WAL, in small files, by the WAL's own rules about them.
use std::{collections::VecDeque, path::PathBuf};

use crate::wal::{
    Recovered, WalRecord,
    files::{Files, Segment},
};

const FILE_RECORDS: usize = 4;

#[derive(Default)]
pub(super) struct Disk {
    pub files: Files,
    content: VecDeque<Vec<(u64, WalRecord)>>,
    writing: bool,
    begun: usize,
}

impl Disk {
    pub fn write(&mut self, records: impl IntoIterator<Item = (u64, WalRecord)>) {
        for (number, record) in records {
            let has_room =
                self.writing && self.content.back().is_some_and(|c| c.len() < FILE_RECORDS);
            if !has_room {
                self.begun += 1;
                self.files.begin(PathBuf::from(self.begun.to_string()));
                self.content.push_back(Vec::new());
                self.writing = true;
            }
            self.files.add(number, &record);
            self.content.back_mut().unwrap().push((number, record));
        }
    }

    /// Removes what may go; tells how many files that were.
    pub fn trim(&mut self) -> usize {
        let before = self.content.len();
        while self.files.first_to_go().is_some() {
            self.files.forget_first();
            self.content.pop_front();
        }
        before - self.content.len()
    }

    /// What a start finds: every record of every file, whether it was finished or not.
    pub fn reopen(&mut self) -> Recovered {
        let segments = self.content.iter().zip(0..).map(|(records, n)| {
            let mut segment = Segment::new(PathBuf::from(format!("old {n}")));
            records
                .iter()
                .for_each(|(number, record)| segment.add(*number, record));
            segment
        });
        self.files = Files::sealed(segments.collect());
        self.writing = false;
        let records: Vec<_> = self.content.iter().flatten().cloned().collect();
        let last = records.last().map_or(0, |(n, _)| *n);
        Recovered {
            records,
            last,
            oldest: self.files.oldest_object(),
        }
    }
}
