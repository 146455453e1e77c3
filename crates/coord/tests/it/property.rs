//! Random schedules: members of both protocols join, sync, heartbeat, leave and fall silent; changes are stored late;
//! coordinators are taken over at any moment. Whatever happens, the invariants hold, and once the faults stop, all settles.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sh_base::{PartitionIndex, TopicId};
use sh_coord::{command::*, reply::*, *};

use crate::driver::*;

#[derive(Clone, Debug)]
enum Step {
    /// A member takes its next step.
    Act(usize),
    /// A member is gone without a word.
    Crash(usize),
    Leave(usize),
    PassMs(u64),
    Store,
    TakeOver,
    /// Topic `t` has so many partitions from now on (never fewer).
    Grow(PartitionIndex),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..5usize).prop_map(Step::Act),
        1 => (0..5usize).prop_map(Step::Crash),
        1 => (0..5usize).prop_map(Step::Leave),
        4 => prop_oneof![0..500u64, 0..20_000u64, Just(70_000u64)].prop_map(Step::PassMs),
        8 => Just(Step::Store),
        1 => Just(Step::TakeOver),
        1 => (1..8i32).prop_map(Step::Grow),
    ]
}

fn settings() -> GroupSettings {
    GroupSettings {
        initial_rebalance_delay_ms: 100,
        ..GroupSettings::default()
    }
}

/// A client of the classic protocol.
#[derive(Clone, Debug, Default)]
struct ClassicClient {
    id: String,
    instance: Option<String>,
    joined: Option<JoinReply>,
    synced: bool,
    waits_for: Option<RequestId>,
}

/// What the world has seen: who was assigned what in which generation.
#[derive(Default)]
struct Seen {
    by_generation: BTreeMap<(i32, String), BTreeSet<String>>,
}

struct ClassicWorld {
    d: Driver,
    clients: Vec<ClassicClient>,
    seen: Seen,
    open: BTreeSet<RequestId>,
}

impl ClassicWorld {
    fn new(seed: u64) -> Self {
        let mut d = Driver::seeded(settings(), seed);
        d.stores_at_once = false;
        let client = |i: usize| ClassicClient {
            instance: (i == 0).then(|| "static".to_owned()),
            ..ClassicClient::default()
        };
        let clients = (0..5).map(client).collect();
        ClassicWorld {
            d,
            clients,
            seen: Seen::default(),
            open: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Act(i) => self.act(*i),
            Step::Crash(i) => self.clients[*i] = self.fresh(*i),
            Step::Leave(i) => self.leave(*i),
            Step::PassMs(ms) => self.d.pass_ms(*ms),
            Step::Store => self.d.store(),
            Step::TakeOver => self.take_over(),
            Step::Grow(_) => {}
        }
        self.read_answers();
    }

    fn fresh(&self, i: usize) -> ClassicClient {
        ClassicClient {
            instance: self.clients[i].instance.clone(),
            ..ClassicClient::default()
        }
    }

    fn send(&mut self, i: usize, command: Command) {
        let id = self.d.send(command);
        self.open.insert(id);
        self.clients[i].waits_for = Some(id);
    }

    /// Requests that a coordinator had when it lost the group are lost with it: the connection is gone.
    fn take_over(&mut self) {
        self.d.take_over();
        self.open.clear();
        self.d.replies.clear();
        for client in &mut self.clients {
            client.waits_for = None;
        }
    }

    fn act(&mut self, i: usize) {
        let client = self.clients[i].clone();
        if client.waits_for.is_some() {
            return;
        }
        let command = match (&client.joined, client.synced) {
            (None, _) => Command::JoinGroup(JoinGroup {
                instance_id: client.instance,
                ..join(&client.id)
            }),
            (Some(joined), false) => {
                let leads = joined.leader == joined.member_id && !joined.skip_assignment;
                let all: Vec<(&str, &str)> = joined
                    .members
                    .iter()
                    .map(|m| (&m.member_id[..], &m.member_id[..]))
                    .collect();
                let told: &[(&str, &str)] = if leads { &all } else { &[] };
                Command::SyncGroup(SyncGroup {
                    instance_id: client.instance,
                    ..sync(joined, told)
                })
            }
            (Some(joined), true) => Command::Heartbeat(Heartbeat {
                member_id: client.id,
                instance_id: client.instance,
                generation: joined.generation,
            }),
        };
        self.send(i, command);
    }

    fn leave(&mut self, i: usize) {
        let client = self.clients[i].clone();
        let members = vec![LeavingMember {
            member_id: client.id,
            instance_id: client.instance,
            reason: None,
        }];
        let id = self.d.send(Command::LeaveGroup(LeaveGroup { members }));
        self.open.insert(id);
        self.clients[i] = self.fresh(i);
    }

