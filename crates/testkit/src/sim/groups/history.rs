//! What members of groups were given and told.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A broken promise about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupAnomaly {
    /// A partition had several owners in one generation, or member epoch.
    TwoOwners {
        group: usize,
        partition: i32,
        generation: i32,
        members: Vec<String>,
    },
    /// A committed offset moved back.
    CommittedWentBack {
        group: usize,
        partition: i32,
        least: i64,
        told: i64,
    },
    /// A member committed in a generation that it knew to be over.
    PastHeeded {
        group: usize,
        partition: i32,
        generation: i32,
    },
}

impl fmt::Display for GroupAnomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Assignments that members of each protocol were given.
    pub classic: usize,
    pub consumer: usize,
    /// Commits that were acknowledged, and refused to members of the past.
    pub commits: usize,
    pub refused: usize,
}

impl std::ops::AddAssign for GroupCounts {
    fn add_assign(&mut self, more: GroupCounts) {
        self.classic += more.classic;
        self.consumer += more.consumer;
        self.commits += more.commits;
        self.refused += more.refused;
    }
}

/// (group, partition)
type Place = (usize, i32);

#[derive(Clone, Debug, Default)]
pub struct Groups {
    owners: BTreeMap<(Place, i32), BTreeSet<String>>,
    least: BTreeMap<Place, i64>,
    bad: Vec<GroupAnomaly>,
    /// Where something was committed since the faults were over.
    fresh: BTreeSet<Place>,
    pub counts: GroupCounts,
}

impl Groups {
    /// A member was told that it owns the partition in this generation.
    pub fn own(&mut self, place: Place, generation: i32, member: &str) {
        let owners = self.owners.entry((place, generation)).or_default();
        if owners.insert(member.to_owned()) && owners.len() > 1 {
            let (group, partition) = place;
            self.bad.push(GroupAnomaly::TwoOwners {
                group,
                partition,
                generation,
                members: owners.iter().cloned().collect(),
            });
        }
    }

    /// A member is gone from a group that both protocols use. As with Kafka such a group counts its generations anew when it
    /// was empty and a member of the other protocol comes: they are those of others then.
    pub fn forget(&mut self, group: usize, member: &str) {
        let of_group = self
            .owners
            .iter_mut()
            .filter(|(((g, _), _), _)| *g == group);
        for (_, owners) in of_group {
            owners.remove(member);
        }
    }

    /// What is committed at least.
    pub fn least(&self, place: Place) -> i64 {
        self.least.get(&place).copied().unwrap_or(0)
    }

    /// A commit was acknowledged.
    pub fn committed(&mut self, place: Place, offset: i64, calm: bool) {
        self.counts.commits += 1;
        self.must_have(place, offset);
        if calm {
            self.fresh.insert(place);
        }
    }

    /// A commit of a generation that is over was acknowledged.
    pub fn heeded(&mut self, (group, partition): Place, generation: i32) {
        self.bad.push(GroupAnomaly::PastHeeded {
            group,
            partition,
            generation,
        });
    }

    fn must_have(&mut self, place: Place, offset: i64) {
        let least = self.least.entry(place).or_default();
        *least = offset.max(*least);
    }

    /// The offset was told to be this; when it was asked for, at least that was committed.
    pub fn told(&mut self, place: Place, least: i64, told: i64) {
        let (group, partition) = place;
        if told < least {
            self.bad.push(GroupAnomaly::CommittedWentBack {
                group,
                partition,
                least,
                told,
            });
        }
        self.must_have(place, told);
    }

    /// Has every partition of the group been committed since the faults were over?
    pub fn is_fresh(&self, group: usize, partitions: i32) -> bool {
        (0..partitions).all(|partition| self.fresh.contains(&(group, partition)))
    }

    /// Every broken promise.
    pub fn check(&self) -> Vec<GroupAnomaly> {
        self.bad.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = (1, 0);

    #[test]
    fn a_partition_has_one_owner_in_a_generation() {
        let mut groups = Groups::default();
        groups.own(HERE, 4, "a");
        groups.own(HERE, 4, "a");
        groups.own(HERE, 5, "b");
        groups.own((1, 1), 4, "b");
        groups.own((2, 0), 4, "b");
        assert_eq!(groups.check(), [], "it moved with the generation");
        groups.own(HERE, 5, "a");
        let two = GroupAnomaly::TwoOwners {
            group: 1,
            partition: 0,
            generation: 5,
            members: vec!["a".into(), "b".into()],
        };
        assert_eq!(groups.check(), [two]);
    }

    #[test]
    fn what_is_told_is_never_less_than_what_was_acknowledged_or_told() {
        let back = |least, told| GroupAnomaly::CommittedWentBack {
            group: 1,
            partition: 0,
            least,
            told,
        };
        let mut groups = Groups::default();
        groups.committed(HERE, 7, false);
        groups.told(HERE, 5, 6);
        assert_eq!(groups.check(), [], "the commit came while it was asked");
        groups.told(HERE, groups.least(HERE), 7);
        groups.told(HERE, groups.least(HERE), 9);
        assert_eq!(groups.check(), []);
        groups.told(HERE, groups.least(HERE), 8);
        assert_eq!(groups.check(), [back(9, 8)]);
    }

    #[test]
    fn a_group_is_fresh_when_each_partition_was_committed_in_the_calm() {
        let mut groups = Groups::default();
        groups.committed(HERE, 7, false);
        assert!(!groups.is_fresh(1, 1));
        groups.committed(HERE, 8, true);
        assert!(groups.is_fresh(1, 1) && !groups.is_fresh(1, 2) && !groups.is_fresh(2, 1));
    }
}
