//! The simulated world: seeds, plans that once failed, the crash matrix, mutants.
mod crash;
mod groups;
mod mutants;
mod seeds;
mod transactions;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use sh_testkit::sim::{Plan, run, shrink, shrink::report};

/// How many seeds of the plainest kind; `STREAMHOUSE_TEST_SEEDS` says otherwise.
fn seeds() -> usize {
    let more = std::env::var("STREAMHOUSE_TEST_SEEDS").ok();
    more.and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// Runs what `plan_of` says for each of `0..count`, on all cores; the failures, by number.
fn failures(count: usize, plan_of: impl Fn(usize) -> Plan + Sync) -> Vec<usize> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            if !run(&plan_of(number), false).problems.is_empty() {
                failed.lock().unwrap().push(number);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    failed
}

/// All of them hold; of the first that does not, the story is told.
fn all_hold(what: &str, count: usize, plan_of: impl Fn(usize) -> Plan + Sync) {
    let failed = failures(count, &plan_of);
    if let Some(first) = failed.first() {
        let (plan, outcome) = shrink(&plan_of(*first));
        panic!(
            "{what} {failed:?} break promises; of {first}:\n{}",
            report(&plan, &outcome)
        );
    }
}
