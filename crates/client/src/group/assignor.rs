//! How the leader of a classic group shares partitions out. Pure functions.
use std::collections::{BTreeMap, BTreeSet};

use super::protocol::Subscription;
use crate::metadata::TopicPartition;

/// The assignors that a member offers, the preferred one first: as the Java client's defaults.
pub(crate) const ASSIGNORS: [&str; 2] = ["range", COOPERATIVE_STICKY];

/// With this one, partitions that change hands are first given up in one generation, then taken in the next (KIP-429).
pub(crate) const COOPERATIVE_STICKY: &str = "cooperative-sticky";

pub(crate) type Members = BTreeMap<String, Subscription>;
pub(crate) type Shares = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Every partition to one member that subscribes to its topic. `counts` are the partitions of each topic; topics that do
/// not exist are not among them.
pub(crate) fn assign(protocol: &str, members: &Members, counts: &BTreeMap<String, i32>) -> Shares {
    match protocol {
        COOPERATIVE_STICKY => cooperative_sticky(members, counts),
        _ => range(members, counts),
    }
}

fn subscribers<'a>(members: &'a Members, topic: &str) -> Vec<&'a String> {
    let subscribes = |s: &Subscription| s.topics.iter().any(|t| t == topic);
    members
        .iter()
        .filter_map(|(id, s)| subscribes(s).then_some(id))
        .collect()
}

fn nothing(members: &Members) -> Shares {
    members
        .keys()
        .map(|id| (id.clone(), BTreeSet::new()))
        .collect()
}

/// Topic by topic: runs of neighbouring partitions, the first members get one more.
fn range(members: &Members, counts: &BTreeMap<String, i32>) -> Shares {
    let mut shares = nothing(members);
    for (topic, count) in counts {
        let takers = subscribers(members, topic);
        let mut next = 0;
        for (index, id) in takers.iter().enumerate() {
            let (takers, index) = (takers.len() as i32, index as i32);
            let size = count / takers + i32::from(index < count % takers);
            let run = (next..next + size).map(|p| (topic.as_str().into(), p));
            shares.entry((*id).clone()).or_default().extend(run);
            next += size;
        }
    }
    shares
}

/// Balanced, moving as little as possible; what moves is left out until its owner has given it up.
fn cooperative_sticky(members: &Members, counts: &BTreeMap<String, i32>) -> Shares {
    let owners = owners(members, counts);
    let mut shares = nothing(members);
    for (place, (_, id)) in &owners {
        shares.entry(id.clone()).or_default().insert(place.clone());
    }
    for (topic, count) in counts {
        for partition in 0..*count {
            let place: TopicPartition = (topic.as_str().into(), partition);
            if owners.contains_key(&place) {
                continue;
            }
            let takers = subscribers(members, topic).into_iter();
            if let Some(id) = takers.min_by_key(|id| (shares[*id].len(), (*id).clone())) {
                shares.entry(id.clone()).or_default().insert(place);
            }
        }
    }
    while let Some((place, from, to)) = unfair(members, &shares) {
        shares.entry(from).or_default().remove(&place);
        shares.entry(to).or_default().insert(place);
    }
    for (id, share) in &mut shares {
        share.retain(|place| owners.get(place).is_none_or(|(_, owner)| owner == id));
    }
    shares
}

