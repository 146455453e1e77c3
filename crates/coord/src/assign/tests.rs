use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn topic(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn subscriber(topics: &[u128]) -> Subscriber {
    Subscriber {
        topics: topics.iter().map(|n| topic(*n)).collect(),
        ..Subscriber::default()
    }
}

fn group(members: &[(&str, &[u128])]) -> BTreeMap<String, Subscriber> {
    members
        .iter()
        .map(|(id, topics)| ((*id).to_owned(), subscriber(topics)))
        .collect()
}

fn count(target: &Target) -> usize {
    target.iter().count()
}

/// Makes the targets what the members have, for the next round.
fn settle(members: &mut BTreeMap<String, Subscriber>, targets: BTreeMap<String, Target>) {
    for (id, target) in targets {
        if let Some(member) = members.get_mut(&id) {
            member.target = target;
        }
    }
}

#[test]
fn uniform_moves_only_what_a_newcomer_needs() {
    let partitions = BTreeMap::from([(topic(1), 12)]);
    let mut members = group(&[("a", &[1]), ("b", &[1]), ("c", &[1])]);
    let first = Assignor::Uniform.assign(&members, &partitions);
    assert!(first.values().all(|t| count(t) == 4));
    settle(&mut members, first.clone());
    members.insert("d".into(), subscriber(&[1]));
    let second = Assignor::Uniform.assign(&members, &partitions);
    assert!(second.values().all(|t| count(t) == 3));
    let kept = |id: &str| second[id].iter().all(|(t, p)| first[id].contains(&t, p));
    assert!(["a", "b", "c"].into_iter().all(kept));
}

#[test]
fn range_gives_the_same_run_of_every_topic_to_the_same_member() {
    let partitions = BTreeMap::from([(topic(1), 5), (topic(2), 5)]);
    let members = group(&[("a", &[1, 2]), ("b", &[1, 2])]);
    let targets = Assignor::Range.assign(&members, &partitions);
    for t in [1, 2] {
        assert_eq!(targets["a"].0[&topic(t)], BTreeSet::from([0, 1, 2]));
        assert_eq!(targets["b"].0[&topic(t)], BTreeSet::from([3, 4]));
    }
}

#[test]
fn range_puts_static_members_first() {
    let mut members = group(&[("a", &[1]), ("z", &[1])]);
    members.get_mut("z").unwrap().instance_id = Some("one".into());
    let targets = Assignor::Range.assign(&members, &BTreeMap::from([(topic(1), 3)]));
    assert_eq!(targets["z"].0[&topic(1)], BTreeSet::from([0, 1]));
}

#[test]
fn a_thousand_members_and_ten_thousand_partitions_are_spread_equally() {
    let partitions: BTreeMap<_, _> = (0..10).map(|n| (topic(n), 1_000)).collect();
    let topics: Vec<u128> = (0..10).collect();
    let members = (0..1_000)
        .map(|i| (format!("m{i}"), subscriber(&topics)))
        .collect();
    let targets = Assignor::Uniform.assign(&members, &partitions);
    assert!(targets.values().all(|t| count(t) == 10));
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_that_is_subscribed(
        subscriptions in prop::collection::vec(prop::collection::btree_set(0..4u128, 0..4), 1..7),
        counts in prop::collection::vec(0..9i32, 4),
        churn in any::<prop::sample::Index>(),
    ) {
        let partitions: BTreeMap<_, _> = counts.iter().enumerate().map(|(n, c)| (topic(n as u128), *c)).collect();
        for assignor in Assignor::ALL {
            let mut members: BTreeMap<String, Subscriber> = BTreeMap::new();
            for (i, topics) in subscriptions.iter().enumerate() {
                members.insert(format!("m{i}"), subscriber(&topics.iter().copied().collect::<Vec<_>>()));
                check(assignor, &mut members, &partitions);
            }
            members.remove(&format!("m{}", churn.index(subscriptions.len())));
            check(assignor, &mut members, &partitions);
        }
    }
}

fn check(
    assignor: Assignor,
    members: &mut BTreeMap<String, Subscriber>,
    partitions: &BTreeMap<TopicId, i32>,
) {
    let targets = assignor.assign(members, partitions);
    let mut seen = BTreeSet::new();
    for (id, target) in &targets {
        for (t, p) in target.iter() {
            assert!(members[id].topics.contains(&t) && (0..partitions[&t]).contains(&p));
            assert!(seen.insert((t, p)), "{t}/{p} has two owners");
        }
    }
    for (t, count) in partitions {
        let wanted = members.values().any(|m| m.topics.contains(t));
        assert!(
            !wanted || (0..*count).all(|p| seen.contains(&(*t, p))),
            "{t} is not wholly assigned"
        );
    }
    if assignor == Assignor::Uniform {
        check_that_no_move_helps(members, &targets);
        settle(members, targets.clone());
        assert_eq!(
            assignor.assign(members, partitions),
            targets,
            "nothing changed, nothing moves"
        );
    } else {
        settle(members, targets);
    }
}

fn check_that_no_move_helps(
    members: &BTreeMap<String, Subscriber>,
    targets: &BTreeMap<String, Target>,
) {
    for (from, target) in targets {
        for (to, other) in targets {
            let movable = target.0.keys().any(|t| members[to].topics.contains(t));
            assert!(
                !movable || count(target) < count(other) + 2,
                "{from} could give to {to}"
            );
        }
    }
}

/// The fewest partitions that must leave living members when all are subscribed to the same: what each has beyond its share,
/// the larger shares going to those that have most.
fn needed_moves(loads: &[usize], partitions: usize) -> usize {
    let (share, larger) = (partitions / loads.len(), partitions % loads.len());
    let mut loads = loads.to_vec();
    loads.sort_unstable_by(|a, b| b.cmp(a));
    let cap = |place: usize| share + usize::from(place < larger);
    let beyond = loads
        .iter()
        .enumerate()
        .map(|(place, load)| load.saturating_sub(cap(place)));
    beyond.sum()
}

/// How many partitions uniform takes from members that stay, and how many it must.
fn moves(partitions: PartitionIndex, before: usize, leave: usize, join: usize) -> (usize, usize) {
    let partitions = BTreeMap::from([(topic(1), partitions)]);
    let mut members: BTreeMap<String, Subscriber> = (0..before)
        .map(|i| (format!("m{i}"), subscriber(&[1])))
        .collect();
    let first = Assignor::Uniform.assign(&members, &partitions);
    settle(&mut members, first.clone());
    (0..leave.min(before)).for_each(|i| drop(members.remove(&format!("m{i}"))));
    members.extend((0..join).map(|i| (format!("n{i}"), subscriber(&[1]))));
    if members.is_empty() {
        return (0, 0);
    }
    let second = Assignor::Uniform.assign(&members, &partitions);
    let had = |id: &String| first.get(id).map_or(0, count);
    let lost = |id: &String| {
        first.get(id).map_or(0, |f| {
            f.iter()
                .filter(|(t, p)| !second[id].contains(t, *p))
                .count()
        })
    };
    let loads: Vec<usize> = members.keys().map(had).collect();
    (
        members.keys().map(lost).sum(),
        needed_moves(&loads, partitions[&topic(1)] as usize),
    )
}

proptest! {
    #[test]
    fn uniform_moves_as_little_as_equal_shares_need(
        partitions in 0..60i32, before in 1..12usize, leave in 0..6usize, join in 0..6usize,
    ) {
        let (moved, needed) = moves(partitions, before, leave, join);
        prop_assert_eq!(moved, needed);
    }
}

#[test]
fn an_assignor_that_forgets_what_was_is_noticed() {
    let forgets = || moves(12, 3, 1, 1);
    let (moved, needed) = crate::mutant::with("forgetful_assignor", forgets);
    assert!(moved > needed, "{moved} of {needed}");
}
