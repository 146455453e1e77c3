//! ConsumerGroupHeartbeat: the one request of KIP-848. It tells what changed on the member's side, and what changed on ours.
use super::{Consumer, LEAVE_EPOCH, LEFT_STATIC_EPOCH};
use crate::{
    command::{Client, ConsumerGroupHeartbeat, TopicPartitions},
    error::{GroupError, Refusal},
    group::Cx,
    reply::HeartbeatReply,
    row::{AssignedPartitions, ConsumerMemberRow},
};

impl Consumer {
    pub fn heartbeat(
        &mut self,
        cx: &mut Cx,
        client: Client,
        beat: ConsumerGroupHeartbeat,
    ) -> Result<HeartbeatReply, Refusal> {
        let answered = match beat.member_epoch {
            LEAVE_EPOCH | LEFT_STATIC_EPOCH => self.leave(cx, &beat),
            _ => self.stay(cx, client, beat),
        };
        self.save(cx);
        answered
    }

    fn stay(
        &mut self,
        cx: &mut Cx,
        client: Client,
        beat: ConsumerGroupHeartbeat,
    ) -> Result<HeartbeatReply, Refusal> {
        self.check_room(cx, &beat.member_id)?;
        let id = match beat.member_id.as_str() {
            "" => cx.uuid().to_string(),
            id => id.to_owned(),
        };
        let before = self.member_of(cx, &id, &beat)?;
        let member = updated(&before, client, &beat);
        let changed = self.subscribe(cx, &id, &before, member);
        self.bump_epoch_if(cx, changed);
        self.assign_if_due(cx);
        self.reconcile(cx, &id, beat.topic_partitions.as_ref(), changed);
        Ok(self.answer(cx, &id, &beat, &before.assigned))
    }

    /// Puts the member, with what it wishes now. Says whether that is something else than before.
    pub(super) fn subscribe(
        &mut self,
        cx: &Cx,
        id: &str,
        before: &ConsumerMemberRow,
        member: ConsumerMemberRow,
    ) -> bool {
        let other_names = member.topic_names != before.topic_names;
        if member.topic_regex == before.topic_regex {
            self.put(id, member);
            return other_names;
        }
        let matched = self.matched_by(&before.topic_regex);
        let regex = member.topic_regex.clone();
        self.put(id, member);
        self.resolve_new(cx.topics);
        // An expression wishes for the topics that it matches.
        other_names || self.matched_by(&regex) != matched
    }

    fn check_room(&self, cx: &Cx, member_id: &str) -> Result<(), Refusal> {
        let max = cx.settings.consumer_members_max;
        if self.members.len() < max || self.members.contains_key(member_id) {
            return Ok(());
        }
        Err(full(max))
    }

    /// The assignment is told to a member that tells all of itself (it joins, or recovers), or when it has changed.
    fn answer(
        &self,
        cx: &mut Cx,
        id: &str,
        beat: &ConsumerGroupHeartbeat,
        before: &AssignedPartitions,
    ) -> HeartbeatReply {
        let subscribes =
            beat.subscribed_topic_names.is_some() || beat.subscribed_topic_regex.is_some();
        let tells_all =
            beat.rebalance_timeout_ms != -1 && subscribes && beat.topic_partitions.is_some();
        let member = self.members.get(id).cloned().unwrap_or_default();
        self.heard(cx, id, &member);
        let told = beat.member_epoch == 0 || tells_all || !member.assigned.same_partitions(before);
        HeartbeatReply {
            member_id: id.to_owned(),
            member_epoch: member.epoch,
            heartbeat_interval_ms: cx.settings.consumer_heartbeat_interval_ms,
            assignment: told.then(|| topic_partitions(&member.assigned)),
        }
    }
}

pub(crate) fn full(max: usize) -> Refusal {
    let message = format!("The consumer group has reached its maximum capacity of {max} members.");
    Refusal::new(GroupError::GroupMaxSizeReached, message)
}

/// The member with what the heartbeat tells of it.
fn updated(
    before: &ConsumerMemberRow,
    client: Client,
    beat: &ConsumerGroupHeartbeat,
) -> ConsumerMemberRow {
    let mut member = before.clone();
    member.client_id = client.id;
    member.client_host = client.host;
    member.classic = None;
    let keep = |told: &Option<String>, known: Option<String>| told.clone().or(known);
    member.instance_id = keep(&beat.instance_id, member.instance_id);
    member.rack_id = keep(&beat.rack_id, member.rack_id);
    member.assignor = keep(&beat.server_assignor, member.assignor);
    member.topic_regex =
        keep(&beat.subscribed_topic_regex, member.topic_regex).filter(|p| !p.is_empty());
    if beat.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = beat.rebalance_timeout_ms;
    }
    if let Some(names) = &beat.subscribed_topic_names {
        member.topic_names = names.iter().cloned().collect();
    }
    member
}

fn topic_partitions(assigned: &AssignedPartitions) -> TopicPartitions {
    assigned
        .0
        .iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}
