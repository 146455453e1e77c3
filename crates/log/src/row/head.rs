//! A partition's head: the row that every change of the partition locks.
use bytes::Bytes;
use sh_base::{AgentId, Offset, ProducerId};

use crate::{
    codec::{Malformed, Reader, put_list},
    mutant,
};

/// The state of a partition. An absent row is [`Head::default`]: an empty partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The first offset that nobody has: log end offset and high watermark in one, as only committed records exist.
    pub next_offset: Offset,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// Rises only where offsets may have been reassigned: at repair, rebuild and restore.
    pub leader_epoch: i32,
    /// For each leader epoch the partition has lived under after 0, its number and the offset it began at.
    pub epochs: Vec<(i32, Offset)>,
    /// Who may hand out offsets before the commit.
    pub lease: Option<Lease>,
    /// The number of the newest lease there ever was; the next one is greater.
    pub lease_epoch: u64,
    /// Somebody else wants to write: the holder commits what it assigned and gives the lease up.
    pub wanted: bool,
    /// The topic is deleted: every write is refused.
    pub deleted: bool,
    /// Open transactions, in the order in which they began here.
    pub open: Vec<OpenTransaction>,
    /// One past the newest marker that aborted a transaction with records here; 0 if there is none. Only what lies before it
    /// can belong to an aborted transaction.
    pub aborted_end: Offset,
}

/// One agent's right to hand out a partition's offsets before the commit. Of the agent, not of one incarnation: a restarted
/// agent replays its WAL at the offsets it promised while nobody has taken the lease (model: `Restarted`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub holder: AgentId,
    pub epoch: u64,
}

/// A transaction that has written to the partition and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
}

/// Format 1 did not know of aborted transactions; there were none.
const FORMAT: u8 = 2;

impl Head {
    /// **The first offset of the earliest open transaction, or the log end** (DESIGN 10; model: `bug_lso_latest`). Never before
    /// the log start, where the first records of an open transaction were deleted.
    pub fn last_stable_offset(&self) -> Offset {
        let firsts = self.open.iter().map(|t| t.first_offset);
        let earliest = match mutant::is("lso_latest") {
            true => firsts.max(),
            false => firsts.min(),
        };
        earliest.map_or(self.next_offset, |first| first.max(self.log_start))
    }

    /// Where the open transaction of a producer began here.
    pub fn first_offset_of(&self, producer: ProducerId) -> Option<Offset> {
        let open = self.open.iter().find(|t| t.producer == producer);
        open.map(|t| t.first_offset)
    }

    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend(self.next_offset.to_be_bytes());
        out.extend(self.log_start.to_be_bytes());
        out.extend(self.leader_epoch.to_be_bytes());
        put_list(&mut out, &self.epochs, |out, (epoch, start)| {
            out.extend(epoch.to_be_bytes());
            out.extend(start.to_be_bytes());
        });
        out.push(self.lease.is_some().into());
        if let Some(lease) = &self.lease {
            out.extend(lease.holder.0.to_be_bytes());
            out.extend(lease.epoch.to_be_bytes());
        }
        out.extend(self.lease_epoch.to_be_bytes());
        out.push(self.wanted.into());
        out.push(self.deleted.into());
        put_list(&mut out, &self.open, |out, t| {
            out.extend(t.producer.0.to_be_bytes());
            out.extend(t.first_offset.to_be_bytes());
        });
        out.extend(self.aborted_end.to_be_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Result<Head, Malformed> {
        Self::read(&mut Reader(bytes)).ok_or(Malformed("head row"))
    }

    /// The head as a row's value has it; no value is an empty partition.
    pub fn of(value: Option<&Bytes>) -> Result<Head, Malformed> {
        value.map_or(Ok(Head::default()), |bytes| Head::decode(bytes))
    }

    fn read(r: &mut Reader<'_>) -> Option<Head> {
        let format = r.u8()?;
        (1..=FORMAT).contains(&format).then_some(())?;
        let head = Head {
            next_offset: r.i64()?,
            log_start: r.i64()?,
            leader_epoch: r.i32()?,
            epochs: r.list(12, |r| Some((r.i32()?, r.i64()?)))?,
            lease: match r.bool()? {
                true => Some(Lease {
                    holder: AgentId(r.u32()?),
                    epoch: r.u64()?,
                }),
                false => None,
            },
            lease_epoch: r.u64()?,
            wanted: r.bool()?,
            deleted: r.bool()?,
            open: r.list(16, |r| {
                Some(OpenTransaction {
                    producer: ProducerId(r.i64()?),
                    first_offset: r.i64()?,
                })
            })?,
            aborted_end: if format > 1 { r.i64()? } else { 0 },
        };
        r.end(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_cut_bytes_are_refused() {
        let head = Head {
            next_offset: 9,
            log_start: 2,
            leader_epoch: 1,
            epochs: vec![(1, 5)],
            lease: Some(Lease {
                holder: AgentId(3),
                epoch: 7,
            }),
            lease_epoch: 7,
            wanted: true,
            deleted: false,
            open: vec![OpenTransaction {
                producer: ProducerId(11),
                first_offset: 4,
            }],
            aborted_end: 3,
        };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Ok(head.clone()));
        assert_eq!(head.last_stable_offset(), 4);
        for cut in 0..bytes.len() {
            assert!(Head::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_head_of_the_first_format_has_no_aborted_transactions() {
        let head = Head {
            next_offset: 9,
            ..Head::default()
        };
        let mut old = head.encode()[..head.encode().len() - 8].to_vec();
        old[0] = 1;
        assert_eq!(Head::decode(&old), Ok(head));
    }

    #[test]
    fn the_earliest_open_transaction_holds_the_last_stable_offset() {
        let open = |producer, first_offset| OpenTransaction {
            producer: ProducerId(producer),
            first_offset,
        };
        let mut head = Head {
            next_offset: 20,
            open: vec![open(1, 5), open(2, 12)],
            ..Head::default()
        };
        assert_eq!(head.last_stable_offset(), 5);
        mutant::with("lso_latest", || {
            assert_eq!(head.last_stable_offset(), 12, "noticed")
        });
        head.log_start = 8;
        assert_eq!(head.last_stable_offset(), 8, "its first records are gone");
        head.open.remove(0);
        assert_eq!(head.last_stable_offset(), 12);
        head.open.clear();
        assert_eq!(head.last_stable_offset(), 20);
    }
}
