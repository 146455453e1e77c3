//! One group, its members, its store, and the rules.
use std::collections::{BTreeMap, BTreeSet};

use sh_base::PartitionIndex;
use sh_coord::{
    command::*,
    reply::*,
    row::{GroupRow, MemberRow},
    *,
};

use super::{
    CLIENTS, Mix, Step,
    client::{Client, Partition, Speaks, read},
};
use crate::driver::*;

type Verdict = Result<(), String>;

/// A commit that was not answered yet.
struct Commit {
    partition: PartitionIndex,
    offset: i64,
}

pub struct World {
    d: Driver,
    clients: Vec<Client>,
    partitions_of_t: PartitionIndex,
    new_topic: bool,
    /// Requests that were not answered yet.
    open: BTreeSet<RequestId>,
    commits: BTreeMap<RequestId, Commit>,
    /// The newest offset of each partition of `t` that a commit was answered for.
    acked: BTreeMap<PartitionIndex, i64>,
    commits_made: i64,
    /// The newest generation or epoch that anybody was told of, since the group had no members.
    newest: i32,
    /// The same as it was at the last take-over, and the generation that was complete then.
    taken_over: (i32, i32),
}

impl World {
    pub fn new(seed: u64, mix: Mix) -> World {
        let settings = GroupSettings {
            initial_rebalance_delay_ms: 100,
            ..GroupSettings::default()
        };
        let mut d = Driver::seeded(settings, seed);
        d.set_topics(&[("t", 3), ("u", 2)]);
        d.stores_at_once = false;
        let speaks = |place: usize| match mix {
            Mix::Classic => Speaks::Classic,
            Mix::New => Speaks::New,
            Mix::Both if (seed >> place) & 1 == 0 => Speaks::Classic,
            Mix::Both => Speaks::New,
        };
        World {
            d,
            clients: (0..CLIENTS).map(|i| Client::new(i, speaks(i))).collect(),
            partitions_of_t: 3,
            new_topic: false,
            open: BTreeSet::new(),
            commits: BTreeMap::new(),
            acked: BTreeMap::new(),
            commits_made: 0,
            newest: 0,
            taken_over: (0, 0),
        }
    }

    pub fn step(&mut self, step: Step) -> Verdict {
        match step {
            Step::Act(i) => self.act(i),
            Step::Crash(i) => self.clients[i].restart(i),
            Step::Leave(i) => self.leave(i),
            Step::Switch(i) => self.switch(i),
            Step::Commit(i) => self.commit(i),
            Step::PassMs(ms) => self.d.pass_ms(ms),
            Step::Store => self.d.store(),
            Step::TakeOver => self.take_over(),
            Step::Grow(n) => {
                self.partitions_of_t = self.partitions_of_t.max(n);
                self.set_topics();
            }
            Step::NewTopic => {
                self.new_topic = true;
                self.set_topics();
            }
        }
        self.look()
    }

    fn set_topics(&mut self) {
        let mut topics = vec![("t", self.partitions_of_t), ("u", 2)];
        topics.extend(self.new_topic.then_some(("ux", 2)));
        self.d.set_topics(&topics);
    }

    fn send(&mut self, command: Command) -> RequestId {
        let id = self.d.send(command);
        self.open.insert(id);
        id
    }

    fn act(&mut self, i: usize) {
        if self.clients[i].waits_for.is_none() {
            let command = self.clients[i].next(self.partitions_of_t);
            let id = self.send(command);
            self.clients[i].waits_for = Some(id);
        }
    }

    fn leave(&mut self, i: usize) {
        if let Some(goodbye) = self.clients[i].goodbye() {
            self.send(goodbye);
        }
        self.clients[i].restart(i);
    }

    fn switch(&mut self, i: usize) {
        if let Some(goodbye) = self.clients[i].goodbye() {
            self.send(goodbye);
        }
        let client = &mut self.clients[i];
        client.speaks = match client.speaks {
            Speaks::Classic => Speaks::New,
            Speaks::New => Speaks::Classic,
        };
        client.restart(i);
    }

    fn commit(&mut self, i: usize) {
        let client = &self.clients[i];
        let of_t = client
            .owned
            .iter()
            .find(|(topic, _)| *topic == topic_id("t"));
        let (Some((_, partition)), true, Some(epoch)) = (of_t, client.is_in(), client.epoch) else {
            return;
        };
        let partition = *partition;
        self.commits_made += 1;
        let offset = self.commits_made;
        let command = OffsetCommit {
            instance_id: client.instance.clone(),
            ..at_partition(commit(&client.id, epoch, offset), partition)
        };
        let id = self.send(Command::OffsetCommit(command));
        self.commits.insert(id, Commit { partition, offset });
    }

