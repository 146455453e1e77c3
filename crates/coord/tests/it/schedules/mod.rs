//! Random schedules: members of both protocols join, sync, heartbeat, commit, leave, fall silent and change their protocol;
//! changes are stored late; coordinators are taken over at any moment. Whatever happens, the rules hold, and once the faults
//! stop, all settles. A schedule follows from a number, and one that fails is made shorter before it is shown.
mod client;
mod mutants;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sh_base::{PartitionIndex, Rng};

use crate::driver::Seeded;
use world::World;

/// How many members a group may have at once.
const CLIENTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A member takes its next step.
    Act(usize),
    /// A member is gone without a word; another life of it may come.
    Crash(usize),
    Leave(usize),
    /// A member leaves, and comes back with the other protocol.
    Switch(usize),
    Commit(usize),
    PassMs(u64),
    /// What is on its way to the store is stored.
    Store,
    TakeOver,
    /// Topic `t` has so many partitions from now on (never fewer).
    Grow(PartitionIndex),
    /// A topic comes that only a pattern names.
    NewTopic,
}

/// Which protocols the members begin with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    Classic,
    New,
    /// Both; and they change.
    Both,
}

/// Draws numbers below a bound.
struct Dice(Seeded);

impl Dice {
    fn of(seed: u64) -> Dice {
        let start = seed.wrapping_mul(0x2545_f491_4f6c_dd1d).into();
        Dice(Seeded(start))
    }
    fn below(&self, bound: u64) -> u64 {
        (self.0.next_u64() >> 16) % bound
    }
}

fn schedule(seed: u64, mix: Mix) -> Vec<Step> {
    let dice = Dice::of(seed);
    let count = 1 + dice.below(140);
    (0..count).map(|_| step(&dice, mix)).collect()
}

fn step(dice: &Dice, mix: Mix) -> Step {
    let who = dice.below(CLIENTS as u64) as usize;
    match dice.below(34) {
        0..13 => Step::Act(who),
        13 => Step::Crash(who),
        14 => Step::Leave(who),
        15 | 16 if mix == Mix::Both => Step::Switch(who),
        15..20 => Step::PassMs(match dice.below(6) {
            0..3 => dice.below(500),
            3 | 4 => dice.below(20_000),
            _ => 70_000,
        }),
        20..28 => Step::Store,
        28 => Step::TakeOver,
        29 => Step::Grow(1 + dice.below(7) as PartitionIndex),
        30 => Step::NewTopic,
        _ => Step::Commit(who),
    }
}

/// Runs a schedule; the complaint of the first rule that is broken.
fn run(seed: u64, mix: Mix, steps: &[Step]) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, mix);
        for step in steps {
            world.step(*step)?;
        }
        world.epilogue()
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "panicked".to_owned()))
    })
}

/// Leaves out what is not needed to fail.
fn shrink(seed: u64, mix: Mix, mut steps: Vec<Step>) -> Vec<Step> {
    let mut part = steps.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + part).min(fewer.len()));
            match run(seed, mix, &fewer) {
                Err(_) => steps = fewer,
                Ok(()) => at += part,
            }
        }
        part /= 2;
    }
    steps
}

fn check(seed: u64, mix: Mix) {
    let steps = schedule(seed, mix);
    if run(seed, mix, &steps).is_err() {
        let steps = shrink(seed, mix, steps);
        let complaint = run(seed, mix, &steps).err().unwrap_or_default();
        panic!("seed {seed}, {mix:?}: {complaint}\n{steps:?}");
    }
}

/// Seeds that failed once. 128: a static member comes back to a group that a take-over has set back.
const FAILED_ONCE: &[(u64, Mix)] = &[(128, Mix::Classic)];

#[test]
fn a_group_of_the_classic_protocol_keeps_the_rules_in_every_schedule() {
    (0..120).for_each(|seed| check(seed, Mix::Classic));
}

#[test]
fn a_group_of_the_new_protocol_keeps_the_rules_in_every_schedule() {
    (0..120).for_each(|seed| check(seed, Mix::New));
}

#[test]
fn a_group_whose_members_change_their_protocol_keeps_the_rules_in_every_schedule() {
    (0..160).for_each(|seed| check(seed, Mix::Both));
}

#[test]
fn schedules_that_failed_once_keep_the_rules() {
    FAILED_ONCE
        .iter()
        .for_each(|(seed, mix)| check(*seed, *mix));
}
