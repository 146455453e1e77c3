//! A coordinator in a test: it stores what the group hands out, at once or when told to, and keeps the answers.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use sh_base::{PartitionIndex, Rng, TopicId};
use sh_coord::{
    command::{
        CommitPartition, CommitTopic, ConsumerGroupHeartbeat, Heartbeat, JoinGroup, LeaveGroup,
        LeavingMember, OffsetCommit, Protocol, SyncGroup, TopicPartitions,
    },
    offsets::OffsetRow,
    reply::{HeartbeatReply, JoinReply, LeaveReply, OffsetsReply, SyncReply},
    *,
};
use uuid::Uuid;

/// Numbers that look random and are the same in every run.
pub struct Seeded(pub AtomicU64);

impl Rng for Seeded {
    fn next_u64(&self) -> u64 {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

pub type Offsets = BTreeMap<(String, PartitionIndex), OffsetRow>;

pub struct Driver {
    pub group: Group,
    pub now: Now,
    pub settings: Arc<GroupSettings>,
    pub topics: Arc<Topics>,
    pub stored: Snapshot,
    pub offsets: Offsets,
    /// Answers that have come and were not taken.
    pub replies: BTreeMap<RequestId, Reply>,
    /// Requests in the order of their answers.
    pub answered: Vec<RequestId>,
    /// Changes that were handed out and are not stored yet.
    pub outgoing: Option<Persist>,
    /// Store everything as soon as it is handed out.
    pub stores_at_once: bool,
    pub persists: usize,
    rng: Arc<Seeded>,
    next_id: RequestId,
}

impl Driver {
    pub fn new() -> Driver {
        Driver::with(GroupSettings {
            initial_rebalance_delay_ms: 0,
            ..GroupSettings::default()
        })
    }

    pub fn with(settings: GroupSettings) -> Driver {
        Driver::seeded(settings, 0)
    }

    pub fn seeded(settings: GroupSettings, seed: u64) -> Driver {
        let settings = Arc::new(settings);
        let topics = Arc::new(Topics::default());
        let rng = Arc::new(Seeded(AtomicU64::new(seed)));
        let now = Now {
            mono: Duration::from_secs(1_000),
            wall_ms: 1_700_000_000_000,
        };
        let (s, t, r) = (settings.clone(), topics.clone(), rng.clone());
        Driver {
            group: Group::restore(now, "g", Snapshot::default(), s, t, r),
            now,
            settings,
            topics,
            stored: Snapshot::default(),
            offsets: Offsets::new(),
            replies: BTreeMap::new(),
            answered: Vec::new(),
            outgoing: None,
            stores_at_once: true,
            persists: 0,
            rng,
            next_id: 1,
        }
    }

    /// Topics `name` with so many partitions; ids follow from the names.
    pub fn set_topics(&mut self, topics: &[(&str, PartitionIndex)]) {
        let topic = |(name, partitions): &(&str, PartitionIndex)| {
            (
                (*name).to_owned(),
                Topic {
                    id: topic_id(name),
                    partitions: *partitions,
                },
            )
        };
        self.topics = Arc::new(Topics::new(topics.iter().map(topic)));
        let outputs = self
            .group
            .handle(self.now, Event::Topics(self.topics.clone()));
        self.take(outputs);
    }

    pub fn set_settings(&mut self, settings: GroupSettings) {
        self.settings = Arc::new(settings);
        let outputs = self
            .group
            .handle(self.now, Event::Settings(self.settings.clone()));
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply(id, reply) => {
                    self.answered.push(id);
                    assert!(
                        self.replies.insert(id, reply).is_none(),
                        "request {id} was answered twice"
                    );
                }
                Output::Persist(persist) => {
                    self.persists += 1;
                    assert!(
                        self.outgoing.replace(persist).is_none(),
                        "two changes are on their way"
                    );
                }
            }
        }
        if self.stores_at_once {
            self.store();
        }
    }

    /// Stores what is on its way, and what follows if that is wished.
    pub fn store(&mut self) {
        if let Some(persist) = self.outgoing.take() {
            let version = persist.version;
            self.apply(persist.changes);
            let event = Event::Persisted {
                version,
                refused: Vec::new(),
            };
            let outputs = self.group.handle(self.now, event);
            self.take(outputs);
        }
    }

    pub fn apply(&mut self, changes: Changes) {
        match changes.group {
            Some(Change::Put(row)) => {
                // What is stored is what a take-over reads, so it must survive its encoding.
                let row = row::GroupRow::decode(&row.encode()).unwrap();
                self.stored.group = Some(row);
            }
            Some(Change::Delete) => self.stored.group = None,
            None => {}
        }
        for (id, change) in changes.members {
            match change {
                Change::Put(row) => {
                    let row = row::MemberRow::decode(&row.encode()).unwrap();
                    self.stored.members.insert(id, row);
                }
                Change::Delete => {
                    self.stored.members.remove(&id);
                }
            }
        }
        changes
            .offsets
            .into_iter()
            .for_each(|change| self.apply_offset(change));
    }

