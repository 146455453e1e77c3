//! The protocol that consumers speak inside the classic one: the bytes of a subscription and of an assignment
//! (ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3). All else is opaque to the group.
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sh_base::PartitionIndex;

/// The protocol type whose bytes the coordinator may look into.
pub(crate) const CONSUMER: &str = "consumer";

type Partitions = Vec<(String, Vec<PartitionIndex>)>;

/// What a consumer tells the other members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub topics: Vec<String>,
    /// Version 1 on.
    pub owned: Partitions,
    /// Version 3 on.
    pub rack_id: Option<String>,
}

impl Subscription {
    /// `None`: these are not the bytes of a subscription. Versions from the future are read as the newest known.
    pub fn decode(mut bytes: Bytes) -> Option<Subscription> {
        let from = &mut bytes;
        let version = from.try_get_i16().ok().filter(|v| *v >= 0)?;
        let topics = array(from, string)?;
        let _user_data = nullable_bytes(from)?;
        let owned = if version >= 1 {
            array(from, topic_partitions)?
        } else {
            Vec::new()
        };
        if version >= 2 {
            from.try_get_i32().ok()?;
        }
        let rack_id = if version >= 3 {
            nullable_string(from)?
        } else {
            None
        };
        Some(Subscription {
            topics,
            owned,
            rack_id,
        })
    }
}

/// What a consumer was assigned, and whether somebody's assignor has put bytes of its own beside it.
pub(crate) fn decode_assignment(mut bytes: Bytes) -> Option<(Partitions, Option<Bytes>)> {
    if bytes.is_empty() {
        return Some((Vec::new(), None));
    }
    let from = &mut bytes;
    from.try_get_i16().ok().filter(|v| *v >= 0)?;
    let partitions = array(from, topic_partitions)?;
    let user_data = nullable_bytes(from)?;
    Some((partitions, user_data))
}

/// An assignment in the member's own version of the protocol.
pub(crate) fn encode_assignment(version: i16, partitions: &Partitions) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    out.put_i32(partitions.len() as i32);
    for (topic, partitions) in partitions {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|p| out.put_i32(*p));
    }
    out.put_i32(-1);
    out.freeze()
}

/// The version that a subscription was written in.
pub(crate) fn version(bytes: &[u8]) -> i16 {
    bytes
        .first_chunk()
        .map_or(0, |head| i16::from_be_bytes(*head))
        .clamp(0, 3)
}

fn array<T>(from: &mut Bytes, item: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count = from.try_get_i32().ok()?;
    // Every item takes two bytes at least: a count beyond that is a lie, and would only cost memory.
    if count < 0 || count as usize > from.len() / 2 {
        return (count == 0 || count == -1).then(Vec::new);
    }
    (0..count).map(|_| item(from)).collect()
}

fn string(from: &mut Bytes) -> Option<String> {
    nullable_string(from)?
}

fn nullable_string(from: &mut Bytes) -> Option<Option<String>> {
    let Ok(length) = usize::try_from(from.try_get_i16().ok()?) else {
        return Some(None);
    };
    let text = take(from, length)?;
    Some(Some(String::from_utf8(text.to_vec()).ok()?))
}

fn nullable_bytes(from: &mut Bytes) -> Option<Option<Bytes>> {
    let Ok(length) = usize::try_from(from.try_get_i32().ok()?) else {
        return Some(None);
    };
    Some(Some(take(from, length)?))
}

fn take(from: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= from.len()).then(|| from.split_to(length))
}

fn topic_partitions(from: &mut Bytes) -> Option<(String, Vec<PartitionIndex>)> {
    Some((string(from)?, array(from, |from| from.try_get_i32().ok())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subscription_of_version_3_is_read_whole() {
        let mut out = BytesMut::new();
        out.put_i16(3);
        out.put_i32(1);
        out.put_i16(1);
        out.put_slice(b"t");
        out.put_i32(-1);
        out.put_i32(1);
        out.put_i16(1);
        out.put_slice(b"t");
        out.put_i32(2);
        out.put_i32(0);
        out.put_i32(4);
        out.put_i32(7);
        out.put_i16(1);
        out.put_slice(b"r");
        let read = Subscription::decode(out.freeze()).unwrap();
        assert_eq!(read.topics, ["t"]);
        assert_eq!(read.owned, [("t".to_owned(), vec![0, 4])]);
        assert_eq!(read.rack_id.as_deref(), Some("r"));
    }

    proptest! {
        #[test]
        fn an_assignment_reads_back(partitions in prop::collection::vec(("[a-z]{1,5}", prop::collection::vec(0..9i32, 0..4)), 0..4)) {
            let bytes = encode_assignment(1, &partitions);
            prop_assert_eq!(decode_assignment(bytes), Some((partitions, None)));
        }

        #[test]
        fn bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Subscription::decode(Bytes::from(bytes.clone()));
            decode_assignment(Bytes::from(bytes));
        }
    }
}
