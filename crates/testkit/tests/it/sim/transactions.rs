//! Worlds with transactions: what they must never show, what they must reach, and the flaw that the classic flow has.
use sh_testkit::sim::{Plan, Problem, run, transactions::Counts};

use super::{all_hold, seeds};

/// Seeds of CI, of those that [`seeds`] says.
const SHARE: usize = 2;

#[test]
fn transactions_keep_their_promises_for_every_seed() {
    all_hold("seeds of transactions", seeds() / SHARE, |seed| {
        Plan::of_transactions(seed as u64)
    });
}

#[test]
fn the_same_plan_of_transactions_gives_the_same_story() {
    for seed in [1, 5, 12] {
        let plan = Plan::of_transactions(seed);
        let stories = [run(&plan, true).story, run(&plan, true).story];
        let differs = (0..stories[0].len()).find(|n| stories[0][*n..=*n] != stories[1][*n..=*n]);
        assert_eq!(differs, None, "seed {seed}: {stories:#?}");
    }
}

#[test]
fn the_seeds_of_transactions_reach_what_they_are_for() {
    let mut all = Counts::default();
    for seed in 0..60 {
        all += run(&Plan::of_transactions(seed), false).transactions;
    }
    println!("60 seeds: {all:?}");
    assert!(all.committed > 300, "{all:?}");
    assert!(all.aborted > 60, "{all:?}");
    assert!(all.fenced > 4, "{all:?}");
    assert!(all.timed_out > 10, "{all:?}");
    assert!(all.offsets > 60, "{all:?}");
    assert!(all.late > 60, "{all:?}");
}

/// What KIP-890 says of the classic flow: a late EndTxn ends the next transaction.
#[test]
fn the_known_flaw_of_the_classic_flow_is_found() {
    let flaw = |problem: &Problem| {
        let kind = problem.kind();
        ["AbortedRead", "TornTransaction", "LostTransaction"].contains(&&*kind)
    };
    let found = (0..2_000).find(|seed| {
        let outcome = run(&Plan::of_classic_transactions(*seed), false);
        outcome.problems.iter().any(flaw)
    });
    println!("the flaw of the classic flow: seed {found:?}");
    let seed = found.expect("a seed shows the flaw");
    let plan = Plan::of_transactions(seed);
    assert_eq!(
        run(&plan, false).problems,
        [],
        "and version 2 does not have it"
    );
}
