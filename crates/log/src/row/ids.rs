//! Ids inside values.
use sh_base::{AgentId, Incarnation, ObjectId, TopicId, TopicPartition};

use crate::codec::Reader;

pub fn put_object_id(out: &mut Vec<u8>, id: &ObjectId) {
    out.extend(id.by.agent.0.to_be_bytes());
    out.extend(id.by.epoch.to_be_bytes());
    out.extend(id.by.nonce.to_be_bytes());
    out.extend(id.seq.to_be_bytes());
}

pub fn read_object_id(r: &mut Reader<'_>) -> Option<ObjectId> {
    let by = Incarnation {
        agent: AgentId(r.u32()?),
        epoch: r.u32()?,
        nonce: r.u64()?,
    };
    Some(ObjectId { by, seq: r.u64()? })
}

pub fn put_partition(out: &mut Vec<u8>, tp: &TopicPartition) {
    out.extend(tp.topic.0.as_bytes());
    out.extend(tp.partition.to_be_bytes());
}

pub fn read_partition(r: &mut Reader<'_>) -> Option<TopicPartition> {
    let topic = TopicId(uuid::Uuid::from_bytes(r.array()?));
    Some(TopicPartition {
        topic,
        partition: r.i32()?,
    })
}
