//! Worlds as seeds decide them.
use std::path::{Path, PathBuf};

use sh_testkit::sim::{Plan, run};

use super::{all_hold, seeds};

#[test]
fn whole_agents_keep_their_promises_for_every_seed() {
    all_hold("seeds", seeds(), |seed| Plan::of_seed(seed as u64));
}

#[test]
fn the_same_plan_gives_the_same_story() {
    for seed in [3, 21, 34, 98] {
        let plan = Plan::of_seed(seed);
        let stories = [run(&plan, true).story, run(&plan, true).story];
        let differs = (0..stories[0].len()).find(|n| stories[0][*n..=*n] != stories[1][*n..=*n]);
        assert_eq!(differs, None, "seed {seed}: {stories:#?}");
        let untold = run(&plan, false);
        assert!(untold.story.is_empty() && untold.virtual_ms > 0);
    }
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let mut all = String::new();
    for seed in 0..150 {
        all.push_str(&run(&Plan::of_seed(seed), true).story.join("\n"));
    }
    let reached = [
        "Crash",
        "LoseDisk",
        "has shut down: Ok",
        "goes on",
        "Clock",
        "no way there",
        "the disk is full",
        "an fsync fails",
        "503",
        "the request was lost",
        "the reply was lost",
        "it will happen late",
        "late: update",
        "a late PUT",
        "hangs up",
        "hears of",
        "acks None",
        "acks Leader",
        "acks All",
        "bytes of WAL synced",
    ];
    for what in reached {
        assert!(all.contains(what), "no seed shows {what:?}");
    }
}

/// Each file of `plans` once failed.
#[test]
fn what_once_failed_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let files = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_plan = |path: &PathBuf| path.extension().is_some_and(|x| x == "json");
    let mut files: Vec<_> = files.filter(is_plan).collect();
    files.sort();
    let plan = |file: &Path| -> Plan {
        let text = std::fs::read_to_string(file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    };
    let plans: Vec<Plan> = files.iter().map(|file| plan(file)).collect();
    all_hold("plans", plans.len(), |n| plans[n].clone());
}
