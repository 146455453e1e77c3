//! Each rule of the write path, broken: the simulation must notice within [`SEEDS_MAX`] seeds, and name the promise that the
//! model says is broken. `docs/mutants.md` is the table for people.
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{STEPS, run, runtime};
use crate::mutant;

const SEEDS_MAX: u64 = 2_000;

/// The rows of `../shared/model/runs.sh` about `WritePath.tla`, and the promise that each breaks. (An overwritten offset shows
/// as `Stable` here, where the model, which has no extents, sees it as `DurableKept`.)
const MUTANTS: [(&str, &str); 19] = [
    ("resubmit_late", "InOrder"),
    ("no_chain", "Once"),
    ("look_first", "Once"),
    ("again_dropped", "LeaderKept"),
    ("overtake", "InOrder"),
    ("forget_any", "Once"),
    ("forget_fenced", "Once"),
    ("reuse_key", "Present"),
    ("blind_abort", "Present"),
    ("ack_before_fsync", "LeaderKept"),
    ("trim_early", "LeaderKept"),
    ("no_fate", "Present"),
    ("delete_without_abort", "Present"),
    ("order", "InOrder"),
    ("no_epoch", "Once"),
    ("no_lease_fence", "Stable"),
    ("no_lease_check", "OwnOffset"),
    ("lease_early", "OwnOffset"),
    ("no_dup", "Once"),
];

/// Rules that the model does not have, or has in other words.
const MORE: [(&str, &str); 5] = [
    ("needs_without_wal", "Once"),
    ("upload_before_sync", "Once"),
    ("release_early", "OwnOffset"),
    ("duplicate_early", "Kept"),
    ("replay_refused", "LeaderKept"),
];

/// Mutants of rules that are tested alone, not by the simulation.
const ALONE: [&str; 2] = ["no_nonce", "no_generation"];

/// The first seed that notices that `promise` is broken, and what it says.
fn find(name: &'static str, promise: &str) -> Option<(u64, String)> {
    mutant::with(name, || {
        (0..SEEDS_MAX).find_map(|seed| {
            let noticed = catch_unwind(AssertUnwindSafe(|| drop(run(seed, STEPS)))).err()?;
            let text = match noticed.downcast::<String>() {
                Ok(text) => *text,
                Err(other) => other
                    .downcast_ref::<&str>()
                    .map_or(String::new(), |s| (*s).into()),
            };
            text.contains(promise).then_some((seed, text))
        })
    })
}

#[test]
fn every_mutant_is_found() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut missed = Vec::new();
    for (name, promise) in MUTANTS.into_iter().chain(MORE) {
        match find(name, promise) {
            Some((seed, why)) => println!(
                "{name}: seed {seed}: {}",
                why.lines().next().unwrap_or_default()
            ),
            None => missed.push(name),
        }
    }
    assert!(
        missed.is_empty(),
        "no seed below {SEEDS_MAX} notices {missed:?}"
    );
}

#[test]
fn the_table_of_mutants_is_complete() {
    let table = include_str!("../../../../../docs/mutants.md");
    for name in MUTANTS
        .iter()
        .chain(&MORE)
        .map(|(name, _)| *name)
        .chain(ALONE)
    {
        let rows = table
            .lines()
            .filter(|line| line.contains(&format!("| `{name}` |")))
            .count();
        assert_eq!(rows, 1, "{name} has one row in docs/mutants.md");
    }
}
