//! A member as it sees itself: what it knows of its group, what it believes it owns, and what it asks next.
use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sh_base::{PartitionIndex, TopicId};
use sh_coord::{command::*, reply::*};

use crate::driver::*;

pub type Partition = (TopicId, PartitionIndex);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// JoinGroup, SyncGroup, Heartbeat; it gives everything up before it joins again.
    Classic,
    /// ConsumerGroupHeartbeat.
    New,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub speaks: Speaks,
    /// Subscribes by pattern, when it speaks the new protocol.
    pub by_pattern: bool,
    pub instance: Option<String>,
    pub id: String,
    /// Its generation or epoch; `None`: it is not in the group, as far as it knows.
    pub epoch: Option<i32>,
    pub owned: BTreeSet<Partition>,
    /// New: what it was told to own; it gives up the rest when it acts next.
    pub assigned: BTreeSet<Partition>,
    /// Classic: the answer to its JoinGroup, and whether it has its assignment.
    pub joined: Option<JoinReply>,
    pub synced: bool,
    /// Classic: partitions of `t` that it assigned as the leader.
    pub assigned_of_t: PartitionIndex,
    /// The request that it waits for.
    pub waits_for: Option<RequestId>,
    /// Ids and epochs that it had.
    pub past: Vec<(String, i32)>,
    lives: usize,
}

impl Client {
    pub fn new(place: usize, speaks: Speaks) -> Client {
        let mut client = Client {
            speaks,
            by_pattern: place == 1,
            instance: (place == 0).then(|| "static".to_owned()),
            id: String::new(),
            epoch: None,
            owned: BTreeSet::new(),
            assigned: BTreeSet::new(),
            joined: None,
            synced: false,
            assigned_of_t: 0,
            waits_for: None,
            past: Vec::new(),
            lives: 0,
        };
        client.restart(place);
        client
    }

    /// A new process, with a new member id; what it owned it owns no more.
    pub fn restart(&mut self, place: usize) {
        self.lives += 1;
        self.id = match self.speaks {
            Speaks::Classic => String::new(),
            Speaks::New => format!("m{place}-{}", self.lives),
        };
        self.let_go();
        (self.epoch, self.waits_for) = (None, None);
    }

    /// It is not where the group is, and joins again.
    pub fn let_go(&mut self) {
        self.owned.clear();
        self.assigned.clear();
        self.joined = None;
        self.synced = false;
    }

    /// It was told of a generation or epoch.
    pub fn enter(&mut self, epoch: i32) {
        if self.epoch != Some(epoch) {
            self.past.push((self.id.clone(), epoch));
        }
        self.epoch = Some(epoch);
    }

    /// May it commit, as far as it knows?
    pub fn is_in(&self) -> bool {
        self.epoch.is_some() && (self.speaks == Speaks::New || self.synced)
    }

    /// What it asks next; it gives up first what it was told to.
    pub fn next(&mut self, partitions_of_t: PartitionIndex) -> Command {
        match self.speaks {
            Speaks::New => self.next_heartbeat(),
            Speaks::Classic => self.next_classic(partitions_of_t),
        }
    }

    fn next_heartbeat(&mut self) -> Command {
        self.owned = self.assigned.clone();
        let beat = match (self.epoch, self.by_pattern) {
            (Some(epoch), _) => beating(&self.id, epoch, Some(by_topic(&self.owned))),
            (None, false) => joining(&self.id, &["t", "u"]),
            (None, true) => ConsumerGroupHeartbeat {
                subscribed_topic_names: None,
                subscribed_topic_regex: Some("[tu].*".into()),
                ..joining(&self.id, &[])
            },
        };
        Command::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
            instance_id: self.instance.clone(),
            ..beat
        })
    }

    fn next_classic(&mut self, partitions_of_t: PartitionIndex) -> Command {
        let grown = self.synced && self.leads() && self.assigned_of_t != partitions_of_t;
        if grown {
            self.let_go();
        }
        let instance_id = self.instance.clone();
        match (&self.joined, self.synced) {
            (None, _) => Command::JoinGroup(JoinGroup {
                instance_id,
                protocols: vec![Protocol {
                    name: "range".into(),
                    metadata: subscription(&["t", "u"]),
                }],
                ..join(&self.id)
            }),
            (Some(joined), false) => {
                let assignments = match self.leads() {
                    true => share(&joined.members, partitions_of_t),
                    false => Vec::new(),
                };
                let sync = SyncGroup {
                    instance_id,
                    assignments,
                    ..sync(joined, &[])
                };
                self.assigned_of_t = partitions_of_t;
                Command::SyncGroup(sync)
            }
            (Some(joined), true) => Command::Heartbeat(Heartbeat {
                member_id: self.id.clone(),
                instance_id,
                generation: joined.generation,
            }),
        }
    }

    fn leads(&self) -> bool {
        let leads =
            |joined: &JoinReply| joined.leader == joined.member_id && !joined.skip_assignment;
        self.joined.as_ref().is_some_and(leads)
    }

    /// The request that says goodbye; `None`: nobody knows it.
    pub fn goodbye(&self) -> Option<Command> {
        let instance_id = self.instance.clone();
        match self.speaks {
            Speaks::Classic => Some(Command::LeaveGroup(LeaveGroup {
                members: vec![LeavingMember {
                    member_id: self.id.clone(),
                    instance_id,
                    reason: None,
                }],
            })),
            Speaks::New => {
                self.epoch?;
                let epoch = if instance_id.is_some() { -2 } else { -1 };
                Some(Command::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
                    instance_id,
                    ..beating(&self.id, epoch, None)
                }))
            }
        }
    }
}

fn by_topic(partitions: &BTreeSet<Partition>) -> TopicPartitions {
    let mut topics = TopicPartitions::new();
    for (topic, partition) in partitions {
        topics.entry(*topic).or_default().push(*partition);
    }
    topics
}

/// The leader's work: every partition goes to somebody.
fn share(members: &[JoinMember], partitions_of_t: PartitionIndex) -> Vec<(String, Bytes)> {
    let all: Vec<(&str, PartitionIndex)> = (0..partitions_of_t)
        .map(|p| ("t", p))
        .chain((0..2).map(|p| ("u", p)))
        .collect();
    let count = members.len().max(1);
    let of = |place: usize| all.iter().skip(place).step_by(count).copied();
    let assign = |(place, member): (usize, &JoinMember)| {
        (
            member.member_id.clone(),
            written(&Vec::from_iter(of(place))),
        )
    };
    members.iter().enumerate().map(assign).collect()
}

/// An assignment as consumers write it.
fn written(partitions: &[(&str, PartitionIndex)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(partitions.len() as i32);
    for (topic, partition) in partitions {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(1);
        out.put_i32(*partition);
    }
    out.put_i32(-1);
    out.freeze()
}

/// An assignment as it is written, by leaders or by the coordinator.
pub fn read(mut from: Bytes) -> BTreeSet<Partition> {
    let mut partitions = BTreeSet::new();
    if from.is_empty() {
        return partitions;
    }
    from.get_i16();
    for _ in 0..from.get_i32() {
        let length = usize::from(from.get_u16());
        let name = String::from_utf8(from.split_to(length).to_vec()).unwrap();
        for _ in 0..from.get_i32() {
            partitions.insert((topic_id(&name), from.get_i32()));
        }
    }
    partitions
}
