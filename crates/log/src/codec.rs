//! The bytes of hot rows and files: fixed-width big-endian numbers behind a format byte. Reading never panics.

/// These bytes are not what this version writes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the {0} is damaged, or was written by a newer version")]
pub struct Malformed(pub &'static str);

impl Malformed {
    /// The error's words, for a thing that is named at run time.
    pub fn text(what: &str) -> String {
        format!("the {what} is damaged, or was written by a newer version")
    }
}

/// A bounded reader; every method is `None` past the end.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
    pub fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    /// A count that the remaining bytes could hold, at `item_min` bytes an item: no allocation by a hostile number.
    pub fn count(&mut self, item_min: usize) -> Option<usize> {
        let n = self.u32()? as usize;
        (n.checked_mul(item_min)? <= self.0.len()).then_some(n)
    }
    /// A list: a count and that many items.
    pub fn list<T>(
        &mut self,
        item_min: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let n = self.count(item_min)?;
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            out.push(item(self)?);
        }
        Some(out)
    }
    /// `Some(value)` if nothing is left.
    pub fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Appends a count and the items.
pub fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut item: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend((items.len() as u32).to_be_bytes());
    for it in items {
        item(out, it);
    }
}
