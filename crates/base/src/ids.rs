//! Names and numbers that cannot be wrong once they exist.
use std::{fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// A record's place in its partition: dense at commit time, never changed. Ranges of offsets are half-open.
pub type Offset = i64;
/// Which partition of a topic, counted from 0.
pub type PartitionIndex = i32;
/// Kafka's 15-bit producer epoch.
pub type ProducerEpoch = i16;
/// The id of an idempotent or transactional producer; never negative (the wire's -1 is `None`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerId(pub i64);

/// A tenant. Without authentication everything belongs to [`Org::default`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Org(Arc<str>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an org name has 1 to 64 of the characters a-z, 0-9 and '-', not {0:?}")]
pub struct InvalidOrg(pub String);

impl Org {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl Default for Org {
    fn default() -> Self {
        Org("default".into())
    }
}
impl TryFrom<&str> for Org {
    type Error = InvalidOrg;
    fn try_from(s: &str) -> Result<Self, InvalidOrg> {
        let ok = (1..=64).contains(&s.len())
            && s.bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if ok {
            Ok(Org(s.into()))
        } else {
            Err(InvalidOrg(s.into()))
        }
    }
}
impl fmt::Debug for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A legal topic name, by Kafka's rules: 1 to 249 of `[a-zA-Z0-9._-]`, and not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTopicName {
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    #[error("Topic name is invalid: '.' and '..' are not allowed")]
    Dots,
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length 249")]
    TooLong(String),
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Characters(String),
}

impl TopicName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl TryFrom<&str> for TopicName {
    type Error = InvalidTopicName;
    fn try_from(s: &str) -> Result<Self, InvalidTopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match s {
            "" => Err(InvalidTopicName::Empty),
            "." | ".." => Err(InvalidTopicName::Dots),
            _ if s.len() > 249 => Err(InvalidTopicName::TooLong(s.into())),
            _ if !s.bytes().all(legal) => Err(InvalidTopicName::Characters(s.into())),
            _ => Ok(TopicName(s.into())),
        }
    }
}
impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic's identity: a name can be deleted and created again, an id never comes back (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One partition of one topic, of any org (topic ids are unique across orgs).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: PartitionIndex,
}

impl TopicPartition {
    pub fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        TopicPartition { topic, partition }
    }
}
impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// An agent, and the Kafka broker id (node id) by which clients know it. Allocated once, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AgentId(pub u32);

/// One life of an agent: the epoch is bumped in the metadata store and the nonce drawn at each start, so that no two lives
/// share a name even when the store goes back in time (model: `aw_store_key`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation {
    pub agent: AgentId,
    pub epoch: u32,
    pub nonce: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{:016x}", self.agent.0, self.epoch, self.nonce)
    }
}

/// One L0 object: the `seq`-th window of an incarnation. Its text is its key below `l0/`, and it is never used for other
/// content (model: `aw_reuse_key`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId {
    pub by: Incarnation,
    pub seq: u64,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an object id ({{agent}}/{{epoch}}-{{nonce}}/{{seq}})")]
pub struct InvalidObjectId(pub String);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:020}", self.by, self.seq)
    }
}
impl FromStr for ObjectId {
    type Err = InvalidObjectId;
    fn from_str(s: &str) -> Result<Self, InvalidObjectId> {
        let parse = || {
            let (agent, rest) = s.split_once('/')?;
            let (life, seq) = rest.split_once('/')?;
            let (epoch, nonce) = life.split_once('-')?;
            let by = Incarnation {
                agent: AgentId(agent.parse().ok()?),
                epoch: epoch.parse().ok()?,
                nonce: u64::from_str_radix(nonce, 16).ok()?,
            };
            Some(ObjectId {
                by,
                seq: seq.parse().ok()?,
            })
        };
        match parse() {
            Some(id) if id.to_string() == s => Ok(id),
            _ => Err(InvalidObjectId(s.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_reads_back_from_its_text() {
        let by = Incarnation {
            agent: AgentId(3),
            epoch: 12,
            nonce: 0xdead_beef,
        };
        let id = ObjectId { by, seq: 42 };
        assert_eq!(id.to_string(), "3/12-00000000deadbeef/00000000000000000042");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("3/12-xyz/1".parse::<ObjectId>().is_err());
        assert!(
            "3/12-00000000deadbeef/42".parse::<ObjectId>().is_err(),
            "one object, one name"
        );
    }

    #[test]
    fn topic_names_follow_kafkas_rules() {
        for good in ["a", "a.b_c-D9", "...", &"x".repeat(249)] {
            assert!(TopicName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(TopicName::try_from(bad).is_err(), "{bad}");
        }
    }
}
