//! Variable-length integers as records use them: zigzag, then seven bits a byte, low bits first.

/// Reads forward over encoded records; `None` where bytes are missing or a number is too long.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Reader { bytes, at }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Skips `n` bytes and returns where they began.
    #[inline]
    pub fn skip(&mut self, n: usize) -> Option<usize> {
        let begin = self.at;
        if n > self.remaining() {
            return None;
        }
        self.at += n;
        Some(begin)
    }

    #[inline]
    pub fn varint(&mut self) -> Option<i32> {
        let raw = u32::try_from(self.unsigned(5)?).ok()?;
        Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    #[inline]
    pub fn varlong(&mut self) -> Option<i64> {
        let raw = self.unsigned(10)?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Most numbers of a record are one byte.
    #[inline]
    fn unsigned(&mut self, bytes_max: u32) -> Option<u64> {
        match self.u8()? {
            byte @ 0..0x80 => Some(byte.into()),
            byte => self.long_unsigned(byte, bytes_max),
        }
    }

    fn long_unsigned(&mut self, first: u8, bytes_max: u32) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for i in 1..bytes_max {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`put_varlong`] writes for `value`.
pub(crate) fn varlong_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(long: i64, int: i32) {
            let mut out = Vec::new();
            put_varlong(&mut out, long);
            prop_assert_eq!(out.len(), varlong_size(long));
            put_varint(&mut out, int);
            let mut reader = Reader::new(&out, 0);
            prop_assert_eq!((reader.varlong(), reader.varint()), (Some(long), Some(int)));
            prop_assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_number_that_never_ends_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11], 0).varlong(), None);
        assert_eq!(Reader::new(&[0xff; 6], 0).varint(), None);
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f], 0).varint(),
            None,
            "33 bits and more"
        );
    }
}
