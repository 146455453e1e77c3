//! Deleting records before an offset (KIP-107).
use sh_base::{ErrorCode, Failure, Offset, PartitionIndex};
use sh_log::delete::HIGH_WATERMARK;

use crate::{
    Caller, Node, Operation, Resource, Topic, TopicChoice, lookup::check_partition,
    topics::is_internal,
};

impl Node {
    /// Moves the log start of a partition up to an offset (-1: its end), and tells where it is then. It never moves back.
    ///
    /// Errors: `UnknownTopicOrPartition`, `InvalidTopic` (one of Kafka's own), `PolicyViolation` (a topic whose policy is not to
    /// delete), `OffsetOutOfRange`.
    pub async fn delete_records(
        &self,
        caller: &Caller,
        topic: &str,
        partition: PartitionIndex,
        before: Offset,
    ) -> Result<Offset, Failure> {
        let topic = self
            .topic(caller, &TopicChoice::Name(topic.to_owned()))
            .await?;
        self.authorize(caller, Operation::Delete, Resource::Topic(&topic.name))?;
        check_partition(&topic, partition)?;
        check_policy(&topic)?;
        if before < HIGH_WATERMARK {
            let text = format!("offset {before} is not one of the partition; use -1 for its end");
            return Err(Failure::new(ErrorCode::OffsetOutOfRange, text));
        }
        sh_log::delete::delete_records(self.control(), topic.partition(partition), before).await
    }
}

fn check_policy(topic: &Topic) -> Result<(), Failure> {
    if is_internal(topic.name.as_str()) {
        let text = format!(
            "records of the internal topic {} cannot be deleted",
            topic.name
        );
        return Err(Failure::new(ErrorCode::InvalidTopic, text));
    }
    if !topic.settings.deletes {
        let text = format!(
            "records of topic {} cannot be deleted: its cleanup.policy does not contain 'delete'",
            topic.name
        );
        return Err(Failure::new(ErrorCode::PolicyViolation, text));
    }
    Ok(())
}
