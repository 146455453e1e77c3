//! An aborted transaction of a partition, for those who read committed records only. Its key holds the offset of its marker.
use bytes::Bytes;
use sh_base::{Offset, ProducerId};

use crate::codec::{Malformed, Reader};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
    /// As its marker left it: a transaction that was aborted later began at or after it.
    pub last_stable_offset: Offset,
}

const FORMAT: u8 = 1;

impl AbortedTransaction {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend(self.producer.0.to_be_bytes());
        out.extend(self.first_offset.to_be_bytes());
        out.extend(self.last_stable_offset.to_be_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<AbortedTransaction, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("row of an aborted transaction"))
    }

    fn read(r: &mut Reader<'_>) -> Option<AbortedTransaction> {
        (r.u8()? == FORMAT).then_some(())?;
        let aborted = AbortedTransaction {
            producer: ProducerId(r.i64()?),
            first_offset: r.i64()?,
            last_stable_offset: r.i64()?,
        };
        r.end(aborted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_cut_bytes_are_refused() {
        let aborted = AbortedTransaction {
            producer: ProducerId(3),
            first_offset: 10,
            last_stable_offset: 12,
        };
        let bytes = aborted.encode();
        assert_eq!(AbortedTransaction::decode(&bytes), Ok(aborted));
        for cut in 0..bytes.len() {
            assert!(AbortedTransaction::decode(&bytes[..cut]).is_err());
        }
    }
}
