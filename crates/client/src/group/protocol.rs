//! What members of a classic group tell each other through the coordinator: the "consumer" protocol (KIP-429, KIP-792).
use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
        consumer_protocol_assignment::TopicPartition as AssignedTopic,
        consumer_protocol_subscription::TopicPartition as OwnedTopic,
    },
    protocol::Encodable,
};

use crate::{
    client::{text, topic_name},
    metadata::TopicPartition,
};

/// The newest version of both messages; older readers skip what they do not know.
const VERSION: i16 = 3;

/// What a member subscribes to, and what it owned in which generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub topics: Vec<String>,
    pub owned: BTreeSet<TopicPartition>,
    /// -1 for none.
    pub generation: i32,
}

impl Subscription {
    pub fn encode(&self) -> Bytes {
        let owned = by_topic(&self.owned)
            .into_iter()
            .map(|(topic, partitions)| {
                OwnedTopic::default()
                    .with_topic(topic)
                    .with_partitions(partitions)
            });
        let message = ConsumerProtocolSubscription::default()
            .with_topics(self.topics.iter().map(|t| text(t)).collect())
            // The cooperative-sticky assignor of older clients looks for the generation here.
            .with_user_data(Some(Bytes::copy_from_slice(&self.generation.to_be_bytes())))
            .with_owned_partitions(owned.collect())
            .with_generation_id(self.generation);
        versioned(&message)
    }

    /// `None`: these are not the bytes of a subscription.
    pub fn decode(bytes: Bytes) -> Option<Subscription> {
        let mut fields = Fields(bytes);
        let version = fields.version()?;
        let topics = fields.list(Fields::string)?;
        let user_data = fields.bytes()?;
        let in_user_data = user_data.filter(|data| data.len() == 4);
        let mut read = Subscription {
            topics,
            owned: BTreeSet::new(),
            generation: in_user_data.map_or(-1, |mut data| data.get_i32()),
        };
        if version >= 1 {
            read.owned = fields.places()?;
        }
        if version >= 2 {
            read.generation = read.generation.max(fields.int()?);
        }
        Some(read)
    }
}

pub(crate) fn encode_assignment(places: &BTreeSet<TopicPartition>) -> Bytes {
    let topics = by_topic(places).into_iter().map(|(topic, partitions)| {
        AssignedTopic::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    versioned(
        &ConsumerProtocolAssignment::default()
            .with_assigned_partitions(topics.collect())
            .with_user_data(None),
    )
}

/// `None`: these are not the bytes of an assignment. No bytes at all are an empty one: a member whose leader left it out.
pub(crate) fn decode_assignment(bytes: Bytes) -> Option<BTreeSet<TopicPartition>> {
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    let mut fields = Fields(bytes);
    fields.version()?;
    fields.places()
}

/// Partitions grouped as requests want them.
pub(crate) fn by_topic<'a>(
    places: impl IntoIterator<Item = &'a TopicPartition>,
) -> Vec<(TopicName, Vec<i32>)> {
    let mut topics: Vec<(TopicName, Vec<i32>)> = Vec::new();
    for (topic, partition) in places {
        match topics.last_mut() {
            Some((name, partitions)) if name.as_str() == &**topic => partitions.push(*partition),
            _ => topics.push((topic_name(topic), vec![*partition])),
        }
    }
    topics
}

pub(crate) fn places(topic: &str, partitions: &[i32]) -> Vec<TopicPartition> {
    let topic: std::sync::Arc<str> = topic.into();
    partitions.iter().map(|p| (topic.clone(), *p)).collect()
}

fn versioned(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    message
        .encode(&mut bytes, VERSION)
        .expect("every field has a place in the newest version");
    bytes.freeze()
}

/// Bytes that any member may have written: nothing is believed before it is there, a count least of all.
struct Fields(Bytes);

impl Fields {
    fn version(&mut self) -> Option<i16> {
        self.0.try_get_i16().ok().filter(|version| *version >= 0)
    }

    fn int(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.0.try_get_i16().ok()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// A length of -1 is null.
    fn bytes(&mut self) -> Option<Option<Bytes>> {
        match self.int()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    fn list<T>(&mut self, read: impl Fn(&mut Fields) -> Option<T>) -> Option<Vec<T>> {
        let count = self.int()?.max(0);
        // Every element takes bytes: a count that lies ends where they end.
        (0..count).map(|_| read(self)).collect()
    }

    fn places(&mut self) -> Option<BTreeSet<TopicPartition>> {
        let topic = |fields: &mut Fields| {
            let name = fields.string()?;
            Some(places(&name, &fields.list(Fields::int)?))
        };
        Some(self.list(topic)?.into_iter().flatten().collect())
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let subscription = Subscription {
            topics: vec!["a".into(), "b".into()],
            owned: [("a".into(), 0), ("a".into(), 2), ("b".into(), 1)].into(),
            generation: 7,
        };
        assert_eq!(
            Subscription::decode(subscription.encode()),
            Some(subscription.clone())
        );
        let assignment = encode_assignment(&subscription.owned);
        assert_eq!(decode_assignment(assignment), Some(subscription.owned));
        assert_eq!(decode_assignment(Bytes::new()), Some(BTreeSet::new()));
    }

    #[test]
    fn other_bytes_are_not_read() {
        assert_eq!(Subscription::decode(Bytes::from_static(b"\0")), None);
        assert_eq!(Subscription::decode(Bytes::from_static(b"\xff\xff1")), None);
        assert_eq!(
            decode_assignment(Bytes::from_static(b"connect-config")),
            None
        );
        let whole = encode_assignment(&[("topic".into(), 1)].into());
        for end in 1..whole.len() - 4 {
            assert_eq!(decode_assignment(whole.slice(..end)), None, "{end} bytes");
        }
    }
}
