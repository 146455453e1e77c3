//! What one agent lends another: parts of objects.
use std::{fmt, ops::Range, str::FromStr};

use bytes::Bytes;

use super::{PeerError, within};
use crate::cache::BLOCK_BYTES;

/// What is asked of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All its batches: it is new, and many will read it.
    Tail,
    /// All its batches, for readers that catch up.
    Whole,
    /// These bytes, at most [`BLOCK_BYTES`] of them.
    Bytes(Range<u64>),
}

/// A run of an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    /// Where the first byte lies in the object.
    pub start: u64,
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a part is tail, whole, or a range as in 8-1048584 of at most {BLOCK_BYTES} bytes")]
pub struct InvalidPart;

impl Loan {
    /// These bytes (counted from the object's first), if they are here.
    pub fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let here = self.start..self.start + self.bytes.len() as u64;
        let at = |n: u64| (n - self.start) as usize;
        within(range, &here).then(|| self.bytes.slice(at(range.start)..at(range.end)))
    }

    /// **The length is checked**: a range is lent exactly.
    pub(super) fn checked(self, part: &Part) -> Result<Loan, PeerError> {
        let fits = match part {
            Part::Tail | Part::Whole => !self.bytes.is_empty(),
            Part::Bytes(range) => {
                self.start == range.start && self.bytes.len() as u64 == range.end - range.start
            }
        };
        let (start, len) = (self.start, self.bytes.len());
        fits.then_some(self)
            .ok_or_else(|| PeerError::Away(format!("{len} bytes from {start} on are not {part}")))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Tail => f.write_str("tail"),
            Part::Whole => f.write_str("whole"),
            Part::Bytes(range) => write!(f, "{}-{}", range.start, range.end),
        }
    }
}

impl FromStr for Part {
    type Err = InvalidPart;

    fn from_str(text: &str) -> Result<Part, InvalidPart> {
        let range = |text: &str| {
            let (start, end) = text.split_once('-')?;
            let range: Range<u64> = start.parse().ok()?..end.parse().ok()?;
            let fits = range.start < range.end && range.end - range.start <= BLOCK_BYTES;
            fits.then_some(Part::Bytes(range))
        };
        match text {
            "tail" => Ok(Part::Tail),
            "whole" => Ok(Part::Whole),
            text => range(text).ok_or(InvalidPart),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_and_no_range_is_larger_than_a_block() {
        for part in [Part::Tail, Part::Whole, Part::Bytes(8..BLOCK_BYTES + 8)] {
            assert_eq!(part.to_string().parse(), Ok(part));
        }
        for text in [
            "",
            "5",
            "9-9",
            "9-8",
            "-1-5",
            "0-1048577",
            "0-18446744073709551616",
        ] {
            assert_eq!(text.parse::<Part>(), Err(InvalidPart), "{text}");
        }
    }

    #[test]
    fn too_few_or_other_bytes_are_not_taken() {
        let loan = |start, len| Loan {
            start,
            bytes: vec![0; len].into(),
        };
        let asked = Part::Bytes(10..20);
        assert!(loan(10, 10).checked(&asked).is_ok());
        for wrong in [loan(10, 9), loan(10, 11), loan(9, 10), loan(10, 0)] {
            assert!(wrong.checked(&asked).is_err());
        }
        assert_eq!(loan(8, 4).slice(&(9..11)).map(|b| b.len()), Some(2));
        assert_eq!(loan(8, 4).slice(&(7..9)), None);
        assert_eq!(loan(8, 4).slice(&(9..13)), None);
    }
}
