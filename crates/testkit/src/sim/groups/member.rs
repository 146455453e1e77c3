//! A member of a group: it comes, owns, commits, and goes, again and again.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sh_client::Connection;
use tokio::time::{Instant, sleep};

use super::{GroupPlan, Protocol, classic::Classic, consumer::Consumer, name_of, requests};
use crate::{
    sim::{
        transactions::{connect_to_coordinator, fetch_offset},
        world::World,
    },
    torture::chance::Chance,
};

/// The longest pause between two heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(1_500);

/// Why a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It asks again, at whoever coordinates the group now.
    Connection,
    /// It is not, or may not be, a member any more: it comes again as another.
    Membership,
}

pub struct Member {
    world: Arc<World>,
    group: usize,
    name: String,
    plan: GroupPlan,
    protocol: Protocol,
    chance: Chance,
    /// How often it came.
    lives: u32,
    /// What it owns, and what it commits next there; `None`: it has not asked yet where it is.
    owned: BTreeMap<i32, Option<i64>>,
    /// Who it is, and who it was in the generation before.
    who: Option<requests::Identity>,
    past: Option<requests::Identity>,
    connection: Option<Connection>,
}

/// A protocol, as the member's loop sees it.
pub enum Speaker {
    Classic(Classic),
    Consumer(Consumer),
}

impl Member {
    pub fn new(world: &Arc<World>, group: usize, number: usize) -> Member {
        let plan = world.plan.groups[group].clone();
        Member {
            world: world.clone(),
            group,
            name: format!("member {group}.{number}"),
            protocol: plan.members[number],
            plan,
            chance: world.chance(11, group as u64 * 1000 + number as u64),
            lives: 0,
            owned: BTreeMap::new(),
            who: None,
            past: None,
            connection: None,
        }
    }

    /// Is a member for ever.
    pub async fn run(mut self) {
        loop {
            sleep(self.chance.millis(0, 500)).await;
            self.lives += 1;
            self.owned.clear();
            (self.who, self.past) = (None, None);
            let mut speaker = self.speaker();
            self.world
                .note(|| format!("{} comes, life {}", self.name, self.lives));
            self.live(&mut speaker).await;
            if let Some(who) = self.who.take().filter(|_| self.plan.has_both_protocols()) {
                self.world.groups.lock().forget(self.group, &who.member);
            }
        }
    }

    fn speaker(&self) -> Speaker {
        let group = name_of(self.group);
        match self.protocol {
            Protocol::Classic => Speaker::Classic(Classic::new(group)),
            Protocol::Consumer => {
                let id = format!("{}-{}", self.name.replace(' ', "-"), self.lives);
                Speaker::Consumer(Consumer::new(group, id))
            }
        }
    }

    async fn live(&mut self, speaker: &mut Speaker) {
        loop {
            match self.round(speaker).await {
                Ok(()) => {}
                Err(Lost::Connection) => {
                    self.connection = None;
                    sleep(self.chance.millis(20, 300)).await;
                }
                Err(Lost::Membership) => return,
            }
            if self.chance.below(100) < self.plan.goes && !self.world.is_calm() {
                self.go(speaker).await;
                return;
            }
        }
    }

    /// Half of the time it says so.
    async fn go(&mut self, speaker: &Speaker) {
        let says = self.chance.below(2) == 0;
        self.world
            .note(|| format!("{} goes, says so: {says}", self.name));
        if says && let Some(connection) = &self.connection {
            match speaker {
                Speaker::Classic(classic) => classic.leave(connection).await,
                Speaker::Consumer(consumer) => consumer.leave(connection).await,
            }
        }
    }

    async fn open(&mut self) -> Connection {
        match self.connection.take().filter(|c| !c.is_closed()) {
            Some(open) => open,
            None => {
                let (world, name) = (self.world.clone(), self.name.clone());
                let group = name_of(self.group);
                connect_to_coordinator(&world, &mut self.chance, &name, &group, requests::PATIENCE)
                    .await
            }
        }
    }

    /// A heartbeat, and commits until the next.
    async fn round(&mut self, speaker: &mut Speaker) -> Result<(), Lost> {
        let connection = self.open().await;
        let outcome = self.round_on(&connection, speaker).await;
        self.connection = Some(connection);
        outcome
    }