    fn apply_offset(&mut self, change: OffsetChange) {
        match change {
            OffsetChange::Commit {
                transaction: Some(_),
                ..
            } => {}
            OffsetChange::Commit { rows, .. } => {
                self.offsets
                    .extend(rows.into_iter().map(|(t, p, row)| ((t, p), row)));
            }
            OffsetChange::Delete {
                topic, partition, ..
            } => {
                self.offsets.remove(&(topic, partition));
            }
            OffsetChange::Expire {
                topic,
                partition,
                seen,
            } => self.offsets.retain(|(name, p), row| {
                topic_id(name) != topic || *p != partition || *row != seen
            }),
            OffsetChange::DeleteAll => self.offsets.clear(),
        }
    }

    /// Another agent takes the group over: what was not stored is lost, what waits is never answered here.
    pub fn take_over(&mut self) {
        self.outgoing = None;
        let (s, t, r) = (self.settings.clone(), self.topics.clone(), self.rng.clone());
        self.group = Group::restore(self.now, "g", self.stored.clone(), s, t, r);
    }

    pub fn send(&mut self, command: Command) -> RequestId {
        self.send_as("client", command)
    }

    pub fn send_as(&mut self, client: &str, command: Command) -> RequestId {
        let id = self.hand_over(client, command);
        self.poll();
        id
    }

    /// Sends without looking at the timers.
    fn hand_over(&mut self, client: &str, command: Command) -> RequestId {
        let id = self.next_id;
        self.next_id += 1;
        let client = Client {
            id: client.into(),
            host: "/127.0.0.1".into(),
        };
        let event = Event::Request {
            id,
            client,
            command,
        };
        let outputs = self.group.handle(self.now, event);
        self.take(outputs);
        id
    }

    pub fn poll(&mut self) {
        let outputs = self.group.poll(self.now);
        self.take(outputs);
    }

    /// Lets time pass, timer by timer.
    pub fn pass_ms(&mut self, ms: u64) {
        let until = self.now.mono + Duration::from_millis(ms);
        while let Some(at) = self.group.next_timeout().filter(|at| *at <= until) {
            self.set_mono(at.max(self.now.mono));
            self.poll();
        }
        self.set_mono(until);
        self.poll();
    }

    fn set_mono(&mut self, mono: Duration) {
        self.now.wall_ms += (mono - self.now.mono).as_millis() as i64;
        self.now.mono = mono;
    }

    pub fn is_waiting(&self, id: RequestId) -> bool {
        !self.replies.contains_key(&id)
    }

    pub fn reply(&mut self, id: RequestId) -> Reply {
        self.replies
            .remove(&id)
            .unwrap_or_else(|| panic!("request {id} waits"))
    }

    pub fn call(&mut self, command: Command) -> Reply {
        let id = self.send(command);
        self.reply(id)
    }

    // One helper for each request, with the answer unwrapped.

