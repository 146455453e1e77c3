//! An own window as it lies in memory: the batches of each run, in the frames they came in.
use std::ops::Range;

use bytes::Bytes;

use crate::object::RunBytes;

/// What is counted for each batch beside its bytes: its place in a list, and its share of the frame's bookkeeping.
const BATCH_OVERHEAD_BYTES: usize = 64;

/// The runs of one object, sorted by their place.
pub struct Window {
    runs: Vec<Run>,
}

struct Run {
    /// Where each batch begins in the object.
    starts: Vec<u64>,
    batches: Vec<Bytes>,
    end: u64,
}

impl Window {
    pub fn new(runs: Vec<RunBytes>) -> Window {
        let mut runs: Vec<Run> = runs.into_iter().map(Run::new).collect();
        runs.sort_by_key(|run| run.end);
        Window { runs }
    }

    /// What it keeps from being freed. A frame is pinned as a whole, but all its batches are in windows: their sum is the
    /// frame, but for the request's other fields.
    pub fn pinned_bytes(&self) -> usize {
        let batches = self.runs.iter().flat_map(|run| &run.batches);
        batches.map(|b| b.len() + BATCH_OVERHEAD_BYTES).sum()
    }

    /// The bytes of a range that lies within one run; `None` if it does not.
    pub fn slice(&self, range: &Range<u64>) -> Option<Vec<Bytes>> {
        let at = self.runs.partition_point(|run| run.end <= range.start);
        self.runs.get(at)?.slice(range)
    }

    /// All batches, and where the first one lies; `None` if the runs do not lie back to back.
    pub fn all(&self) -> Option<(u64, Vec<Bytes>)> {
        let start = *self.runs.first()?.starts.first()?;
        let joined = |pair: &[Run]| pair[1].starts.first() == Some(&pair[0].end);
        let batches = self.runs.iter().flat_map(|run| run.batches.iter().cloned());
        let whole = self.runs.windows(2).all(joined);
        whole.then(|| (start, batches.collect()))
    }
}

impl Run {
    fn new((start, batches): RunBytes) -> Run {
        let mut end = start;
        let mut starts = Vec::with_capacity(batches.len());
        for batch in &batches {
            starts.push(end);
            end += batch.len() as u64;
        }
        Run {
            starts,
            batches,
            end,
        }
    }

    fn slice(&self, range: &Range<u64>) -> Option<Vec<Bytes>> {
        if range.end > self.end || range.start < *self.starts.first()? {
            return None;
        }
        let first = self.starts.partition_point(|s| *s <= range.start) - 1;
        let last = self.starts.partition_point(|s| *s < range.end);
        let cut = |i: usize| {
            let (start, batch) = (self.starts[i], &self.batches[i]);
            let from = range.start.saturating_sub(start) as usize;
            let to = ((range.end - start) as usize).min(batch.len());
            batch.slice(from..to)
        };
        Some((first..last).map(cut).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_from_the_batches_they_touch() {
        let bytes = |s: &'static str| Bytes::from_static(s.as_bytes());
        let runs = vec![
            (20, vec![bytes("xyz")]),
            (8, vec![bytes("abcd"), bytes("ef"), bytes("ghijkl")]),
        ];
        let window = Window::new(runs);
        let got = |r: Range<u64>| window.slice(&r).map(|parts| parts.concat());
        assert_eq!(got(8..20).as_deref(), Some(&b"abcdefghijkl"[..]));
        assert_eq!(got(10..15).as_deref(), Some(&b"cdefg"[..]));
        assert_eq!(got(12..14).as_deref(), Some(&b"ef"[..]));
        let (start, all) = window.all().unwrap();
        assert_eq!((start, &all.concat()[..]), (8, &b"abcdefghijklxyz"[..]));
        assert_eq!(got(20..22).as_deref(), Some(&b"xy"[..]));
        assert_eq!(got(18..21), None, "of two runs");
        assert_eq!(got(22..24), None, "past the end");
        assert_eq!(got(7..9), None, "before the first");
    }
}