    async fn round_on(
        &mut self,
        connection: &Connection,
        speaker: &mut Speaker,
    ) -> Result<(), Lost> {
        let world = self.world.clone();
        let owned = match speaker {
            Speaker::Classic(classic) => {
                // All is given back before it joins again.
                if classic.must_join() {
                    self.owned.clear();
                }
                classic.beat(connection, &world, &mut self.chance).await
            }
            Speaker::Consumer(consumer) => consumer.beat(connection, &self.owned()).await,
        };
        let (who, owned) = match owned {
            Ok(told) => told,
            Err((lost, code)) => {
                world.note(|| format!("{}: {code:?} {lost:?}", self.name));
                return Err(lost);
            }
        };
        self.take(&who, &owned);
        let until = Instant::now() + self.chance.millis(200, HEARTBEAT_EVERY.as_millis() as u64);
        while Instant::now() < until {
            if self.chance.below(10) == 0 {
                self.haunt(connection).await;
            }
            self.commit(connection, &who).await?;
            sleep(self.chance.millis(10, self.plan.pace_ms * 2)).await;
        }
        Ok(())
    }

    fn owned(&self) -> BTreeSet<i32> {
        self.owned.keys().copied().collect()
    }

    fn take(&mut self, who: &requests::Identity, owned: &BTreeSet<i32>) {
        let mut groups = self.world.groups.lock();
        for partition in owned {
            let place = (self.group, *partition);
            groups.own(place, who.generation, &who.member);
        }
        drop(groups);
        let before = self.who.replace(who.clone());
        let older = before.filter(|b| b.member == who.member && b.generation != who.generation);
        self.past = older.or(self.past.take());
        if self.owned() == *owned {
            return;
        }
        self.world.note(|| {
            let Self { name, .. } = self;
            format!(
                "{name} owns {owned:?} in {} as {}",
                who.generation, who.member
            )
        });
        let counts = &mut self.world.groups.lock().counts;
        match self.protocol {
            Protocol::Classic => counts.classic += 1,
            Protocol::Consumer => counts.consumer += 1,
        }
        self.owned.retain(|partition, _| owned.contains(partition));
        for partition in owned {
            self.owned.entry(*partition).or_default();
        }
    }

    /// Commits as who it was: a request of the past that nobody may heed. In groups of the classic protocol alone: KIP-1251 lets
    /// other members commit as of an older epoch what they own since then.
    async fn haunt(&mut self, connection: &Connection) {
        let classic = self.plan.members.iter().all(|p| *p == Protocol::Classic);
        let Some(past) = self.past.as_ref().filter(|_| classic) else {
            return;
        };
        let partition = self.chance.below(self.world.plan.partitions as usize) as i32;
        let answer = connection
            .call(&requests::commit(past, partition, 0), 9)
            .await;
        let code = answer.ok().and_then(|answer| {
            let topic = answer.topics.first()?;
            Some(topic.partitions.first()?.error_code)
        });
        self.world.note(|| {
            let Self { name, .. } = self;
            format!(
                "{name} commits as of generation {}: {code:?}",
                past.generation
            )
        });
        let mut groups = self.world.groups.lock();
        match code {
            Some(0) => groups.heeded((self.group, partition), past.generation),
            Some(_) => groups.counts.refused += 1,
            None => {}
        }
    }

    /// Commits the next offset of one of its partitions.
    async fn commit(
        &mut self,
        connection: &Connection,
        who: &requests::Identity,
    ) -> Result<(), Lost> {
        if self.owned.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.owned.len());
        let (partition, next) = self
            .owned
            .iter()
            .nth(at)
            .map_or((0, None), |(p, n)| (*p, *n));
        let place = (self.group, partition);
        let next = match next {
            Some(next) => next,
            None => {
                let least = self.world.groups.lock().least(place);
                let told = fetch_offset(connection, &who.group, partition).await;
                let told = told.map_err(|()| Lost::Connection)?;
                self.world.groups.lock().told(place, least, told);
                told + 1
            }
        };
        let request = requests::commit(who, partition, next);
        let answer = connection.call(&request, 9).await;
        let code = answer.ok().and_then(|answer| {
            let topic = answer.topics.first()?;
            Some(topic.partitions.first()?.error_code)
        });
        self.world
            .note(|| format!("{} commits {next} of {partition}: {code:?}", self.name));
        let mut groups = self.world.groups.lock();
        match code {
            Some(0) => {
                groups.committed(place, next, self.world.is_calm());
                self.owned.insert(partition, Some(next + 1));
                Ok(())
            }
            // The coordinator's three, and REQUEST_TIMED_OUT: it may come later. A member that went on could be overtaken by
            // its own commit, so this one comes again as another.
            None | Some(7 | 14 | 15 | 16) => Err(Lost::Membership),
            // ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, STALE_MEMBER_EPOCH: the next heartbeat tells.
            Some(22 | 27 | 113) => {
                groups.counts.refused += 1;
                Ok(())
            }
            Some(_) => {
                groups.counts.refused += 1;
                Err(Lost::Membership)
            }
        }
    }
}
