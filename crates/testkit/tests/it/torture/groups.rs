//! Consumer groups and transactions while servers are killed.
use std::time::Duration;

use anyhow::Result;
use sh_testkit::torture::{
    agent::Agent,
    check::Leases,
    churn::{self, Size},
    copying::{Copiers, QUICK_GROUPS, copyings},
    endurance::Place,
    scene::{Cast, Scene},
    watch::Watch,
    writer::Kind,
};
use tokio::time::sleep;

use super::{Stage, kills, pair::Pair, told};

/// How long writers, and groups that copy what they write, may need to get on: a session and a transaction that time out.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pause between the writer's requests: everything that it writes is copied three times.
const PAUSE: Duration = Duration::from_millis(100);

fn settings() -> Vec<String> {
    let flag = |setting: &str| ["--set".to_owned(), setting.to_owned()];
    QUICK_GROUPS.into_iter().flat_map(flag).collect()
}

/// Kills agents while copiers copy in transactions what a writer writes.
async fn copies_under_kills(stage: &mut Stage, agents: &mut [Agent], leases: Leases) -> Result<()> {
    let addresses: Vec<String> = agents.iter().map(Agent::address).collect();
    let bootstrap = addresses.join(",");
    let mut chance = stage.chance.fork();
    let cast = Cast {
        topic: "durable",
        writers: vec![Kind::Idempotent],
    };
    let scene = Scene::begin(&addresses, &[cast], &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(500, PATIENCE).await?;
    let copiers = Copiers::begin(&bootstrap, &copyings(), &mut chance).await?;
    let watch = Watch::start(&bootstrap, copiers.names());
    copiers.progress(PATIENCE).await?;
    for _ in 0..kills(5) {
        sleep(chance.millis(0, 2_000)).await;
        let victim = chance.below(agents.len());
        agents[victim].kill()?;
        sleep(chance.millis(0, 1_000)).await;
        agents[victim].start().await?;
        scene.progress(100, PATIENCE).await?;
        copiers.progress(PATIENCE).await?;
    }
    let verdict = scene.end(leases).await?;
    let copies = copiers.end().await?;
    let watched = watch.stop().await?;
    told("originals", &verdict);
    println!(
        "copies: {} records in {} transactions, {} aborted, {} of unknown end, caught up in {:?}; offsets were looked at {} times; copiers began anew after {:?}",
        copies.copied,
        copies.committed,
        copies.aborted,
        copies.unknown,
        copies.caught_up,
        watched.looks,
        copies.ends
    );
    verdict.must_be_clean()?;
    watched.must_be_clean()?;
    copies.must_be_clean()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_in_transactions_are_exact_though_the_server_is_killed() -> Result<()> {
    let mut stage = Stage::set(9).await?;
    let mut agent = stage.agent("agent", &settings())?;
    agent.start().await?;
    copies_under_kills(&mut stage, &mut [agent], Leases::Kept).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_in_transactions_are_exact_though_either_agent_is_killed() -> Result<()> {
    let mut stage = Stage::set(10).await?;
    let mut pair = Pair::start_with(&stage, &settings()).await?;
    copies_under_kills(&mut stage, &mut pair.agents, Leases::MayBeLost).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_group_is_stuck_after_churn_and_kills() -> Result<()> {
    let mut stage = Stage::set(11).await?;
    let size = Size {
        groups: 10,
        lasting: Duration::from_secs(30),
        between_kills: Duration::from_secs(12),
    };
    let chance = stage.chance.fork();
    let report = churn::run(Place::Bare, stage.folder.path(), size, chance).await?;
    println!("{}", report.summary());
    report.must_be_clean()
}
