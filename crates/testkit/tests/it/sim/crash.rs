//! Every call of every seam of a small story is a death, alone and in pairs.
use sh_testkit::{sim::crash, torture::chance::Chance};

use super::all_hold;

/// Pairs that are tried of all there are; `STREAMHOUSE_TEST_SEEDS` asks for more.
const PAIRS: usize = 150;

#[test]
fn an_agent_may_die_at_every_point_of_its_life() {
    let points = crash::points();
    assert!(points > 60, "the story has only {points} points");
    all_hold("points", points as usize, |n| crash::plan(&[n as u64 + 1]));
}

#[test]
fn agents_may_die_at_any_two_points() {
    let points = crash::points();
    let more = std::env::var("STREAMHOUSE_TEST_SEEDS").ok();
    let pairs = more.and_then(|n| n.parse().ok()).unwrap_or(PAIRS);
    let mut chance = Chance::new(17);
    let pairs: Vec<[u64; 2]> = (0..pairs)
        .map(|_| {
            let first = 1 + chance.next() % points;
            // The second death is most interesting soon after the first: in the replay.
            let gap = if chance.below(2) == 0 { 40 } else { points };
            [first, first + 1 + chance.next() % gap]
        })
        .collect();
    all_hold("pairs", pairs.len(), |n| crash::plan(&pairs[n]));
}
