//! The bytes of a feed entry, as stores keep it and as the log of section 9 ships it.
//!
//! ```text
//! format: u8 = 1
//! agent: u32 | epoch: u32 | nonce: u64 | lane: u8 | seq: u64        big-endian
//! reply: length, bytes
//! changes: count, and for each: key: length, bytes | version | value: length + 1, bytes (0: deleted)
//! ```
//! Lengths, counts and versions are unsigned LEB128 numbers.
use bytes::{Buf, BufMut, Bytes};
use sh_base::{AgentId, Incarnation};

use crate::{Change, FeedEntry, Key, LaneId, Request};

const FORMAT: u8 = 1;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEntry {
    #[error(
        "a feed entry has format {0}; this version reads up to {FORMAT}: use a newer streamhouse"
    )]
    Format(u8),
    #[error("a feed entry is damaged: its bytes end early, or go on after its end")]
    Length,
    #[error("a feed entry is damaged: {0}")]
    Key(#[from] crate::key::InvalidKey),
}

impl FeedEntry {
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        put_lane(&mut out, &self.request.lane);
        out.put_u64(self.request.seq);
        put_bytes(&mut out, &self.reply);
        put_number(&mut out, self.changes.len() as u64);
        for Change {
            key,
            value,
            version,
        } in &self.changes
        {
            put_bytes(&mut out, &key.encode());
            put_number(&mut out, *version);
            match value {
                None => put_number(&mut out, 0),
                Some(value) => {
                    put_number(&mut out, value.len() as u64 + 1);
                    out.put_slice(value);
                }
            }
        }
        out.into()
    }

    /// Reads an entry back; values and reply are slices of `bytes`.
    pub fn decode(mut bytes: Bytes) -> Result<FeedEntry, InvalidEntry> {
        match bytes.try_get_u8().map_err(|_| InvalidEntry::Length)? {
            FORMAT => {}
            other => return Err(InvalidEntry::Format(other)),
        }
        let lane = get_lane(&mut bytes).ok_or(InvalidEntry::Length)?;
        let seq = bytes.try_get_u64().map_err(|_| InvalidEntry::Length)?;
        let reply = get_bytes(&mut bytes)?;
        let count = get_number(&mut bytes)?;
        let changes = (0..count)
            .map(|_| get_change(&mut bytes))
            .collect::<Result<_, _>>()?;
        match bytes.is_empty() {
            true => Ok(FeedEntry {
                request: Request { lane, seq },
                changes,
                reply,
            }),
            false => Err(InvalidEntry::Length),
        }
    }
}

impl LaneId {
    /// 17 bytes, big-endian: the lane's name as stores keep it.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(17);
        put_lane(&mut out, self);
        out.into()
    }

    pub fn decode(mut bytes: &[u8]) -> Result<LaneId, InvalidEntry> {
        let lane = get_lane(&mut bytes).ok_or(InvalidEntry::Length)?;
        if bytes.is_empty() {
            Ok(lane)
        } else {
            Err(InvalidEntry::Length)
        }
    }
}

fn put_lane(out: &mut Vec<u8>, lane: &LaneId) {
    let LaneId {
        by: Incarnation {
            agent,
            epoch,
            nonce,
        },
        lane,
    } = lane;
    out.put_u32(agent.0);
    out.put_u32(*epoch);
    out.put_u64(*nonce);
    out.put_u8(*lane);
}

fn get_lane(bytes: &mut impl Buf) -> Option<LaneId> {
    let agent = AgentId(bytes.try_get_u32().ok()?);
    let epoch = bytes.try_get_u32().ok()?;
    let nonce = bytes.try_get_u64().ok()?;
    let lane = bytes.try_get_u8().ok()?;
    Some(LaneId {
        by: Incarnation {
            agent,
            epoch,
            nonce,
        },
        lane,
    })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn get_bytes(bytes: &mut Bytes) -> Result<Bytes, InvalidEntry> {
    let length = get_number(bytes)?;
    take(bytes, length)
}

fn take(bytes: &mut Bytes, length: u64) -> Result<Bytes, InvalidEntry> {
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Ok(bytes.split_to(length)),
        _ => Err(InvalidEntry::Length),
    }
}

fn get_change(bytes: &mut Bytes) -> Result<Change, InvalidEntry> {
    let key = Key::decode(&get_bytes(bytes)?)?;
    let version = get_number(bytes)?;
    let value = match get_number(bytes)? {
        0 => None,
        length => Some(take(bytes, length - 1)?),
    };
    Ok(Change {
        key,
        value,
        version,
    })
}

fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get_number(bytes: &mut Bytes) -> Result<u64, InvalidEntry> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| InvalidEntry::Length)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(InvalidEntry::Length);
        }
        n |= bits << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(InvalidEntry::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::tests::any_key;

    fn any_bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn any_entry() -> impl Strategy<Value = FeedEntry> {
        let lane = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u8>()).prop_map(
            |(agent, epoch, nonce, lane)| LaneId {
                by: Incarnation {
                    agent: AgentId(agent),
                    epoch,
                    nonce,
                },
                lane,
            },
        );
        let change = (any_key(), prop::option::of(any_bytes()), any::<u64>()).prop_map(
            |(key, value, version)| Change {
                key,
                value,
                version,
            },
        );
        (
            lane,
            any::<u64>(),
            prop::collection::vec(change, 0..8),
            any_bytes(),
        )
            .prop_map(|(lane, seq, changes, reply)| FeedEntry {
                request: Request { lane, seq },
                changes,
                reply,
            })
    }

    proptest! {
        #[test]
        fn an_entry_reads_back(entry in any_entry()) {
            prop_assert_eq!(FeedEntry::decode(entry.encode()), Ok(entry.clone()));
            prop_assert_eq!(LaneId::decode(&entry.request.lane.encode()), Ok(entry.request.lane));
        }

        #[test]
        fn an_entry_that_was_cut_or_changed_is_an_error_or_another_entry(
            entry in any_entry(), at in any::<prop::sample::Index>(), flip in any::<u8>()
        ) {
            let bytes = entry.encode();
            let at = at.index(bytes.len());
            prop_assert!(FeedEntry::decode(bytes.slice(..at)).is_err());
            let mut changed = bytes.to_vec();
            changed[at] ^= flip;
            let _ = FeedEntry::decode(changed.into());
        }

        #[test]
        fn bytes_from_anywhere_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = FeedEntry::decode([&[FORMAT], &bytes[..]].concat().into());
            let _ = LaneId::decode(&bytes);
        }
    }

    #[test]
    fn a_newer_format_asks_for_a_newer_program() {
        assert_eq!(
            FeedEntry::decode(Bytes::from_static(&[2, 0])),
            Err(InvalidEntry::Format(2))
        );
    }
}