    /// What a coordinator had been asked when it lost the group is lost with it: the connections are gone.
    fn take_over(&mut self) {
        let completed = match &self.d.stored.group {
            Some(GroupRow::Classic(row)) => row.generation,
            _ => 0,
        };
        // The group is again what it was at its last completed rebalance.
        self.taken_over = (self.newest.max(self.taken_over.0), completed);
        self.newest = completed;
        self.d.take_over();
        self.open.clear();
        self.commits.clear();
        self.d.replies.clear();
        for client in &mut self.clients {
            client.waits_for = None;
        }
    }

    /// Everybody reads what was answered; then the rules are looked at.
    fn look(&mut self) -> Verdict {
        for id in std::mem::take(&mut self.d.answered) {
            // What was answered before a take-over is not heard of any more.
            let Some(reply) = self.d.replies.remove(&id) else {
                continue;
            };
            if !self.open.remove(&id) {
                return Err(format!("nobody asked {id}"));
            }
            if let Some(commit) = self.commits.remove(&id) {
                self.read_commit(commit, reply);
            } else if let Some(i) = self.clients.iter().position(|c| c.waits_for == Some(id)) {
                self.clients[i].waits_for = None;
                self.read_answer(i, reply)?;
            }
        }
        if self.d.stored.members.is_empty() {
            (self.newest, self.taken_over) = (0, (0, 0));
        }
        self.check_owners()?;
        self.check_offsets()
    }

    fn read_commit(&mut self, commit: Commit, reply: Reply) {
        let Reply::OffsetCommit(reply) = reply else {
            panic!("{reply:?}")
        };
        let stored = reply.topics.iter().flat_map(|(_, codes)| codes);
        if stored.clone().count() == 1 && stored.into_iter().all(|(_, code)| code.is_none()) {
            let acked = self.acked.entry(commit.partition).or_default();
            *acked = commit.offset.max(*acked);
        }
    }

    fn read_answer(&mut self, i: usize, reply: Reply) -> Verdict {
        match reply {
            Reply::ConsumerGroupHeartbeat(reply) => self.read_heartbeat(i, reply),
            Reply::JoinGroup(reply) => self.read_join(i, reply),
            Reply::SyncGroup(reply) => {
                let client = &mut self.clients[i];
                client.synced = reply.error.is_none();
                if client.synced {
                    client.owned = read(reply.assignment);
                    self.check_generation(i)?;
                }
                self.read_code(i, reply.error);
                Ok(())
            }
            Reply::Heartbeat(error) => {
                self.read_code(i, error);
                Ok(())
            }
            other => Err(format!("not what was asked: {other:?}")),
        }
    }

    fn read_heartbeat(&mut self, i: usize, reply: Result<HeartbeatReply, Refusal>) -> Verdict {
        match reply {
            Ok(reply) => {
                self.told(i, reply.member_epoch)?;
                let client = &mut self.clients[i];
                if let Some(assignment) = reply.assignment {
                    client.assigned = flat(&assignment);
                    client.owned.extend(&client.assigned);
                }
            }
            Err(refusal) if refusal.code == GroupError::UnreleasedInstanceId => {}
            Err(_) => self.clients[i].restart(i),
        }
        Ok(())
    }

    fn read_join(&mut self, i: usize, reply: JoinReply) -> Verdict {
        if matches!(reply.error, None | Some(GroupError::MemberIdRequired)) {
            self.clients[i].id = reply.member_id.clone();
        }
        let error = reply.error;
        if error.is_none() {
            self.told(i, reply.generation)?;
            let client = &mut self.clients[i];
            (client.joined, client.synced) = (Some(reply), false);
        }
        self.read_code(i, error);
        Ok(())
    }