    pub fn joined(&mut self, id: RequestId) -> JoinReply {
        match self.reply(id) {
            Reply::JoinGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
    pub fn synced(&mut self, id: RequestId) -> SyncReply {
        match self.reply(id) {
            Reply::SyncGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
    pub fn join(&mut self, join: JoinGroup) -> RequestId {
        self.send(Command::JoinGroup(join))
    }
    pub fn sync(&mut self, member: &JoinReply, assignments: &[(&str, &str)]) -> RequestId {
        self.send(Command::SyncGroup(sync(member, assignments)))
    }
    pub fn heartbeat(&mut self, member_id: &str, generation: i32) -> Option<GroupError> {
        let beat = Heartbeat {
            member_id: member_id.into(),
            instance_id: None,
            generation,
        };
        match self.call(Command::Heartbeat(beat)) {
            Reply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }
    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveReply {
        let member = |(id, instance): &(&str, Option<&str>)| LeavingMember {
            member_id: (*id).into(),
            instance_id: instance.map(str::to_owned),
            reason: None,
        };
        let members = members.iter().map(member).collect();
        match self.call(Command::LeaveGroup(LeaveGroup { members })) {
            Reply::LeaveGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
    pub fn commit(&mut self, commit: OffsetCommit) -> OffsetsReply {
        match self.call(Command::OffsetCommit(commit)) {
            Reply::OffsetCommit(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
    pub fn beat(&mut self, beat: ConsumerGroupHeartbeat) -> Result<HeartbeatReply, Refusal> {
        match self.call(Command::ConsumerGroupHeartbeat(beat)) {
            Reply::ConsumerGroupHeartbeat(reply) => reply,
            other => panic!("{other:?}"),
        }
    }
    pub fn group_type(&self) -> Option<&'static str> {
        Some(self.group.listing()?.group_type)
    }
    pub fn state(&self) -> Option<&'static str> {
        Some(self.group.listing()?.state.name())
    }

    /// A group of dynamic members in which the leader has assigned to each its own name.
    pub fn stable_group(&mut self, count: usize) -> Vec<JoinReply> {
        let ids: Vec<RequestId> = (0..count).map(|_| self.join(join(""))).collect();
        let ids: Vec<String> = ids
            .into_iter()
            .map(|id| self.joined(id).member_id)
            .collect();
        self.rejoin_all(&ids)
    }

    /// All join with their ids, the leader assigns, and the group is stable.
    pub fn rejoin_all(&mut self, members: &[String]) -> Vec<JoinReply> {
        let asked: Vec<RequestId> = members
            .iter()
            .map(|id| self.hand_over("client", Command::JoinGroup(join(id))))
            .collect();
        self.poll();
        let joined: Vec<JoinReply> = asked.into_iter().map(|id| self.joined(id)).collect();
        assert!(
            joined.iter().all(|reply| reply.error.is_none()),
            "{joined:?}"
        );
        self.assign_names(&joined);
        joined
    }

    pub fn assign_names(&mut self, joined: &[JoinReply]) {
        let names: Vec<(&str, &str)> = joined
            .iter()
            .map(|m| (m.member_id.as_str(), m.member_id.as_str()))
            .collect();
        let asked: Vec<RequestId> = joined
            .iter()
            .map(|m| self.sync(m, if m.leader == m.member_id { &names } else { &[] }))
            .collect();
        for (id, member) in asked.into_iter().zip(joined) {
            assert_eq!(self.synced(id).assignment, member.member_id.as_bytes());
        }
    }
}

pub fn topic_id(name: &str) -> TopicId {
    let sum = name.bytes().fold(7u128, |hash, byte| {
        hash.wrapping_mul(131).wrapping_add(byte.into())
    });
    TopicId(Uuid::from_u128(sum))
}

/// A consumer's subscription, version 1, that owns nothing.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.put_i32(0);
    out.freeze()
}

pub fn join(member_id: &str) -> JoinGroup {
    JoinGroup {
        member_id: member_id.into(),
        instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: subscription(&["t"]),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        requires_known_member_id: true,
        supports_skipping_assignment: true,
    }
}

pub fn join_static(member_id: &str, instance: &str) -> JoinGroup {
    JoinGroup {
        instance_id: Some(instance.into()),
        ..join(member_id)
    }
}

pub fn sync(member: &JoinReply, assignments: &[(&str, &str)]) -> SyncGroup {
    let assignment =
        |(id, bytes): &(&str, &str)| ((*id).to_owned(), Bytes::from(bytes.to_string()));
    SyncGroup {
        member_id: member.member_id.clone(),
        instance_id: None,
        generation: member.generation,
        protocol_type: member.protocol_type.clone(),
        protocol_name: member.protocol_name.clone(),
        assignments: assignments.iter().map(assignment).collect(),
    }
}

pub fn commit(member_id: &str, epoch: i32, offset: i64) -> OffsetCommit {
    let partition = CommitPartition {
        partition: 0,
        offset,
        leader_epoch: -1,
        metadata: String::new(),
    };
    OffsetCommit {
        member_id: member_id.into(),
        instance_id: None,
        generation_or_epoch: epoch,
        retention_ms: None,
        knows_member_epochs: true,
        transaction: None,
        topics: vec![CommitTopic {
            topic: "t".into(),
            partitions: vec![partition],
        }],
    }
}

/// A member of KIP-848 joins.
pub fn joining(member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        member_id: member_id.into(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(topics.iter().map(|t| (*t).to_owned()).collect()),
        topic_partitions: Some(TopicPartitions::new()),
        member_chooses_id: true,
        ..ConsumerGroupHeartbeat::default()
    }
}

/// Nothing new, but what it owns.
pub fn beating(
    member_id: &str,
    epoch: i32,
    owned: Option<TopicPartitions>,
) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        member_id: member_id.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        topic_partitions: owned,
        member_chooses_id: true,
        ..ConsumerGroupHeartbeat::default()
    }
}

pub fn flat(partitions: &TopicPartitions) -> BTreeSet<(TopicId, PartitionIndex)> {
    partitions
        .iter()
        .flat_map(|(t, ps)| ps.iter().map(|p| (*t, *p)))
        .collect()
}
