//! `kill -9` while the flights are written: SQLite and a folder.
use std::time::{Duration, Instant};

use anyhow::Result;
use sh_testkit::torture::{check::Leases, scene::Scene};

use super::{PAUSE, Stage, everybody, kills, number, told};

/// How long writers may need to get on.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_and_repeat_nothing() -> Result<()> {
    let mut stage = Stage::set(1).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let (addresses, mut chance) = ([agent.address()], stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(1, PATIENCE).await?;
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let kills = kills(15);
    // All flights by each of the six writers are 2,020,656 records.
    let records = number("STREAMHOUSE_TEST_RECORDS", 60_000);
    for _ in 0..kills {
        let until = stage.chance.below(2 * records / kills) as u64;
        scene.progress(until, PATIENCE).await?;
        tokio::time::sleep(stage.chance.millis(0, 300)).await;
        agent.kill()?;
        let down = Instant::now();
        agent.spawn()?;
        // Some kills come while the server is still busy with its start.
        if stage.chance.below(5) == 0 {
            tokio::time::sleep(stage.chance.millis(0, 300)).await;
            agent.kill()?;
            agent.spawn()?;
        }
        agent.ready().await?;
        slowest = slowest.max(down.elapsed());
        scene.progress(1, PATIENCE).await?;
    }
    println!(
        "{kills} kills in {:?}, back after at most {slowest:?}",
        started.elapsed()
    );
    scene.reach(records as u64, PATIENCE).await?;
    let verdict = scene.end(Leases::Kept).await?;
    told("kill -9", &verdict);
    agent.kill()?;
    verdict.must_be_clean()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_server_comes_back_with_everything() -> Result<()> {
    let mut stage = Stage::set(2).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let (addresses, mut chance) = ([agent.address()], stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    for _ in 0..2 {
        scene.progress(3_000, PATIENCE).await?;
        let status = agent.drain().await?;
        anyhow::ensure!(
            status.success(),
            "drained with {status}:\n{}",
            agent.log_tail()
        );
        agent.start().await?;
    }
    scene.progress(1_000, PATIENCE).await?;
    let verdict = scene.end(Leases::Kept).await?;
    told("SIGTERM", &verdict);
    verdict.must_be_clean()
}
