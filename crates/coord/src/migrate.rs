//! Changing a group's protocol while it has members (KIP-848, "Online upgrade and downgrade").
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    classic::{Classic, Member},
    command::Client,
    consumer::{Consumer, classic::classic_assignment, heartbeat::full},
    embedded::{self, Subscription},
    error::{GroupError, Refusal},
    group::Cx,
    mutant,
    row::{self, AssignedPartitions, ClassicFacade, ConsumerMemberRow, Target},
    topics::Topics,
};

/// The classic group as one of KIP-848: every member keeps what it was assigned, in the epoch of its generation. The joining
/// member that is the reason for this bumps the epoch, so all are asked to join again.
pub(crate) fn upgrade(cx: &mut Cx, classic: &mut Classic) -> Result<Consumer, Refusal> {
    let group_id = cx.group_id;
    let refused = |why: &str| {
        let message =
            format!("Cannot upgrade classic group {group_id} to consumer group because {why}.");
        Refusal::new(GroupError::GroupIdNotFound, message)
    };
    if !cx.settings.migration.allows_upgrade() {
        return Err(refused("online upgrade is disabled"));
    }
    if !classic.uses_consumer_protocol() {
        return Err(refused(
            "the group does not use the consumer embedded protocol",
        ));
    }
    if classic.members.len() > cx.settings.consumer_members_max {
        return Err(refused(
            "the group size exceeds the consumer group maximum size",
        ));
    }
    let protocol = classic.protocol.as_deref();
    let member = |m: &Member| {
        Some((
            m.id.clone(),
            upgrade_member(cx.topics, m, protocol, classic.generation)?,
        ))
    };
    let members: Option<BTreeMap<_, _>> = classic.members.values().map(member).collect();
    let members = members.ok_or_else(|| {
        refused("an unsupported custom assignor is in use or the embedded consumer protocol is malformed")
    })?;
    // Before anything changes: whoever joins is one more.
    if classic.members.len() >= cx.settings.consumer_members_max {
        return Err(full(cx.settings.consumer_members_max));
    }
    if !mutant::is("upgrade_forgets_waiting") {
        classic.refuse_all_waiting(cx, GroupError::RebalanceInProgress);
    }
    let gone = classic.saved.iter().filter(|id| !members.contains_key(*id));
    gone.for_each(|id| cx.out.delete_member(id));
    Ok(Consumer::adopt(cx, classic.newest_generation(), members))
}

/// `None`: the bytes of the member cannot be read, or hold an assignor's own data, which would be lost.
fn upgrade_member(
    topics: &Topics,
    member: &Member,
    protocol: Option<&str>,
    generation: i32,
) -> Option<ConsumerMemberRow> {
    let metadata = match protocol {
        Some(protocol) => member.metadata(protocol),
        None => member.protocols.first()?.metadata.clone(),
    };
    let subscription = Subscription::decode(metadata)?;
    let (partitions, user_data) = embedded::decode_assignment(member.assignment.clone())?;
    if user_data.is_some_and(|data: Bytes| !data.is_empty()) {
        return None;
    }
    let (mut assigned, mut target) = <(AssignedPartitions, Target)>::default();
    for (name, partitions) in &partitions {
        let Some(topic) = topics.get(name) else {
            continue;
        };
        for partition in partitions {
            assigned.insert(topic.id, *partition, generation);
            target.insert(topic.id, *partition);
        }
    }
    Some(ConsumerMemberRow {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client.id.clone(),
        client_host: member.client.host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        topic_names: subscription.topics.into_iter().collect(),
        epoch: generation,
        previous_epoch: generation,
        assigned,
        target,
        classic: Some(ClassicFacade {
            session_timeout_ms: member.session_timeout_ms,
            protocols: row::protocols_to_rows(&member.protocols),
        }),
        ..ConsumerMemberRow::default()
    })
}

/// The group, all of whose members are classic, as a classic one again. It rebalances at once.
pub(crate) fn downgrade(cx: &mut Cx, consumer: &Consumer) -> Classic {
    let members: BTreeMap<String, Member> = consumer
        .members
        .iter()
        .filter_map(|(id, m)| Some((id.clone(), downgrade_member(cx.topics, id, m)?)))
        .collect();
    let mut classic = Classic::new(cx.now.wall_ms);
    classic.generation = consumer.epoch();
    classic.protocol_type = Some(embedded::CONSUMER.to_owned());
    classic.leader = members.keys().next().cloned();
    classic.settle(cx, members);
    classic.persist(cx);
    classic.prepare_rebalance(cx);
    classic
}

fn downgrade_member(topics: &Topics, id: &str, member: &ConsumerMemberRow) -> Option<Member> {
    let classic = member.classic.as_ref()?;
    Some(Member {
        id: id.to_owned(),
        instance_id: member.instance_id.clone(),
        client: Client {
            id: member.client_id.clone(),
            host: member.client_host.clone(),
        },
        session_timeout_ms: classic.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: row::protocols_from_rows(classic.protocols.clone()),
        assignment: classic_assignment(topics, member, classic),
        join: None,
        sync: None,
        is_new: false,
    })
}
