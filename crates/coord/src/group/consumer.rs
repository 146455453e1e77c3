//! The requests of KIP-848, and the change from one protocol to the other.
use super::{Group, Kind, Now, cx};
use crate::{
    command::{Client, ConsumerGroupHeartbeat},
    consumer::Consumer,
    error::Refusal,
    group::Cx,
    migrate,
    reply::HeartbeatReply,
};

impl Group {
    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        client: Client,
        beat: ConsumerGroupHeartbeat,
    ) -> Result<HeartbeatReply, Refusal> {
        crate::consumer::check_request(&self.id, &beat, &self.settings)?;
        let former = match self.kind {
            Kind::Consumer(_) => None,
            Kind::Absent | Kind::Classic(_) => Some(self.become_consumer(now, &beat)?),
        };
        let cx = cx!(self, now);
        let Kind::Consumer(consumer) = &mut self.kind else {
            return Err(self.no_consumer_group());
        };
        let answer = consumer.heartbeat(cx, client, beat);
        // Nobody came in: the group is what it was.
        if let Some(former) = former.filter(|_| consumer.is_empty()) {
            self.kind = former;
        }
        answer
    }

    /// A member of KIP-848 that joins makes an absent or empty group one of its own, and takes living members along. What
    /// the group was before is returned.
    fn become_consumer(
        &mut self,
        now: Now,
        beat: &ConsumerGroupHeartbeat,
    ) -> Result<Kind, Refusal> {
        if beat.member_epoch != 0 {
            return Err(self.no_group_to_beat_in(beat.member_epoch));
        }
        let cx = cx!(self, now);
        let consumer = match &mut self.kind {
            Kind::Classic(classic) if !classic.is_empty() => migrate::upgrade(cx, classic)?,
            Kind::Absent | Kind::Classic(_) | Kind::Consumer(_) => Consumer::new(),
        };
        self.timers.clear();
        consumer.start_sessions(cx!(self, now));
        Ok(std::mem::replace(
            &mut self.kind,
            Kind::Consumer(Box::new(consumer)),
        ))
    }

    /// When the last member of KIP-848 has gone and classic ones remain, the group is theirs again.
    pub(super) fn downgrade_if_all_are_classic(&mut self, now: Now) {
        let Kind::Consumer(consumer) = &mut self.kind else {
            return;
        };
        if !consumer.should_downgrade(&self.settings) {
            return;
        }
        self.timers.clear();
        let classic = migrate::downgrade(cx!(self, now), consumer);
        self.kind = Kind::Classic(Box::new(classic));
    }
}
