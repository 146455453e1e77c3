//! `kill -9` while the flights are written: SQLite and a folder.
use std::time::{Duration, Instant};

use anyhow::Result;
use sh_testkit::torture::{check::Leases, scene::Scene};

use super::{PAUSE, Stage, everybody, kills, number, told};

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_lose_and_repeat_nothing() -> Result<()> {
    let mut stage = Stage::set(1).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let (addresses, mut chance) = ([agent.address()], stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(5_000, Duration::from_secs(30)).await?;
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let kills = kills(15);
    for _ in 0..kills {
        // Some kills come while the server is still busy with its start.
        tokio::time::sleep(stage.chance.millis(0, 1500)).await;
        agent.kill()?;
        let down = Instant::now();
        agent.spawn()?;
        if stage.chance.below(5) == 0 {
            tokio::time::sleep(stage.chance.millis(0, 300)).await;
            agent.kill()?;
            agent.spawn()?;
        }
        agent.ready().await?;
        slowest = slowest.max(down.elapsed());
        scene.progress(1, Duration::from_secs(30)).await?;
    }
    println!(
        "{kills} kills in {:?}, back after at most {slowest:?}",
        started.elapsed()
    );
    let at_least = number("STREAMHOUSE_TEST_RECORDS", 20_000);
    scene.reach(at_least, Duration::from_secs(600)).await?;
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
        scene.progress(3_000, Duration::from_secs(30)).await?;
        let status = agent.drain().await?;
        anyhow::ensure!(
            status.success(),
            "drained with {status}:\n{}",
            agent.log_tail()
        );
        agent.start().await?;
    }
    scene.progress(1_000, Duration::from_secs(30)).await?;
    let verdict = scene.end(Leases::Kept).await?;
    told("SIGTERM", &verdict);
    verdict.must_be_clean()
}