/// Who owns what now: of several claims the one of the latest generation counts, of equal ones none.
fn owners(
    members: &Members,
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<TopicPartition, (i32, String)> {
    let mut owners: BTreeMap<TopicPartition, (i32, String)> = BTreeMap::new();
    let mut disputed: BTreeSet<(TopicPartition, i32)> = BTreeSet::new();
    for (id, subscription) in members {
        let exists = |(topic, partition): &&TopicPartition| {
            subscription.topics.iter().any(|t| **t == **topic)
                && counts.get(&**topic).is_some_and(|count| partition < count)
        };
        for place in subscription.owned.iter().filter(exists) {
            let claim = (subscription.generation, id.clone());
            match owners.get(place) {
                Some((generation, _)) if *generation > claim.0 => {}
                Some((generation, _)) if *generation == claim.0 => {
                    disputed.insert((place.clone(), claim.0));
                }
                _ => drop(owners.insert(place.clone(), claim)),
            }
        }
    }
    owners.retain(|place, (generation, _)| !disputed.contains(&(place.clone(), *generation)));
    owners
}

/// A partition that should move: its member has at least two more than another one that could have it.
fn unfair(members: &Members, shares: &Shares) -> Option<(TopicPartition, String, String)> {
    let mut by_size: Vec<_> = shares.iter().collect();
    by_size.sort_by_key(|(id, share)| (share.len(), (*id).clone()));
    for (poor, few) in &by_size {
        for (rich, many) in by_size.iter().rev() {
            if many.len() < few.len() + 2 {
                break;
            }
            let topics = &members[*poor].topics;
            let movable = |(topic, _): &&TopicPartition| topics.iter().any(|t| **t == **topic);
            if let Some(place) = many.iter().rev().find(movable) {
                return Some((place.clone(), (*rich).clone(), (*poor).clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(topics: &[&str], owned: &[(&str, i32)], generation: i32) -> Subscription {
        Subscription {
            topics: topics.iter().map(|t| t.to_string()).collect(),
            owned: owned.iter().map(|(t, p)| ((*t).into(), *p)).collect(),
            generation,
        }
    }

    fn members<const N: usize>(members: [(&str, Subscription); N]) -> Members {
        members
            .into_iter()
            .map(|(id, s)| (id.to_owned(), s))
            .collect()
    }

    fn shown(shares: &Shares) -> Vec<String> {
        let share = |share: &BTreeSet<TopicPartition>| {
            let places: Vec<_> = share.iter().map(|(t, p)| format!("{t}{p}")).collect();
            places.join(" ")
        };
        shares
            .iter()
            .map(|(id, s)| format!("{id}: {}", share(s)))
            .collect()
    }

    fn counts(counts: &[(&str, i32)]) -> BTreeMap<String, i32> {
        counts.iter().map(|(t, n)| (t.to_string(), *n)).collect()
    }

    #[test]
    fn range_gives_neighbours_topic_by_topic() {
        let three = members([
            ("a", member(&["t", "u"], &[], -1)),
            ("b", member(&["t"], &[], -1)),
            ("c", member(&["t"], &[], -1)),
        ]);
        let shares = assign("range", &three, &counts(&[("t", 5), ("u", 1)]));
        assert_eq!(shown(&shares), ["a: t0 t1 u0", "b: t2 t3", "c: t4"]);
        let shares = assign("range", &three, &counts(&[("t", 1)]));
        assert_eq!(shown(&shares), ["a: t0", "b: ", "c: "]);
    }

    #[test]
    fn sticky_keeps_what_it_can_and_moves_in_two_generations() {
        let t4 = counts(&[("t", 4)]);
        let all = [("t", 0), ("t", 1), ("t", 2), ("t", 3)];
        let grown = members([
            ("a", member(&["t"], &all, 1)),
            ("b", member(&["t"], &[], -1)),
        ]);
        let first = assign(COOPERATIVE_STICKY, &grown, &t4);
        assert_eq!(shown(&first), ["a: t0 t1", "b: "]);
        let given_up = members([
            ("a", member(&["t"], &all[..2], 2)),
            ("b", member(&["t"], &[], 2)),
        ]);
        let second = assign(COOPERATIVE_STICKY, &given_up, &t4);
        assert_eq!(shown(&second), ["a: t0 t1", "b: t2 t3"]);
    }

    #[test]
    fn a_claim_of_an_older_generation_does_not_count() {
        let claims = members([
            ("a", member(&["t"], &[("t", 0), ("t", 9)], 1)),
            ("b", member(&["t"], &[("t", 0)], 2)),
        ]);
        let shares = assign(COOPERATIVE_STICKY, &claims, &counts(&[("t", 2)]));
        assert_eq!(shown(&shares), ["a: t1", "b: t0"]);
    }

    #[test]
    fn members_get_only_what_they_subscribe_to() {
        let mixed = members([
            ("a", member(&["t"], &[], -1)),
            ("b", member(&["u"], &[], -1)),
        ]);
        for protocol in ASSIGNORS {
            let shares = assign(protocol, &mixed, &counts(&[("t", 1), ("u", 3)]));
            assert_eq!(shown(&shares), ["a: t0", "b: u0 u1 u2"], "{protocol}");
        }
    }
}