    fn read_answers(&mut self) {
        for (id, reply) in std::mem::take(&mut self.d.replies) {
            assert!(self.open.remove(&id), "nobody asked {id}");
            if let Some(i) = self.clients.iter().position(|c| c.waits_for == Some(id)) {
                self.clients[i].waits_for = None;
                self.read_answer(i, reply);
            }
        }
    }

    fn read_answer(&mut self, i: usize, reply: Reply) {
        let client = &mut self.clients[i];
        let error = match reply {
            Reply::JoinGroup(reply) => {
                if matches!(reply.error, None | Some(GroupError::MemberIdRequired)) {
                    client.id = reply.member_id.clone();
                }
                if reply.error.is_none() {
                    client.synced = false;
                    client.joined = Some(reply.clone());
                }
                reply.error
            }
            Reply::SyncGroup(reply) => {
                client.synced = reply.error.is_none();
                if reply.error.is_none() {
                    let generation = client.joined.as_ref().unwrap().generation;
                    let what = String::from_utf8(reply.assignment.to_vec()).unwrap();
                    let key = (generation, what);
                    let name = client.instance.clone().unwrap_or_else(|| client.id.clone());
                    let owners = self.seen.by_generation.entry(key.clone()).or_default();
                    owners.insert(name);
                    assert!(
                        key.1.is_empty() || owners.len() == 1,
                        "{key:?} has the owners {owners:?}"
                    );
                }
                reply.error
            }
            Reply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        };
        match error {
            None | Some(GroupError::MemberIdRequired) => {}
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                self.clients[i] = self.fresh(i)
            }
            Some(_) => {
                self.clients[i].joined = None;
                self.clients[i].synced = false;
            }
        }
    }

    /// No faults any more: everybody acts, everything is stored.
    fn calm_down(&mut self) {
        self.d.store();
        self.d.stores_at_once = true;
        for _ in 0..120 {
            for i in 0..self.clients.len() {
                self.act(i);
                self.read_answers();
            }
            self.d.pass_ms(2_000);
            self.read_answers();
        }
    }
}

proptest! {
    #[test]
    fn a_classic_group_has_one_owner_for_everything_answers_everybody_and_settles(
        steps in prop::collection::vec(any_step(), 1..120), seed in any::<u64>(),
    ) {
        let mut world = ClassicWorld::new(seed);
        steps.iter().for_each(|step| world.step(step));
        world.calm_down();
        prop_assert!(world.open.is_empty(), "unanswered: {:?}", world.open);
        prop_assert_eq!(world.d.state(), Some("Stable"));
        let generations: BTreeSet<i32> =
            world.clients.iter().map(|c| c.joined.as_ref().map_or(-1, |j| j.generation)).collect();
        prop_assert!(world.clients.iter().all(|c| c.synced) && generations.len() == 1, "{:?}", world.clients);
        // And now a take-over: everybody goes on as if nothing had been.
        world.take_over();
        for i in 0..world.clients.len() {
            world.act(i);
            world.read_answers();
            prop_assert!(world.clients[i].synced, "a needless rebalance for {:?}", world.clients[i]);
        }
        prop_assert_eq!(world.d.state(), Some("Stable"));
    }
}

/// A client of KIP-848: it reports what it owns, and gives up or takes what it is told to at its next heartbeat.
#[derive(Clone, Debug, Default)]
struct NewClient {
    id: String,
    instance: Option<String>,
    epoch: i32,
    owned: TopicPartitions,
    waits_for: Option<RequestId>,
    lives: bool,
    regex: bool,
}

struct NewWorld {
    d: Driver,
    clients: Vec<NewClient>,
    lives: usize,
    partitions: PartitionIndex,
    open: BTreeSet<RequestId>,
}

impl NewWorld {
    fn new(seed: u64) -> Self {
        let mut d = Driver::seeded(settings(), seed);
        d.set_topics(&[("t", 3), ("u", 2)]);
        d.stores_at_once = false;
        let clients = (0..5).map(|i| NewClient {
            id: format!("m{i}"),
            regex: i == 1,
            ..NewClient::default()
        });
        let mut clients: Vec<NewClient> = clients.collect();
        clients[0].instance = Some("static".into());
        NewWorld {
            d,
            clients,
            lives: 0,
            partitions: 3,
            open: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Act(i) => self.act(*i),
            Step::Crash(i) => self.restart(*i),
            Step::Leave(i) => self.leave(*i),
            Step::PassMs(ms) => self.d.pass_ms(*ms),
            Step::Store => self.d.store(),
            Step::TakeOver => self.take_over(),
            Step::Grow(n) => {
                self.partitions = self.partitions.max(*n);
                self.d.set_topics(&[("t", self.partitions), ("u", 2)]);
            }
        }
        self.read_answers();
    }

