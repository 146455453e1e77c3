//! Listing groups.
use std::collections::BTreeMap;

use sh_base::Org;
use sh_coord::{Group, GroupError, Snapshot, reply::Listing};
use sh_meta::{Key, KeyRange};

use super::{
    CoordinatorKind,
    committed::{away, scan_all},
    load::{add_members, add_row, now},
    row::GroupKey,
    staged::resolve,
};
use crate::{Caller, Node};

/// Which groups a listing shows; an empty list of states or types means all. Case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

impl GroupFilter {
    fn shows(&self, group: &Listing) -> bool {
        let among = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        among(&self.states, group.state.name()) && among(&self.types, group.group_type)
    }
}

impl Node {
    /// ListGroups: the groups of the caller's org that this agent coordinates, by id.
    pub async fn list_groups(
        &self,
        caller: &Caller,
        filter: &GroupFilter,
    ) -> Result<Vec<Listing>, GroupError> {
        let mut groups = self.coordinated(caller).await?;
        groups.retain(|group| filter.shows(group));
        Ok(groups)
    }
}

impl Node {
    async fn coordinated(&self, caller: &Caller) -> Result<Vec<Listing>, GroupError> {
        let cluster = self.cluster().await.map_err(|e| away(&e))?;
        let ours = |group: &str| {
            let agent = cluster.coordinator(&caller.org, CoordinatorKind::Group, group);
            agent.is_some_and(|agent| agent.id == self.agent())
        };
        let stored = self.stored_groups(&caller.org).await?;
        let stored = stored.into_iter().filter(|(id, _)| ours(id));
        let stored = stored.filter_map(|(id, rows)| self.listing_of(id, rows));
        // What is in memory is newer, and was asked for later.
        let running = self.groups().list(&caller.org).await;
        let all = stored
            .chain(running)
            .map(|group| (group.group_id.clone(), group));
        Ok(BTreeMap::from_iter(all).into_values().collect())
    }

    /// What every group of an org has stored, but for its offsets.
    async fn stored_groups(&self, org: &Org) -> Result<BTreeMap<String, Snapshot>, GroupError> {
        let mut groups: BTreeMap<String, Snapshot> = BTreeMap::new();
        for (key, row) in scan_all(&**self.store(), KeyRange::groups(org)).await? {
            if let Key::Group(_, group) = &key {
                add_row(groups.entry(group.clone()).or_default(), &key, &row)?;
            }
        }
        let mut members: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (key, row) in scan_all(&**self.store(), KeyRange::members_of_org(org)).await? {
            if let Key::GroupMember(_, group, _) = &key {
                members.entry(group.clone()).or_default().push((key, row));
            }
        }
        for (group, rows) in members {
            let resolved = resolve(&GroupKey::new(org, &group), rows);
            add_members(groups.entry(group).or_default(), resolved.rows)?;
        }
        Ok(groups)
    }

    /// What a group looks like that nobody has asked about since it was taken over.
    fn listing_of(&self, id: String, rows: Snapshot) -> Option<Listing> {
        let (settings, topics) = Default::default();
        let env = self.env();
        Group::restore(now(env), id, rows, settings, topics, env.rng.clone()).listing()
    }
}
