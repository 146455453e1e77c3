//! Worlds with consumer groups.
use sh_testkit::sim::{Plan, groups::GroupCounts, run};

use super::{all_hold, seeds};

/// Seeds of CI, of those that [`seeds`] says.
const SHARE: usize = 4;

#[test]
fn groups_keep_their_promises_for_every_seed() {
    all_hold("seeds of groups", seeds() / SHARE, |seed| {
        Plan::of_groups(seed as u64)
    });
}

#[test]
fn the_same_plan_of_groups_gives_the_same_story() {
    for seed in [2, 7] {
        let plan = Plan::of_groups(seed);
        let stories = [run(&plan, true).story, run(&plan, true).story];
        let differs = (0..stories[0].len()).find(|n| stories[0][*n..=*n] != stories[1][*n..=*n]);
        assert_eq!(differs, None, "seed {seed}: {stories:#?}");
    }
}

#[test]
fn the_seeds_of_groups_reach_what_they_are_for() {
    let mut all = GroupCounts::default();
    for seed in 0..30 {
        all += run(&Plan::of_groups(seed), false).groups;
    }
    println!("30 seeds: {all:?}");
    assert!(all.classic > 40 && all.consumer > 40, "{all:?}");
    assert!(all.commits > 1_000 && all.refused > 10, "{all:?}");
}
