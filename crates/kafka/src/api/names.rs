//! Topics as requests name them.
use kafka_protocol::{messages, protocol::StrBytes};
use sh_base::TopicId;
use sh_node::TopicChoice;
use sh_wire::TopicRef;

/// A topic named one way or the other, as `node` takes it.
pub fn choice(topic: &TopicRef) -> TopicChoice {
    match topic {
        TopicRef::Name(name) => TopicChoice::Name(name.to_string()),
        TopicRef::Id(id) => TopicChoice::Id(*id),
    }
}

/// A topic named by its name.
pub fn by_name(name: &messages::TopicName) -> TopicChoice {
    TopicChoice::Name(name.to_string())
}

/// A topic named by its id.
pub fn by_id(id: uuid::Uuid) -> TopicChoice {
    TopicChoice::Id(TopicId(id))
}

/// A sentence for a person, where the answer has a place for one.
pub fn message(text: String) -> Option<StrBytes> {
    (!text.is_empty()).then(|| StrBytes::from_string(text))
}
