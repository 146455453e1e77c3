//! The primitive types of the protocol, read with bounds checks.
//!
//! A *flexible* version (KIP-482) writes lengths as unsigned varints, one too great so that 0 means null; others as
//! fixed-size integers with -1 for null.
use std::ops::Range;

use crate::WireError;

type Read<T> = Result<T, WireError>;

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where the next `n` bytes lie; they are passed over.
    pub fn skip(&mut self, n: usize, what: &'static str) -> Read<Range<usize>> {
        if n > self.remaining() {
            return Err(WireError::CutOff { what });
        }
        let begin = self.at;
        self.at += n;
        Ok(begin..self.at)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Read<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(WireError::CutOff { what })?;
        self.at += N;
        Ok(*array)
    }

    pub fn i8(&mut self, what: &'static str) -> Read<i8> {
        self.array(what).map(i8::from_be_bytes)
    }
    pub fn i16(&mut self, what: &'static str) -> Read<i16> {
        self.array(what).map(i16::from_be_bytes)
    }
    pub fn i32(&mut self, what: &'static str) -> Read<i32> {
        self.array(what).map(i32::from_be_bytes)
    }
    pub fn uuid(&mut self, what: &'static str) -> Read<uuid::Uuid> {
        self.array(what).map(uuid::Uuid::from_bytes)
    }

    pub fn uvarint(&mut self, what: &'static str) -> Read<u32> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| too_long(what));
            }
        }
        Err(too_long(what))
    }

    /// A length of a string (`None`: null).
    fn string_length(&mut self, flexible: bool, what: &'static str) -> Read<Option<usize>> {
        if flexible {
            return self.compact_length(what);
        }
        let length = self.i16(what)?;
        nullable(length.into(), what)
    }

    /// A length of bytes, or a count of array elements (`None`: null).
    pub fn length(&mut self, flexible: bool, what: &'static str) -> Read<Option<usize>> {
        if flexible {
            return self.compact_length(what);
        }
        let length = self.i32(what)?;
        nullable(length, what)
    }

    fn compact_length(&mut self, what: &'static str) -> Read<Option<usize>> {
        Ok(self.uvarint(what)?.checked_sub(1).map(|n| n as usize))
    }

    pub fn string(&mut self, flexible: bool, what: &'static str) -> Read<Option<Range<usize>>> {
        let length = self.string_length(flexible, what)?;
        length.map(|n| self.skip(n, what)).transpose()
    }

    pub fn bytes(&mut self, flexible: bool, what: &'static str) -> Read<Option<Range<usize>>> {
        let length = self.length(flexible, what)?;
        length.map(|n| self.skip(n, what)).transpose()
    }

    /// Passes over tagged fields; returns how many there were. Each takes two bytes at least, so their number is bounded.
    pub fn skip_tagged_fields(&mut self) -> Read<u32> {
        let count = self.uvarint("tagged fields")?;
        for _ in 0..count {
            self.uvarint("a tag")?;
            let size = self.uvarint("the size of a tagged field")?;
            self.skip(size as usize, "a tagged field")?;
        }
        Ok(count)
    }
}

fn nullable(length: i32, what: &'static str) -> Read<Option<usize>> {
    match length {
        -1 => Ok(None),
        n => usize::try_from(n)
            .map(Some)
            .map_err(|_| WireError::malformed(format_args!("a length of {n} for {what}"))),
    }
}

fn too_long(what: &'static str) -> WireError {
    WireError::malformed(format_args!("a number of more than 32 bits for {what}"))
}
