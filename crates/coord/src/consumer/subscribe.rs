//! Whose heartbeat it is: a known member, a new one, or one that takes a static member's place.
use super::{Consumer, LEFT_STATIC_EPOCH};
use crate::{
    command::{ConsumerGroupHeartbeat, TopicPartitions},
    error::{GroupError, Refusal},
    group::Cx,
    row::{AssignedPartitions, ConsumerMemberRow},
};

impl Consumer {
    /// Finds or makes the member, as it was before this heartbeat. Nothing is changed if it is refused.
    pub(super) fn member_of(
        &mut self,
        cx: &mut Cx,
        id: &str,
        beat: &ConsumerGroupHeartbeat,
    ) -> Result<ConsumerMemberRow, Refusal> {
        match &beat.instance_id {
            None => self.dynamic_member(cx, id, beat),
            Some(instance) => self.static_member(cx, id, instance, beat),
        }
    }

    fn dynamic_member(
        &self,
        cx: &Cx,
        id: &str,
        beat: &ConsumerGroupHeartbeat,
    ) -> Result<ConsumerMemberRow, Refusal> {
        match self.members.get(id) {
            Some(member) => {
                check_epoch(member, beat.member_epoch, beat.topic_partitions.as_ref())?;
                Ok(member.clone())
            }
            None if beat.member_epoch == 0 => Ok(ConsumerMemberRow::default()),
            None => Err(unknown(cx, id)),
        }
    }

    fn static_member(
        &mut self,
        cx: &mut Cx,
        id: &str,
        instance: &str,
        beat: &ConsumerGroupHeartbeat,
    ) -> Result<ConsumerMemberRow, Refusal> {
        let holder = self.holder_of(instance);
        if beat.member_epoch != 0 {
            let (holder, member) = holder.ok_or_else(|| unknown_instance(instance))?;
            if holder != id {
                return Err(fenced(id, instance, &holder));
            }
            check_epoch(&member, beat.member_epoch, beat.topic_partitions.as_ref())?;
            return Ok(member);
        }
        match holder {
            None => Ok(self.members.get(id).cloned().unwrap_or_default()),
            Some((holder, member)) if holder == id => Ok(member),
            Some((holder, member)) => {
                if member.classic.is_none() && member.epoch != LEFT_STATIC_EPOCH {
                    return Err(unreleased(id, instance, &holder));
                }
                Ok(self.replace(cx, &holder, id))
            }
        }
    }

    pub(super) fn holder_of(&self, instance: &str) -> Option<(String, ConsumerMemberRow)> {
        let holder = self.statics.get(instance)?;
        Some((holder.clone(), self.members.get(holder)?.clone()))
    }

    /// The member goes by another id from now on, and begins at epoch 0 with the partitions and the target it had.
    pub(super) fn replace(&mut self, cx: &mut Cx, old: &str, new: &str) -> ConsumerMemberRow {
        let mut member = self.take(cx, old).unwrap_or_default();
        member.epoch = 0;
        member.previous_epoch = 0;
        member.left_ms = None;
        self.put(new, member.clone());
        member
    }
}

/// The epoch must be the member's. One behind is accepted if the member owns nothing that it should not: it has lost an answer.
fn check_epoch(
    member: &ConsumerMemberRow,
    epoch: i32,
    owned: Option<&TopicPartitions>,
) -> Result<(), Refusal> {
    let lost_answer = || {
        epoch == member.previous_epoch
            && owned.is_some_and(|owned| is_within(owned, &member.assigned))
    };
    let problem = match () {
        () if epoch == 0 || epoch == member.epoch => return Ok(()),
        () if epoch > member.epoch => "greater",
        () if lost_answer() => return Ok(()),
        () => "smaller",
    };
    let message = format!(
        "The consumer group member has a {problem} member epoch ({epoch}) than the one known by the group coordinator ({}). \
         The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(Refusal::new(GroupError::FencedMemberEpoch, message))
}

fn is_within(owned: &TopicPartitions, assigned: &AssignedPartitions) -> bool {
    owned.iter().all(|(topic, partitions)| {
        partitions
            .iter()
            .all(|partition| assigned.epoch_of(topic, *partition).is_some())
    })
}

pub(super) fn unknown(cx: &Cx, id: &str) -> Refusal {
    let message = format!("Member {id} is not a member of group {}.", cx.group_id);
    Refusal::new(GroupError::UnknownMemberId, message)
}

pub(super) fn unknown_instance(instance: &str) -> Refusal {
    let message = format!("Instance id {instance} is unknown.");
    Refusal::new(GroupError::UnknownMemberId, message)
}

pub(super) fn fenced(id: &str, instance: &str, holder: &str) -> Refusal {
    let message =
        format!("Static member {id} with instance id {instance} was fenced by member {holder}.");
    Refusal::new(GroupError::FencedInstanceId, message)
}

fn unreleased(id: &str, instance: &str, holder: &str) -> Refusal {
    let message = format!(
        "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by {holder} member."
    );
    Refusal::new(GroupError::UnreleasedInstanceId, message)
}
