//! Bytes in pieces, read as if they were one. A batch is copied only where it lies across pieces.
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

#[derive(Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Rope {
    pub fn new(pieces: Vec<Bytes>) -> Rope {
        let len = pieces.iter().map(Bytes::len).sum();
        Rope {
            pieces: pieces.into(),
            len,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The first `N` bytes, if there are so many.
    pub fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        let mut out = [0; N];
        let mut filled = 0;
        for piece in &self.pieces {
            let n = piece.len().min(N - filled);
            out[filled..filled + n].copy_from_slice(&piece[..n]);
            filled += n;
            if filled == N {
                return Some(out);
            }
        }
        None
    }

    /// Takes the first `n` bytes off, if there are so many.
    pub fn take(&mut self, n: usize) -> Option<Bytes> {
        if n > self.len {
            return None;
        }
        self.len -= n;
        while self.pieces.front().is_some_and(Bytes::is_empty) {
            self.pieces.pop_front();
        }
        match self.pieces.front_mut() {
            Some(first) if first.len() >= n => Some(first.split_to(n)),
            _ => Some(self.join(n)),
        }
    }

    /// Drops the first `n` bytes, or all there are; says how many.
    pub fn skip(&mut self, n: usize) -> usize {
        let n = n.min(self.len);
        self.len -= n;
        let mut left = n;
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > left {
                let _ = first.split_to(left);
                break;
            }
            left -= first.len();
            self.pieces.pop_front();
        }
        n
    }

    fn join(&mut self, n: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(n);
        while let Some(first) = self.pieces.front_mut() {
            let take = first.len().min(n - out.len());
            out.extend_from_slice(&first.split_to(take));
            if out.len() == n {
                break;
            }
            self.pieces.pop_front();
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_read_as_one() {
        let rope = || Rope::new(vec!["ab".into(), Bytes::new(), "cde".into(), "f".into()]);
        for n in 0..=6 {
            let mut r = rope();
            assert_eq!(r.take(n).unwrap(), b"abcdef"[..n]);
            assert_eq!(r.take(6 - n).unwrap(), b"abcdef"[n..]);
            assert_eq!(r.take(1), None);
            let mut r = rope();
            assert_eq!((r.skip(n), r.len()), (n, 6 - n));
            assert_eq!(r.take(6 - n).unwrap(), b"abcdef"[n..]);
        }
        assert_eq!(rope().peek::<4>(), Some(*b"abcd"));
        assert_eq!(rope().peek::<7>(), None);
        assert_eq!(rope().skip(99), 6);
    }

    #[test]
    fn what_lies_in_one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"abcdef");
        let mut rope = Rope::new(vec![piece.clone()]);
        rope.skip(2);
        assert_eq!(rope.take(3).unwrap().as_ptr(), piece[2..].as_ptr());
    }
}
