//! All groups and their members: who comes, who goes, and whether everybody found a place.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use sh_client::{Admin, Client, ErrorCode, OffsetSpec, Options, TopicPartition};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    SETTLE_MAX, SLOTS, TOPIC,
    member::{Ends, Life, Manner, Order},
};
use crate::torture::{chance::Chance, scene::PARTITIONS};

/// What is known of a group.
pub struct Group {
    pub name: String,
    /// Offsets that members were handed, as ranges by partition.
    pub handed: Mutex<BTreeMap<i32, Vec<(i64, i64)>>>,
    slots: Mutex<Vec<Option<Member>>>,
}

struct Member {
    order: watch::Sender<Order>,
    owned: Arc<Mutex<BTreeSet<TopicPartition>>>,
    task: JoinHandle<()>,
}

/// All groups and their members.
pub struct Crowd {
    pub bootstrap: String,
    groups: Vec<Arc<Group>>,
    chance: Chance,
    pub ends: Ends,
    /// Members on their way out.
    leaving: Vec<JoinHandle<()>>,
    pub joins: usize,
    pub leaves: usize,
    pub vanished: usize,
}

impl Crowd {
    pub fn new(bootstrap: &str, groups: usize, chance: Chance) -> Crowd {
        let group = |n| {
            Arc::new(Group {
                name: format!("{}-{n}", Manner::of(n, 0).name()),
                handed: Mutex::default(),
                slots: Mutex::new((0..SLOTS).map(|_| None).collect()),
            })
        };
        Crowd {
            bootstrap: bootstrap.to_owned(),
            groups: (0..groups).map(group).collect(),
            chance,
            ends: Ends::default(),
            leaving: Vec::new(),
            joins: 0,
            leaves: 0,
            vanished: 0,
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.groups.iter().map(|g| g.name.clone()).collect()
    }

    /// About one of ten members comes or goes.
    pub fn stir(&mut self) {
        for _ in 0..(self.groups.len() * SLOTS / 10).max(1) {
            let (group, slot) = (
                self.chance.below(self.groups.len()),
                self.chance.below(SLOTS),
            );
            let present = self.groups[group].slots.lock()[slot].take();
            match present {
                None => self.join(group, slot),
                Some(member) => {
                    let order = match self.chance.below(3) {
                        0 => Order::Vanish,
                        _ => Order::Leave,
                    };
                    match order {
                        Order::Vanish => self.vanished += 1,
                        _ => self.leaves += 1,
                    }
                    member.order.send_replace(order);
                    self.leaving.push(member.task);
                }
            }
        }
        self.leaving.retain(|task| !task.is_finished());
    }

    fn join(&mut self, group: usize, slot: usize) {
        let manner = Manner::of(group, slot);
        let (order, orders) = watch::channel(Order::Stay);
        let owned = Arc::<Mutex<BTreeSet<TopicPartition>>>::default();
        let life = Life {
            bootstrap: self.bootstrap.clone(),
            group: self.groups[group].clone(),
            manner,
            instance: manner.is_static.then(|| format!("instance-{slot}")),
            owned: owned.clone(),
            ends: self.ends.clone(),
            orders,
            chance: self.chance.fork(),
        };
        let task = tokio::spawn(life.run());
        self.groups[group].slots.lock()[slot] = Some(Member { order, owned, task });
        self.joins += 1;
    }

    /// Every group gets at least one member.
    pub fn fill(&mut self) {
        for group in 0..self.groups.len() {
            if self.groups[group].slots.lock().iter().all(Option::is_none) {
                self.join(group, 0);
            }
        }
    }

    fn admin(&self) -> Admin {
        Admin::new(Client::new(&self.bootstrap, Options::default()))
    }

    /// Waits until every group is stable and every partition has one owner, who knows it.
    pub async fn settle(&self) -> Result<Duration> {
        let admin = &self.admin();
        self.every(async |group| group.unsettled(admin).await).await
    }

    /// Waits until every group has committed the end of every partition.
    pub async fn catch_up(&self) -> Result<Duration> {
        let admin = &self.admin();
        let problem = async |group: &Group| {
            let behind = group.behind(admin).await?;
            Ok((!behind.is_empty()).then(|| format!("(partition, committed, end) {behind:?}")))
        };
        self.every(problem).await
    }

    /// Waits until no group has a problem any more.
    async fn every(
        &self,
        problem: impl AsyncFn(&Group) -> Result<Option<String>>,
    ) -> Result<Duration> {
        let since = Instant::now();
        let mut left: Vec<&Arc<Group>> = self.groups.iter().collect();
        loop {
            let mut stuck = Vec::new();
            for group in left {
                if let Some(problem) = problem(Arc::as_ref(group)).await? {
                    stuck.push((group, problem));
                }
            }
            if stuck.is_empty() {
                return Ok(since.elapsed());
            }
            if since.elapsed() > SETTLE_MAX {
                let shown = stuck
                    .iter()
                    .map(|(group, problem)| format!("\n{}: {problem}", group.name));
                bail!(
                    "{} groups are stuck after {SETTLE_MAX:?}; members began anew after {:?}:{}",
                    stuck.len(),
                    self.ends.lock(),
                    shown.collect::<String>()
                );
            }
            left = stuck.into_iter().map(|(group, _)| group).collect();
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Everybody leaves; answers what no member was handed.
    pub async fn disperse(&mut self) -> Result<Vec<(String, i32, i64, i64)>> {
        let mut skipped = Vec::new();
        for group in &self.groups {
            let members: Vec<Member> = group
                .slots
                .lock()
                .iter_mut()
                .filter_map(Option::take)
                .collect();
            for member in members {
                member.order.send_replace(Order::Leave);
                self.leaving.push(member.task);
            }
        }
        for task in self.leaving.drain(..) {
            task.await?;
        }
        let admin = self.admin();
        for group in &self.groups {
            let committed = admin.group_offsets(&group.name, None).await?;
            let handed = group.handed.lock();
            for ((_, partition), c) in committed {
                let ranges = handed.get(&partition).cloned().unwrap_or_default();
                let holes = holes(ranges, c.offset).into_iter();
                skipped.extend(holes.map(|(from, to)| (group.name.clone(), partition, from, to)));
            }
        }
        Ok(skipped)
    }
}

/// The parts of `0..end` that no range has. Ranges are half-open.
fn holes(mut ranges: Vec<(i64, i64)>, end: i64) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let (mut next, mut holes) = (0, Vec::new());
    for (from, to) in ranges {
        if from > next && next < end {
            holes.push((next, from.min(end)));
        }
        next = next.max(to);
    }
    if next < end {
        holes.push((next, end));
    }
    holes
}

impl Group {
    /// What is wrong with it, if something is.
    async fn unsettled(&self, admin: &Admin) -> Result<Option<String>> {
        let described = match admin.describe_group(&self.name).await {
            Ok(described) => described,
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
                return Ok(Some("it does not exist".into()));
            }
            Err(error) => return Err(error.into()),
        };
        let told = described
            .members
            .iter()
            .flat_map(|m| m.assignment.iter().cloned());
        let told: Vec<TopicPartition> = told.collect();
        let known: Vec<TopicPartition> = {
            let slots = self.slots.lock();
            let members = slots.iter().flatten();
            members.flat_map(|m| m.owned.lock().clone()).collect()
        };
        let all: Vec<TopicPartition> = (0..PARTITIONS).map(|p| (TOPIC.into(), p)).collect();
        let once = |mut places: Vec<TopicPartition>| {
            places.sort();
            places == all
        };
        let good = described.state == "Stable" && once(told) && once(known.clone());
        Ok(
            (!good)
                .then(|| format!("{described:#?}, and its members say that they have {known:?}")),
        )
    }

    /// Partitions of which it has not committed the end: (partition, committed, end).
    async fn behind(&self, admin: &Admin) -> Result<Vec<(i32, i64, i64)>> {
        let committed = admin.group_offsets(&self.name, None).await?;
        let mut behind = Vec::new();
        for partition in 0..PARTITIONS {
            let end = admin
                .list_offset(TOPIC, partition, OffsetSpec::Latest)
                .await?;
            let (end, _) = end.context("no end offset")?;
            let place: TopicPartition = (TOPIC.into(), partition);
            let at = committed.get(&place).map_or(0, |c| c.offset);
            if at < end {
                behind.push((partition, at, end));
            }
        }
        Ok(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::holes;

    #[test]
    fn what_no_range_has_is_a_hole() {
        assert_eq!(holes(vec![(3, 7), (0, 4)], 7), []);
        assert_eq!(holes(vec![(0, 2), (4, 9)], 7), [(2, 4)]);
        assert_eq!(holes(vec![(1, 2)], 4), [(0, 1), (2, 4)]);
        assert_eq!(holes(vec![], 0), []);
        assert_eq!(holes(vec![(5, 6)], 3), [(0, 3)]);
    }
}
