//! Rules broken on purpose, one at a time: the world of whole agents must notice. `docs/mutants.md` is the table for people.
use std::sync::atomic::{AtomicU64, Ordering};

use sh_log::mutant;
use sh_testkit::sim::{Plan, run};

/// By this seed each must be found.
const SEEDS_MAX: u64 = 2_000;

/// A kind of world.
type Kind = fn(u64) -> Plan;

/// Mutants, the first seeds that noticed them, the worlds that must, and the kinds of problem that each may show as.
const MUTANTS: [(&str, u64, Kind, &[&str]); 27] = [
    ("cache_hole", 1, Plan::of_seed, &["Skipped"]),
    ("cache_end", 45, Plan::of_seed, &["EndBehind"]),
    ("negative_from_cache", 0, Plan::of_seed, &["OutOfRange"]),
    ("put_believed", 16, Plan::of_seed, &["Absent", "Stuck"]),
    ("full_is_synced", 164, Plan::of_seed, &["Lost", "Stuck"]),
    (
        "sync_failure_ignored",
        152,
        Plan::of_seed,
        &["Lost", "Stuck"],
    ),
    (
        "short_read",
        0,
        Plan::of_seed,
        &["Stuck", "Panicked", "Skipped"],
    ),
    ("time_by_min", 0, Plan::of_seed, &["WrongTime"]),
    ("cache_dirty", 0, Plan::of_transactions, DIRTY),
    ("cache_aborted", 0, Plan::of_transactions, DIRTY),
    ("txn_end_stale", 33, Plan::of_transactions, BROKEN),
    ("txn_no_epoch", 0, Plan::of_transactions, BROKEN),
    ("txn_no_bump", 0, Plan::of_transactions, BROKEN),
    ("txn_torn", 0, Plan::of_transactions, &["Hanging", "Stuck"]),
    ("txn_always_ok", 1, Plan::of_transactions, BROKEN),
    ("lso_latest", 0, Plan::of_transactions, DIRTY),
    ("txn_offsets_early", 6, Plan::of_transactions, OFFSETS),
    ("txn_offsets_lost", 1, Plan::of_transactions, OFFSETS),
    ("txn_batch_unlocked", 0, Plan::of_transactions, UNLOCKED),
    ("txn_init_keeps_open", 112, Plan::of_transactions, BROKEN),
    ("txn_empty_abort", 17, Plan::of_transactions, LATE),
    ("txn_timeout_no_bump", 22, Plan::of_transactions, BROKEN),
    ("clock_step", 89, Plan::of_seed, &["Duplicated"]),
    ("trips_cut", 4, Plan::of_seed, STALE),
    ("memory_unbounded", 0, Plan::of_little_memory, &["Overfull"]),
    ("group_take_over_forgets", 1, Plan::of_groups, FORGOTTEN),
    ("group_maybe_is_done", 171, Plan::of_groups, FORGOTTEN),
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
/// Batches are in no transaction, or in one that nobody ends.
const UNLOCKED: &[&str] = &["Hanging", "AbortedRead", "LostTransaction", "Stuck"];
/// A late batch takes the place of one of the next transaction, or gets into it.
const LATE: &[&str] = &["Lost", "AbortedRead", "TornTransaction", "LostTransaction"];
/// What was decided on rows that others have changed.
const STALE: &[&str] = &[
    "Duplicated",
    "Lost",
    "Reordered",
    "Misplaced",
    "Reused",
    "Changed",
];
/// A group does not know any more what its members were told.
const FORGOTTEN: &[&str] = &["TwoOwners", "CommittedWentBack", "Stuck"];
/// What was consumed does not fit with what was produced.
const OFFSETS: &[&str] = &["WrongOffset", "CopiedTwice", "NotCopied", "WentBack"];

/// The seed that notices, and as what: the one that is known, or, if the worlds have changed, the first.
fn find(name: &'static str, known: u64, plan: Kind, kinds: &[&str]) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(SEEDS_MAX));
    let notices = |seed: u64| {
        let problems = run(&plan(seed), false).problems;
        let kind = problems.iter().map(|p| p.kind());
        kind.into_iter().find(|kind| kinds.contains(&&**kind))
    };
    if let Some(kind) = mutant::with(name, || notices(known)) {
        return Some((known, kind));
    }
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
    for (name, known, plan, kinds) in MUTANTS {
        match find(name, known, plan, kinds) {
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
