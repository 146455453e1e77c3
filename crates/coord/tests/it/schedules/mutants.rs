//! Every rule is broken once, on purpose, and the schedules must notice.
use sh_coord::mutant;

use super::{Mix, run, schedule};

/// How many schedules a bug may live through.
const PATIENCE: u64 = 400;

fn is_found(name: &'static str, mix: Mix) {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = mutant::with(name, || {
        (0..PATIENCE).find_map(|seed| Some((seed, run(seed, mix, &schedule(seed, mix)).err()?)))
    });
    std::panic::set_hook(silent);
    let (seed, complaint) = found.unwrap_or_else(|| panic!("{name} was not noticed"));
    let end = complaint
        .char_indices()
        .nth(160)
        .map_or(complaint.len(), |(at, _)| at);
    println!("{name}: seed {seed}: {}", &complaint[..end]);
}

macro_rules! mutants {
    ($($name:ident in $mix:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            is_found(stringify!($name), Mix::$mix);
        })*
    };
}

mutants! {
    answer_early in Classic,
    heartbeats_wait in New,
    clock_runs_on in New,
    generation_unstored in Classic,
    owner_unchecked in New,
    revocation_unheard in New,
    takeover_rebalances in New,
    topics_forgotten in New,
    leaver_keeps_its_share in New,
    stale_commit in Both,
    rebalance_untold in Classic,
    sync_any_generation in Classic,
    fenced_lives_on in Classic,
    upgrade_forgets_waiting in Both,
    silence_is_patience in Both,
}
