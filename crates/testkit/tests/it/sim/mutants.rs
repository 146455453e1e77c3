//! Rules broken on purpose, one at a time: the world of whole agents must notice. `docs/mutants.md` is the table for people.
use std::sync::atomic::{AtomicU64, Ordering};

use sh_log::mutant;
use sh_testkit::sim::{Plan, run};

/// By this seed each must be found.
const SEEDS_MAX: u64 = 2_000;

/// A kind of world.
type Kind = fn(u64) -> Plan;

/// Mutants, the worlds that must notice them, and the kinds of problem that each may show as.
const MUTANTS: [(&str, Kind, &[&str]); 19] = [
    ("cache_hole", Plan::of_seed, &["Skipped"]),
    ("cache_end", Plan::of_seed, &["EndBehind"]),
    ("negative_from_cache", Plan::of_seed, &["OutOfRange"]),
    ("put_believed", Plan::of_seed, &["Absent", "Stuck"]),
    ("full_is_synced", Plan::of_seed, &["Lost", "Stuck"]),
    ("sync_failure_ignored", Plan::of_seed, &["Lost", "Stuck"]),
    (
        "short_read",
        Plan::of_seed,
        &["Stuck", "Panicked", "Skipped"],
    ),
    ("time_by_min", Plan::of_seed, &["WrongTime"]),
    ("cache_dirty", Plan::of_transactions, DIRTY),
    ("cache_aborted", Plan::of_transactions, DIRTY),
    ("txn_end_stale", Plan::of_transactions, BROKEN),
    ("txn_no_epoch", Plan::of_transactions, BROKEN),
    ("txn_no_bump", Plan::of_transactions, BROKEN),
    ("txn_torn", Plan::of_transactions, &["Hanging", "Stuck"]),
    ("txn_always_ok", Plan::of_transactions, BROKEN),
    ("lso_latest", Plan::of_transactions, DIRTY),
    ("txn_offsets_early", Plan::of_transactions, OFFSETS),
    ("txn_offsets_lost", Plan::of_transactions, OFFSETS),
    (
        "group_take_over_forgets",
        Plan::of_groups,
        &["TwoOwners", "CommittedWentBack", "Stuck"],
    ),
];

/// read_committed shows what it must not, or passes it by.
const DIRTY: &[&str] = &["DirtyRead", "PastStable", "BeyondStable", "Skipped"];
/// A transaction did not end as it was asked to and told.
const BROKEN: &[&str] = &[
    "AbortedRead",
    "TornTransaction",
    "LostTransaction",
    "Hanging",
    "DirtyRead",
    "PastStable",
];
/// What was consumed does not fit with what was produced.
const OFFSETS: &[&str] = &["WrongOffset", "CopiedTwice", "NotCopied", "WentBack"];

/// The first seed that notices, and as what.
fn find(name: &'static str, plan: Kind, kinds: &[&str]) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(SEEDS_MAX));
    let notices = |seed: u64| {
        let problems = run(&plan(seed), false).problems;
        let kind = problems.iter().map(|p| p.kind());
        kind.into_iter().find(|kind| kinds.contains(&&**kind))
    };
    let work = || {
        mutant::with(name, || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= found.load(Ordering::Relaxed) {
                    return;
                }
                if notices(seed).is_some() {
                    found.fetch_min(seed, Ordering::Relaxed);
                }
            }
        });
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let seed = found.into_inner();
    let kind = mutant::with(name, || notices(seed))?;
    (seed < SEEDS_MAX).then_some((seed, kind))
}

#[test]
fn every_mutant_of_a_whole_agent_is_found() {
    let mut missed = Vec::new();
    for (name, plan, kinds) in MUTANTS {
        match find(name, plan, kinds) {
            Some((seed, kind)) => println!("{name}: seed {seed}: {kind}"),
            None => missed.push(name),
        }
    }
    assert!(
        missed.is_empty(),
        "no seed below {SEEDS_MAX} notices {missed:?}"
    );
}

#[test]
fn the_table_of_mutants_of_whole_agents_is_complete() {
    let table = include_str!("../../../../../docs/mutants.md");
    for (name, ..) in MUTANTS {
        let row = format!("| `{name}` |");
        let rows = table.lines().filter(|line| line.contains(&row)).count();
        assert_eq!(rows, 1, "{name} has one row in docs/mutants.md");
    }
}
