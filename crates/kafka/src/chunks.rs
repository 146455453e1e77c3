//! Answers as chains of byte slices, so that record bytes go from the cache to the socket without being copied.
use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// A chain of slices that is written with `writev`.
#[derive(Default)]
pub struct Chunks {
    chain: VecDeque<Bytes>,
    remaining: usize,
}

impl Chunks {
    pub fn extend(&mut self, chunks: impl IntoIterator<Item = Bytes>) {
        for chunk in chunks.into_iter().filter(|c| !c.is_empty()) {
            self.remaining += chunk.len();
            self.chain.push_back(chunk);
        }
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.chain.front().map_or(&[], |c| &c[..])
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.chain.front_mut() else {
                return;
            };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chain.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices
            .iter_mut()
            .zip(&self.chain)
            .map(|(slice, chunk)| *slice = IoSlice::new(chunk));
        filled.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_as_one_run_of_bytes_wherever_the_writes_stop() {
        for step in 1..8 {
            let mut chunks = Chunks::default();
            chunks.extend(["abc", "", "d", "efgh"].map(|s| Bytes::from_static(s.as_bytes())));
            let mut seen: Vec<u8> = Vec::new();
            while chunks.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = chunks.chunks_vectored(&mut slices);
                let joined: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
                let written = step.min(joined.len());
                seen.extend(&joined[..written]);
                chunks.advance(written);
            }
            assert_eq!(seen, b"abcdefgh");
        }
    }
}