    fn read_code(&mut self, i: usize, error: Option<GroupError>) {
        match error {
            None | Some(GroupError::MemberIdRequired) => {}
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                self.clients[i].restart(i);
            }
            Some(_) => self.clients[i].let_go(),
        }
    }

    /// **Generations and epochs only grow**: for each member, and for all that are told of them while the group has members.
    fn told(&mut self, i: usize, epoch: i32) -> Verdict {
        let client = &mut self.clients[i];
        if client.epoch.is_some_and(|before| epoch < before) {
            return Err(format!("{client:?} is told of epoch {epoch}"));
        }
        if client.speaks == Speaks::Classic && self.d.group_type() == Some("classic") {
            let (told, completed) = self.taken_over;
            if epoch <= told && epoch != completed {
                return Err(format!(
                    "generation {epoch} was given by a former coordinator"
                ));
            }
            if epoch < self.newest {
                return Err(format!("generation {epoch} comes after {}", self.newest));
            }
            self.newest = epoch;
        }
        client.enter(epoch);
        Ok(())
    }

    /// **A partition has one owner** among the members that the group knows, in the epoch that it knows them in.
    fn check_owners(&self) -> Verdict {
        let mut owners: BTreeMap<Partition, &str> = BTreeMap::new();
        for client in self.clients.iter().filter(|c| self.counts(c)) {
            for at in &client.owned {
                if let Some(other) = owners.insert(*at, &client.id) {
                    return Err(format!("{at:?} belongs to {other} and {}", client.id));
                }
            }
        }
        Ok(())
    }

    /// **What a member is assigned is of the generation that it is in.**
    fn check_generation(&self, i: usize) -> Verdict {
        let client = &self.clients[i];
        match &self.d.stored.group {
            Some(GroupRow::Classic(group)) if client.epoch != Some(group.generation) => Err(
                format!("an assignment of {} for {client:?}", group.generation),
            ),
            _ => Ok(()),
        }
    }

    /// **The former lives of a static member are told that they are fenced**: else they would join again, and again.
    fn check_former_lives(&mut self) -> Verdict {
        let client = self.clients[0].clone();
        let classic = self.d.group_type() == Some("classic") && client.speaks == Speaks::Classic;
        let former = client.past.into_iter().filter(|(id, _)| *id != client.id);
        for (member_id, generation) in former.filter(|_| classic) {
            let beat = Heartbeat {
                member_id,
                instance_id: client.instance.clone(),
                generation,
            };
            let answer = self.d.call(Command::Heartbeat(beat));
            if answer != Reply::Heartbeat(Some(GroupError::FencedInstanceId)) {
                return Err(format!("a former life is told {answer:?}"));
            }
        }
        Ok(())
    }

    /// A member that was put out learns it late, as with any lease; but those that the group knows never share.
    fn counts(&self, client: &Client) -> bool {
        let (Some(epoch), Some(row)) = (client.epoch, self.d.stored.members.get(&client.id)) else {
            return false;
        };
        match (client.speaks, row, &self.d.stored.group) {
            (Speaks::New, MemberRow::Consumer(_), _) => true,
            (Speaks::Classic, MemberRow::Consumer(row), _) => row.epoch == epoch,
            (Speaks::Classic, MemberRow::Classic(_), Some(GroupRow::Classic(group))) => {
                group.generation == epoch
            }
            _ => false,
        }
    }

    /// **What was answered as committed is stored**, and nothing older comes after it.
    fn check_offsets(&self) -> Verdict {
        for (partition, acked) in &self.acked {
            let stored = self.d.offsets.get(&("t".to_owned(), *partition));
            if stored.is_none_or(|row| row.offset < *acked) {
                return Err(format!(
                    "{acked} was committed for {partition}, but {stored:?} is stored"
                ));
            }
        }
        Ok(())
    }

    /// No faults any more: everybody acts, everything is stored, all is shared and stays so.
    pub fn epilogue(&mut self) -> Verdict {
        self.d.stores_at_once = true;
        self.d.store();
        self.calm_down()?;
        self.check_settled()?;
        self.check_old_commits()?;
        self.check_former_lives()?;
        self.check_take_over()?;
        self.check_store_away()?;
        self.check_change_while_away()
    }

    fn calm_down(&mut self) -> Verdict {
        let mut settled = 0;
        for _ in 0..120 {
            for i in 0..CLIENTS {
                self.act(i);
                self.look()?;
            }
            self.d.pass_ms(2_000);
            self.look()?;
            settled = if self.check_settled().is_ok() {
                settled + 1
            } else {
                0
            };
            if settled > 10 {
                break;
            }
        }
        Ok(())
    }

    /// **Progress**: every request was answered, and every partition that somebody wants has an owner.
    fn check_settled(&self) -> Verdict {
        if !self.open.is_empty() {
            return Err(format!("unanswered: {:?}", self.open));
        }
        if self.d.state() != Some("Stable") {
            return Err(format!("{:?} when all is calm", self.d.state()));
        }
        let by_pattern = |c: &Client| c.by_pattern && c.speaks == Speaks::New;
        let mut wanted = self.partitions_of_t + 2;
        if self.new_topic && self.clients.iter().any(by_pattern) {
            wanted += 2;
        }
        let owned: usize = self.clients.iter().map(|c| c.owned.len()).sum();
        if owned as i32 != wanted {
            return Err(format!(
                "{owned} of {wanted} have an owner: {:?}",
                self.clients
            ));
        }
        Ok(())
    }

    /// **Commits of old generations are refused**, but for partitions that the member has had since then (KIP-1251).
    fn check_old_commits(&mut self) -> Verdict {
        for i in 0..CLIENTS {
            let client = self.clients[i].clone();
            for (id, epoch) in client.past {
                let instance_id = client.instance.clone();
                let allowed = self.may_commit(&id, epoch);
                let before = self.d.offsets.clone();
                let reply = self.d.commit(OffsetCommit {
                    instance_id,
                    ..commit(&id, epoch, 0)
                });
                let refused = reply.topics.iter().any(|(_, codes)| codes[0].1.is_some());
                if refused == allowed {
                    return Err(format!(
                        "{id} in {epoch} commits: allowed {allowed}, {reply:?}"
                    ));
                }
                self.d.offsets = before;
            }
        }
        Ok(())
    }

    fn may_commit(&self, id: &str, epoch: i32) -> bool {
        match (self.d.stored.members.get(id), &self.d.stored.group) {
            (Some(MemberRow::Consumer(row)), _) => {
                let since = row.assigned.epoch_of(&topic_id("t"), 0);
                epoch == row.epoch || since.is_some_and(|since| epoch >= since && epoch < row.epoch)
            }
            (Some(MemberRow::Classic(_)), Some(GroupRow::Classic(group))) => {
                epoch == group.generation
            }
            _ => false,
        }
    }

    /// Who is in which epoch and owns what, and how often something was stored.
    fn fingerprint(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let each = self.clients.iter();
        let each = each.map(|c| (c.id.clone(), c.epoch, c.synced, c.owned.clone()));
        each.collect::<Vec<_>>()
    }

    /// **A take-over moves nothing, bumps nothing, writes nothing.**
    fn check_take_over(&mut self) -> Verdict {
        let before = (self.fingerprint(), self.d.persists);
        self.take_over();
        for _ in 0..2 {
            for i in 0..CLIENTS {
                self.act(i);
                self.look()?;
            }
            self.d.pass_ms(2_000);
        }
        let after = (self.fingerprint(), self.d.persists);
        match before == after {
            true => Ok(()),
            false => Err(format!("a needless rebalance: {before:?}, then {after:?}")),
        }
    }

    /// **Heartbeats do not wait for commits**: a group at rest lives on while the store is away.
    fn check_store_away(&mut self) -> Verdict {
        let before = self.fingerprint();
        self.d.stores_at_once = false;
        (0..CLIENTS).for_each(|i| self.commit(i));
        for _ in 0..30 {
            self.d.pass_ms(2_000);
            for i in 0..CLIENTS {
                self.act(i);
                self.look()?;
                if self.clients[i].waits_for.is_some() {
                    return Err(format!(
                        "a heartbeat waits for a commit: {:?}",
                        self.clients[i]
                    ));
                }
            }
        }
        self.d.stores_at_once = true;
        self.d.store();
        self.look()?;
        match before == self.fingerprint() {
            true => Ok(()),
            false => Err("the group has changed while the store was away".to_owned()),
        }
    }

    /// **Nobody is put out for silence while the answers that it waits for are held back.**
    fn check_change_while_away(&mut self) -> Verdict {
        self.d.stores_at_once = false;
        self.leave(1);
        for _ in 0..4 {
            for i in 0..CLIENTS {
                self.act(i);
                self.look()?;
            }
        }
        let waiting = |c: &Client| c.waits_for.is_some() && !c.id.is_empty();
        let kept: Vec<usize> = (0..CLIENTS)
            .filter(|i| *i != 1 && waiting(&self.clients[*i]))
            .collect();
        let ids = |world: &World| Vec::from_iter(kept.iter().map(|i| world.clients[*i].id.clone()));
        let (before, held) = (ids(self), self.d.outgoing.is_some());
        if !held {
            return Ok(());
        }
        self.d.pass_ms(600_000);
        self.d.stores_at_once = true;
        self.d.store();
        self.look()?;
        self.calm_down()?;
        match before == ids(self) {
            true => self.check_settled(),
            false => Err(format!(
                "put out while they waited: {before:?}, now {:?}",
                ids(self)
            )),
        }
    }
}

fn at_partition(mut commit: OffsetCommit, partition: PartitionIndex) -> OffsetCommit {
    commit.topics[0].partitions[0].partition = partition;
    commit
}
