//! Which names a topic may have.
use bytes::Bytes;
use sh_base::{ErrorCode, Failure, Org, TopicName};
use sh_meta::{Key, KeyRange};

use crate::{Node, control::storage};

/// Where Kafka keeps group offsets. Shown as an internal topic; the house keeps offsets elsewhere.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Where Kafka keeps transactions. Shown as an internal topic.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Kafka's own metadata log: nobody may create it.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Names that are looked at for a collision: far more than people give to one prefix.
const COLLISIONS_LOOKED_AT: usize = 10_000;

/// Is it one of the topics that Kafka keeps for itself?
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE)
}

/// A legal name for a topic, or Kafka's sentence about it.
pub(crate) fn parse(name: &str) -> Result<TopicName, Failure> {
    let invalid = |text: String| Failure::new(ErrorCode::InvalidTopic, text);
    match name {
        "." | ".." => Err(invalid(format!(
            "Topic name is invalid: '{name}' is not allowed"
        ))),
        CLUSTER_METADATA => Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {name} is prohibited."),
        )),
        _ => TopicName::try_from(name).map_err(|e| invalid(e.to_string())),
    }
}

/// Names are the same to Kafka's metrics when they differ in '.' and '_' only.
fn collides(a: &str, b: &str) -> bool {
    a != b && a.len() == b.len() && a.replace('.', "_") == b.replace('.', "_")
}

/// The names that could collide with this one: they begin like it, up to its first '.' or '_'. `None`: none can.
fn candidates(org: &Org, name: &TopicName) -> Option<KeyRange> {
    let text = name.as_str();
    let same = text.find(['.', '_'])?;
    let key: Bytes = Key::TopicName(org.clone(), name.clone()).encode();
    let end = key.len().checked_sub(text.len() - same)?;
    key.get(..end).map(KeyRange::prefix)
}

impl Node {
    /// Refuses a name that collides with a living topic's. Advisory: two agents that create colliding names at the same
    /// moment both succeed, which confuses metrics and nothing else.
    pub(super) async fn check_collision(&self, org: &Org, name: &TopicName) -> Result<(), Failure> {
        let Some(range) = candidates(org, name) else {
            return Ok(());
        };
        let rows = self
            .store()
            .scan(range, COLLISIONS_LOOKED_AT, false)
            .await
            .map_err(storage)?;
        let other = rows.iter().find_map(|(key, _)| match key {
            Key::TopicName(_, other) if collides(other.as_str(), name.as_str()) => Some(other),
            _ => None,
        });
        other.map_or(Ok(()), |other| {
            Err(collision(name.as_str(), other.as_str()))
        })
    }
}

/// Two names of one request collide, too.
pub(super) fn check_collision_with(name: &str, taken: &[&str]) -> Result<(), Failure> {
    let other = taken.iter().find(|other| collides(other, name));
    other.map_or(Ok(()), |other| Err(collision(name, other)))
}

fn collision(name: &str, other: &str) -> Failure {
    let text = format!("Topic '{name}' collides with existing topic: {other}");
    Failure::new(ErrorCode::InvalidTopic, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        assert!(collides("a.b", "a_b"));
        assert!(!collides("a.b", "a.b"));
        assert!(!collides("a.b", "a-b"));
    }

    #[test]
    fn only_names_with_the_same_beginning_are_looked_at() {
        let org = Org::default();
        let name = |n: &str| TopicName::try_from(n).unwrap();
        let key = |n: &str| Key::TopicName(org.clone(), name(n)).encode();
        let range = candidates(&org, &name("ab.c")).unwrap();
        assert!(range.contains(&key("ab_c")) && !range.contains(&key("ac_c")));
        assert!(candidates(&org, &name("abc")).is_none());
        assert!(candidates(&org, &name("_x")).unwrap().contains(&key("zzz")));
    }

    #[test]
    fn illegal_names_are_refused_in_kafkas_words() {
        let message = |n: &str| parse(n).unwrap_err().message;
        assert_eq!(message("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(
            message(""),
            "Topic name is invalid: the empty string is not allowed"
        );
        assert_eq!(
            message("__cluster_metadata"),
            "Creation of internal topic __cluster_metadata is prohibited."
        );
    }
}
