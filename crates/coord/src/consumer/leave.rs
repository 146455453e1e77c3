//! Members go: on their own, because they were silent, or because they held on to what is not theirs.
use super::{
    Consumer, LEFT_STATIC_EPOCH,
    subscribe::{fenced, unknown, unknown_instance},
};
use crate::{
    command::ConsumerGroupHeartbeat, error::Refusal, group::Cx, mutant, reply::HeartbeatReply,
    row::AssignedPartitions,
};

impl Consumer {
    pub(super) fn leave(
        &mut self,
        cx: &mut Cx,
        beat: &ConsumerGroupHeartbeat,
    ) -> Result<HeartbeatReply, Refusal> {
        let id = &beat.member_id;
        if let Some(instance) = &beat.instance_id {
            let (holder, _) = self
                .holder_of(instance)
                .ok_or_else(|| unknown_instance(instance))?;
            if holder != *id {
                return Err(fenced(id, instance, &holder));
            }
        } else if !self.members.contains_key(id) {
            return Err(unknown(cx, id));
        }
        if beat.member_epoch == LEFT_STATIC_EPOCH {
            self.leave_place_behind(cx, id);
        } else {
            self.fence(cx, id);
        }
        Ok(HeartbeatReply {
            member_id: id.clone(),
            member_epoch: beat.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// A static member that will come back: its partitions stay its own until its session ends.
    fn leave_place_behind(&mut self, cx: &Cx, id: &str) {
        let Some(mut member) = self.members.get(id).cloned() else {
            return;
        };
        member.epoch = LEFT_STATIC_EPOCH;
        member.revoking = AssignedPartitions::default();
        member.left_ms = Some(cx.now.wall_ms);
        self.put(id, member);
    }

    /// Takes the member out and lets the others share what it had.
    pub(super) fn fence(&mut self, cx: &mut Cx, id: &str) {
        if self.take(cx, id).is_some() {
            self.resolve_new(cx.topics);
            // Where only classic members remain, theirs is the next generation: that of the rebalance that follows.
            let shared = !mutant::is("leaver_keeps_its_share");
            self.bump_epoch_if(cx, shared && !self.should_downgrade(cx.settings));
        }
    }
}
