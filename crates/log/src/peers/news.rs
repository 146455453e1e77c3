//! The bytes of a push.
//!
//! ```text
//! format: u8 = 1
//! from: agent u32 | epoch u32 | nonce u64                        the life that speaks; all numbers big-endian
//! ends: count u8, and for each lane: lane u8 | newest seq u64     how far its lanes are
//! entries: length u32, bytes of a feed entry (`sh_meta::entry`)   up to the end, each of a lane of `from`
//! ```
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sh_base::{AgentId, Incarnation};
use sh_meta::{Change, FeedEntry, Key, LaneId, entry::InvalidEntry};

const FORMAT: u8 = 1;
/// A push is no larger.
pub const NEWS_BYTES_MAX: usize = 1024 * 1024;
/// What stands before the entries, at most.
const HEAD_BYTES_MAX: usize = 18 + 255 * 9;
/// A larger entry is not pushed; that its lane went on is told all the same.
pub(super) const ENTRY_BYTES_MAX: usize = NEWS_BYTES_MAX - HEAD_BYTES_MAX - 4;

/// What one agent tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub from: Incarnation,
    /// The newest entry of each of its lanes.
    pub ends: Vec<(LaneId, u64)>,
    pub entries: Vec<FeedEntry>,
}

/// Bytes that are no news, or are not the sender's to tell. Nothing of them was taken in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadNews {
    #[error("news have format {0}; this version reads format {FORMAT}")]
    Format(u8),
    #[error("news are damaged: their bytes end early")]
    Length,
    #[error("news of {0} tell of a lane that is not its own")]
    ForeignLane(Incarnation),
    #[error("news of this agent itself")]
    OwnEcho,
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
}

impl News {
    pub fn decode(mut bytes: Bytes) -> Result<News, BadNews> {
        match bytes.try_get_u8() {
            Ok(FORMAT) => {}
            Ok(other) => return Err(BadNews::Format(other)),
            Err(_) => return Err(BadNews::Length),
        }
        let (from, ends) = head(&mut bytes).ok_or(BadNews::Length)?;
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let length = bytes.try_get_u32().map_err(|_| BadNews::Length)? as usize;
            if length > bytes.len() {
                return Err(BadNews::Length);
            }
            let entry = FeedEntry::decode(bytes.split_to(length))?;
            if entry.request.lane.by != from {
                return Err(BadNews::ForeignLane(from));
            }
            entries.push(entry);
        }
        Ok(News {
            from,
            ends,
            entries,
        })
    }
}

fn head(bytes: &mut Bytes) -> Option<(Incarnation, Vec<(LaneId, u64)>)> {
    let by = Incarnation {
        agent: AgentId(bytes.try_get_u32().ok()?),
        epoch: bytes.try_get_u32().ok()?,
        nonce: bytes.try_get_u64().ok()?,
    };
    let end = |bytes: &mut Bytes| {
        let lane = bytes.try_get_u8().ok()?;
        Some((LaneId { by, lane }, bytes.try_get_u64().ok()?))
    };
    let count = bytes.try_get_u8().ok()?;
    let ends = (0..count).map(|_| end(bytes)).collect::<Option<_>>()?;
    Some((by, ends))
}

/// Puts a push together; `entries` come from [`encode_entry`].
pub(super) fn encode(from: Incarnation, ends: &[(u8, u64)], entries: &[Bytes]) -> Bytes {
    let size = entries.iter().map(|e| e.len() + 4).sum::<usize>();
    let mut out = BytesMut::with_capacity(HEAD_BYTES_MAX.min(32 + ends.len() * 9) + size);
    out.put_u8(FORMAT);
    out.put_u32(from.agent.0);
    out.put_u32(from.epoch);
    out.put_u64(from.nonce);
    out.put_u8(ends.len().min(255) as u8);
    for (lane, seq) in ends.iter().take(255) {
        out.put_u8(*lane);
        out.put_u64(*seq);
    }
    for entry in entries {
        out.put_u32(entry.len() as u32);
        out.put_slice(entry);
    }
    out.freeze()
}

/// What others want to know of an entry: its changes, without those that only its own agent reads.
pub(super) fn encode_entry(entry: &FeedEntry) -> Bytes {
    let told = |change: &&Change| !matches!(change.key, Key::Object(_) | Key::Producer(..));
    let essence = FeedEntry {
        request: entry.request,
        changes: entry.changes.iter().filter(told).cloned().collect(),
        reply: Bytes::new(),
    };
    essence.encode()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sh_base::{ObjectId, ProducerId, TopicId, TopicPartition};
    use sh_meta::Request;

    use super::*;

    fn life(agent: u32) -> Incarnation {
        Incarnation {
            agent: AgentId(agent),
            epoch: 2,
            nonce: 7,
        }
    }

    fn entry(by: Incarnation, seq: u64) -> FeedEntry {
        let tp = TopicPartition::new(TopicId(uuid::Uuid::from_u128(9)), 0);
        let change = |key| Change {
            key,
            value: Some(Bytes::from_static(b"value")),
            version: 3,
        };
        FeedEntry {
            request: Request {
                lane: LaneId { by, lane: 0 },
                seq,
            },
            changes: vec![
                change(Key::Object(ObjectId { by, seq })),
                change(Key::Head(tp)),
                change(Key::Producer(tp, ProducerId(1))),
            ],
            reply: Bytes::from_static(b"answers"),
        }
    }

    #[test]
    fn news_read_back_without_what_only_their_agent_reads() {
        let me = life(1);
        let entries = [entry(me, 4), entry(me, 5)].map(|e| encode_entry(&e));
        let news = News::decode(encode(me, &[(0, 5), (1, 9)], &entries)).unwrap();
        assert_eq!(news.from, me);
        let ends: Vec<(u8, u64)> = news.ends.iter().map(|(l, seq)| (l.lane, *seq)).collect();
        assert_eq!(ends, [(0, 5), (1, 9)]);
        let seqs: Vec<u64> = news.entries.iter().map(|e| e.request.seq).collect();
        assert_eq!(seqs, [4, 5]);
        let told = &news.entries[0].changes;
        assert!(matches!(
            told[..],
            [Change {
                key: Key::Head(_),
                ..
            }]
        ));
    }

    #[test]
    fn nobody_speaks_for_another() {
        let body = encode(life(1), &[], &[encode_entry(&entry(life(2), 1))]);
        assert_eq!(News::decode(body), Err(BadNews::ForeignLane(life(1))));
    }

    proptest! {
        #[test]
        fn bytes_from_anywhere_never_panic_and_a_cut_is_an_error_or_fewer_entries(
            bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()
        ) {
            let _ = News::decode([&[FORMAT], &bytes[..]].concat().into());
            let me = life(1);
            let whole = encode(me, &[(0, 2)], &[encode_entry(&entry(me, 1)), encode_entry(&entry(me, 2))]);
            let cut = whole.slice(..at.index(whole.len()));
            prop_assert!(News::decode(cut).map_or(true, |news| news.entries.len() < 2));
        }
    }
}
