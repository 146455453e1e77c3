//! The bucket and the database go away, stall and fail while the flights are written.
use std::time::Duration;

use anyhow::Result;
use sh_testkit::torture::{
    check::Leases,
    proxy::{Proxy, Weather},
    scene::Scene,
    services::{Minio, Postgres},
};
use tokio::time::sleep;

use super::{PAUSE, Stage, everybody, kills, told};

/// How long writers may stand after a store is back: its clients wait before they try again.
const RECOVERY_MAX: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_fails_in_every_way_loses_and_repeats_nothing() -> Result<()> {
    let mut stage = Stage::set(3).await?;
    let mut minio = Minio::start(&stage.folder.path().join("minio")).await?;
    let proxy = Proxy::before(&minio.address()).await?;
    let arguments = ["--bucket".to_owned(), minio.url(proxy.address())];
    let mut agent = stage.agent("agent", &arguments)?.env(&minio.credentials());
    agent.start().await?;
    let (addresses, mut chance) = ([agent.address()], stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(2_000, RECOVERY_MAX).await?;
    for round in 0..kills(8) {
        match round % 8 {
            0 => weather(&proxy, Weather::Unavailable, stage.chance.millis(200, 3000)).await,
            1 => minio.crash(stage.chance.millis(0, 2000)).await?,
            2 => weather(&proxy, Weather::Stalled, stage.chance.millis(200, 3000)).await,
            3 => minio.stall(stage.chance.millis(500, 3000)).await?,
            4 => weather(&proxy, Weather::AnswersLost, stage.chance.millis(200, 1500)).await,
            5 => {
                let slow = Weather::SlowPuts(Duration::from_millis(100));
                weather(&proxy, slow, Duration::from_secs(1)).await;
            }
            // Whatever was on its way arrives after the next life has begun.
            6 => {
                proxy.set(Weather::Stalled);
                sleep(stage.chance.millis(100, 500)).await;
                agent.kill()?;
                proxy.set(Weather::Clear);
                agent.start().await?;
            }
            _ => {
                proxy.set(Weather::AnswersLost);
                sleep(stage.chance.millis(50, 300)).await;
                agent.kill()?;
                proxy.set(Weather::Clear);
                agent.start().await?;
            }
        }
        scene.progress(500, RECOVERY_MAX).await?;
    }
    let verdict = scene.end(Leases::Kept).await?;
    told("bucket", &verdict);
    agent.kill()?;
    verdict.must_be_clean()
}

async fn weather(proxy: &Proxy, weather: Weather, lasting: Duration) {
    proxy.set(weather);
    sleep(lasting).await;
    proxy.set(Weather::Clear);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_and_crashes_loses_and_repeats_nothing() -> Result<()> {
    let mut stage = Stage::set(4).await?;
    let postgres = Postgres::of_environment()?;
    let arguments = ["--metadata".to_owned(), postgres.database("crash")?];
    let mut agent = stage.agent("agent", &arguments)?;
    agent.start().await?;
    let (addresses, mut chance) = ([agent.address()], stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(2_000, RECOVERY_MAX).await?;
    for round in 0..kills(6) {
        match round % 4 {
            0 => postgres.control("restart").await?,
            1 => postgres.control("crash").await?,
            2 => {
                postgres.control("stop").await?;
                agent.kill()?;
                agent.spawn()?;
                sleep(stage.chance.millis(100, 2000)).await;
                postgres.control("start").await?;
                agent.ready().await?;
            }
            _ => {
                postgres.control("stop").await?;
                sleep(stage.chance.millis(500, 4000)).await;
                postgres.control("start").await?;
            }
        }
        scene.progress(500, RECOVERY_MAX).await?;
    }
    let verdict = scene.end(Leases::Kept).await?;
    told("database", &verdict);
    agent.kill()?;
    verdict.must_be_clean()
}
