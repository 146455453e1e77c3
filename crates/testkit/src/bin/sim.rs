//! Runs many seeds of the simulated world: `sim --seeds 100000 [--from N] [--threads N]`, or one: `sim --seed N`, `sim --plan FILE`.
//! `--kind` says of which kind of world: writes, transactions, classic (transactions whose flow has known flaws), groups,
//! memory (agents that have little).
#![allow(
    clippy::disallowed_methods,
    reason = "it measures how many seeds it runs in a second"
)]
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use sh_log::mutant;
use sh_testkit::sim::{
    Plan, groups::GroupCounts, run, shrink, shrink::report, transactions::Counts,
};

const USAGE: &str = "usage: sim [--kind writes|transactions|classic|groups|memory] [--seeds N] [--from N] [--threads N] | sim [--kind KIND] --seed N [--raw] | sim --plan FILE [--raw]; each with [--mutant NAME]";

/// Failing seeds after which no more are tried.
const FAILURES_MAX: usize = 5;

struct Args {
    seeds: u64,
    from: u64,
    threads: usize,
    seed: Option<u64>,
    plan: Option<String>,
    mutant: Option<String>,
    raw: bool,
    kind: fn(u64) -> Plan,
}

fn kind(name: &str) -> anyhow::Result<fn(u64) -> Plan> {
    Ok(match name {
        "writes" => Plan::of_seed,
        "transactions" => Plan::of_transactions,
        "classic" => Plan::of_classic_transactions,
        "groups" => Plan::of_groups,
        "memory" => Plan::of_little_memory,
        other => bail!("{other} is no kind of world\n{USAGE}"),
    })
}

/// `None`: help was asked for.
fn args() -> anyhow::Result<Option<Args>> {
    let mut args = Args {
        seeds: 1_000,
        from: 0,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        seed: None,
        plan: None,
        mutant: None,
        raw: false,
        kind: Plan::of_seed,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--raw" => {
                args.raw = true;
                continue;
            }
            "help" | "--help" | "-h" => return Ok(None),
            _ => {}
        }
        let value = words
            .next()
            .with_context(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--seeds" => args.seeds = value.parse()?,
            "--from" => args.from = value.parse()?,
            "--threads" => args.threads = value.parse()?,
            "--seed" => args.seed = Some(value.parse()?),
            "--plan" => args.plan = Some(value),
            "--mutant" => args.mutant = Some(value),
            "--kind" => args.kind = kind(&value)?,
            other => bail!("{other} is not known\n{USAGE}"),
        }
    }
    Ok(Some(args))
}

fn main() -> anyhow::Result<()> {
    let Some(args) = args()? else {
        println!("{USAGE}");
        return Ok(());
    };
    let one = match (&args.seed, &args.plan) {
        (Some(seed), _) => Some((args.kind)(*seed)),
        (_, Some(path)) => Some(serde_json::from_str(&std::fs::read_to_string(path)?)?),
        _ => None,
    };
    let name: Option<&'static str> = args.mutant.clone().map(|name| &*name.leak());
    match one {
        Some(plan) => with(name, || tell(&plan, args.raw)),
        None => many(&args, name),
    }
}

fn with<T>(mutant: Option<&'static str>, body: impl FnOnce() -> T) -> T {
    match mutant {
        Some(name) => mutant::with(name, body),
        None => body(),
    }
}

fn tell(plan: &Plan, raw: bool) -> anyhow::Result<()> {
    let outcome = run(plan, true);
    if outcome.problems.is_empty() || raw {
        println!("{}", report(plan, &outcome));
        println!("{} points, {} ms", outcome.points, outcome.virtual_ms);
        return Ok(());
    }
    let (plan, outcome) = shrink(plan);
    println!("{}", report(&plan, &outcome));
    bail!("the plan breaks a promise")
}

fn many(args: &Args, mutant: Option<&'static str>) -> anyhow::Result<()> {
    let next = AtomicU64::new(args.from);
    let end = args.from + args.seeds;
    let (failed, begun) = (Mutex::new(Vec::new()), Instant::now());
    let (acknowledged, virtual_ms) = (AtomicU64::new(0), AtomicU64::new(0));
    let (transactions, groups) = (
        Mutex::new(Counts::default()),
        Mutex::new(GroupCounts::default()),
    );
    let work = || {
        with(mutant, || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let full = failed.lock().is_ok_and(|f| f.len() >= FAILURES_MAX);
                if seed >= end || full {
                    return;
                }
                let outcome = run(&(args.kind)(seed), false);
                acknowledged.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
                virtual_ms.fetch_add(outcome.virtual_ms, Ordering::Relaxed);
                if let (Ok(mut t), Ok(mut g)) = (transactions.lock(), groups.lock()) {
                    *t += outcome.transactions;
                    *g += outcome.groups;
                }
                if let Some(first) = outcome.problems.first() {
                    println!("seed {seed}: {first}");
                    if let Ok(mut failed) = failed.lock() {
                        failed.push(seed);
                    }
                }
            }
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(work);
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let tried = next.load(Ordering::Relaxed).min(end) - args.from;
    println!(
        "{tried} seeds in {seconds:.1} s on {} threads: {:.1} seeds/s; {} hours of virtual time, {} records acknowledged",
        args.threads,
        tried as f64 / seconds,
        virtual_ms.load(Ordering::Relaxed) / 3_600_000,
        acknowledged.load(Ordering::Relaxed)
    );
    println!(
        "{:?}\n{:?}",
        transactions.into_inner().unwrap_or_default(),
        groups.into_inner().unwrap_or_default()
    );
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} seeds break a promise: {failed:?}; `sim --seed N` tells their story",
        failed.len()
    )
}
