//! Two agents on one bucket and one store, one thread, seeded chance: `WritePath.tla` with the real machine, the real commit
//! function, the real replay and the WAL's own rules about its files. A crash (with or without the disk), a late commit, a
//! lost reply, an aborted, merged or forgotten object, a full disk, a lost lease, a pause may come at any step; the history is
//! then held against DESIGN 2. There is no clock: time is whatever the seed says, so what holds here holds for every clock.
mod agent;
mod client;
mod disk;
mod history;
mod mutants;
mod upkeep;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// Takes one of `items` out, if there is any.
    fn draw<T>(&mut self, items: &mut Vec<T>) -> Option<T> {
        let n = self.below(items.len());
        (!items.is_empty()).then(|| items.swap_remove(n))
    }
}

/// Steps of one seed.
const STEPS: usize = 500;

/// Timers want a runtime around them. The steps do not run *in* it: its budget for one task would hold them up.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn run(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed);
    world.live(steps);
    world
}

/// Runs a seed and, if it fails, prints its story.
fn story(seed: u64) {
    let mut world = World::new(seed);
    if let Err(why) = catch_unwind(AssertUnwindSafe(|| world.live(STEPS))) {
        eprintln!("seed {seed}:\n  {}", world.steps.join("\n  "));
        resume_unwind(why);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how many seeds are tried is said by whoever runs the tests"
)]
fn seeds() -> std::ops::Range<u64> {
    let more = std::env::var("STREAMHOUSE_TEST_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    0..more.unwrap_or(300)
}

#[test]
fn the_promises_hold_for_every_seed() {
    let runtime = runtime();
    let _entered = runtime.enter();
    seeds().for_each(story);
}

#[test]
fn one_seed_is_one_story() {
    let runtime = runtime();
    let _entered = runtime.enter();
    assert_eq!(run(42, 300).steps, run(42, 300).steps);
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut all = String::new();
    for seed in 0..60 {
        all.push_str(&run(seed, STEPS).steps.join("\n"));
    }
    let reached = [
        "Again",
        "Aborted",
        "Duplicate",
        "took p0 lease",
        "released p",
        "away",
        "late PUT",
        "crash",
        "loses its disk",
        "leases [(",
        "again [(",
        "reply lost",
        "merges",
        "forgets",
        "needs nothing before",
        "lease of p0 ends",
        "falls asleep",
        "disk of 0 is full",
        "file of 0 goes",
        "drains",
    ];
    for what in reached {
        assert!(all.contains(what), "no seed shows {what:?}");
    }
}
