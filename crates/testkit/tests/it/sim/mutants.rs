//! Rules broken on purpose, one at a time: the world of whole agents must notice. `docs/mutants.md` is the table for people.
use std::sync::atomic::{AtomicU64, Ordering};

use sh_log::mutant;
use sh_testkit::sim::{Plan, run};

/// By this seed each must be found.
const SEEDS_MAX: u64 = 2_000;

/// Mutants, and the kinds of problem that each may show as.
const MUTANTS: [(&str, &[&str]); 8] = [
    ("cache_hole", &["Skipped"]),
    ("cache_end", &["EndBehind"]),
    ("negative_from_cache", &["OutOfRange"]),
    ("put_believed", &["Absent", "Stuck"]),
    ("full_is_synced", &["Lost", "Stuck"]),
    ("sync_failure_ignored", &["Lost", "Stuck"]),
    ("short_read", &["Stuck", "Panicked", "Skipped"]),
    ("time_by_min", &["WrongTime"]),
];

/// The first seed that notices, and as what.
fn find(name: &'static str, kinds: &[&str]) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(SEEDS_MAX));
    let notices = |seed: u64| {
        let problems = run(&Plan::of_seed(seed), false).problems;
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
    for (name, kinds) in MUTANTS {
        match find(name, kinds) {
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
    for (name, _) in MUTANTS {
        let row = format!("| `{name}` |");
        let rows = table.lines().filter(|line| line.contains(&row)).count();
        assert_eq!(rows, 1, "{name} has one row in docs/mutants.md");
    }
}