    /// A new process: a new member id; what it owned it owns no more.
    fn restart(&mut self, i: usize) {
        self.lives += 1;
        let client = &mut self.clients[i];
        *client = NewClient {
            id: format!("m{i}-{}", self.lives),
            instance: client.instance.clone(),
            regex: client.regex,
            ..NewClient::default()
        };
    }

    fn leave(&mut self, i: usize) {
        let client = self.clients[i].clone();
        if client.lives {
            let epoch = if client.instance.is_some() { -2 } else { -1 };
            let beat = ConsumerGroupHeartbeat {
                instance_id: client.instance,
                ..beating(&client.id, epoch, None)
            };
            let id = self.d.send(Command::ConsumerGroupHeartbeat(beat));
            self.open.insert(id);
        }
        self.restart(i);
    }

    fn take_over(&mut self) {
        self.d.take_over();
        self.open.clear();
        self.d.replies.clear();
        for client in &mut self.clients {
            client.waits_for = None;
        }
    }

    fn act(&mut self, i: usize) {
        let client = self.clients[i].clone();
        if client.waits_for.is_some() {
            return;
        }
        let beat = match (client.lives, client.regex) {
            (true, _) => beating(&client.id, client.epoch, Some(client.owned)),
            (false, false) => joining(&client.id, &["t", "u"]),
            (false, true) => ConsumerGroupHeartbeat {
                subscribed_topic_names: None,
                subscribed_topic_regex: Some("[tu]".into()),
                ..joining(&client.id, &[])
            },
        };
        let beat = ConsumerGroupHeartbeat {
            instance_id: client.instance,
            ..beat
        };
        let id = self.d.send(Command::ConsumerGroupHeartbeat(beat));
        self.open.insert(id);
        self.clients[i].waits_for = Some(id);
    }

    fn read_answers(&mut self) {
        for (id, reply) in std::mem::take(&mut self.d.replies) {
            assert!(self.open.remove(&id), "nobody asked {id}");
            let Reply::ConsumerGroupHeartbeat(reply) = reply else {
                panic!("{reply:?}")
            };
            if let Some(i) = self.clients.iter().position(|c| c.waits_for == Some(id)) {
                self.clients[i].waits_for = None;
                self.read_answer(i, reply);
            }
        }
    }

    fn read_answer(&mut self, i: usize, reply: Result<HeartbeatReply, Refusal>) {
        match reply {
            Ok(reply) => {
                let client = &mut self.clients[i];
                client.lives = true;
                assert!(reply.member_epoch >= client.epoch, "epochs only grow");
                client.epoch = reply.member_epoch;
                if let Some(assignment) = reply.assignment {
                    client.owned = assignment;
                }
                self.check_owners();
            }
            Err(Refusal {
                code: GroupError::UnreleasedInstanceId,
                ..
            }) => {}
            Err(_) => self.restart(i),
        }
    }

    /// A member that is fenced learns it late, as in any lease; but the members that the group knows never share.
    fn check_owners(&mut self) {
        let known: BTreeSet<&String> = self.d.stored.members.keys().collect();
        let mut owners: BTreeMap<(TopicId, PartitionIndex), &str> = BTreeMap::new();
        for client in self
            .clients
            .iter()
            .filter(|c| c.lives && known.contains(&c.id))
        {
            for key in flat(&client.owned) {
                let other = owners.insert(key, &client.id);
                assert!(
                    other.is_none(),
                    "{key:?} belongs to {other:?} and {}",
                    client.id
                );
            }
        }
    }

    fn calm_down(&mut self) {
        self.d.store();
        self.d.stores_at_once = true;
        for _ in 0..100 {
            for i in 0..self.clients.len() {
                self.act(i);
                self.read_answers();
            }
            self.d.pass_ms(2_000);
            self.read_answers();
        }
    }
}

proptest! {
    #[test]
    fn a_group_of_the_new_protocol_has_one_owner_for_each_partition_answers_everybody_and_settles(
        steps in prop::collection::vec(any_step(), 1..120), seed in any::<u64>(),
    ) {
        let mut world = NewWorld::new(seed);
        steps.iter().for_each(|step| world.step(step));
        world.calm_down();
        prop_assert!(world.open.is_empty(), "unanswered: {:?}", world.open);
        prop_assert_eq!(world.d.state(), Some("Stable"));
        let owned: usize = world.clients.iter().map(|c| flat(&c.owned).len()).sum();
        prop_assert_eq!(owned as i32, world.partitions + 2, "{:?}", world.clients);
        // A take-over moves nothing, bumps nothing, writes nothing.
        let persists = world.d.persists;
        let before: Vec<_> = world.clients.iter().map(|c| (c.epoch, c.owned.clone())).collect();
        world.take_over();
        for i in 0..world.clients.len() {
            world.act(i);
            world.read_answers();
        }
        let after: Vec<_> = world.clients.iter().map(|c| (c.epoch, c.owned.clone())).collect();
        prop_assert_eq!((before, persists), (after, world.d.persists));
    }
}
