//! Mutated frames leave the server as it was.
use std::time::Duration;

use anyhow::{Result, ensure};
use sh_testkit::torture::{
    check::Leases,
    frames,
    scene::{Cast, Scene},
    writer::Kind,
};

use super::{PAUSE, Stage, number, told};

/// What the heap may keep of bad times: pages that the allocator has not given back.
const GROWTH_MAX: u64 = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn mutated_frames_leave_the_server_serving_with_its_memory_where_it_was() -> Result<()> {
    let mut stage = Stage::set(7).await?;
    let mut agent = stage.agent("agent", &[])?;
    agent.start().await?;
    let (address, seeds) = (agent.address(), frames::seeds()?);
    let count = number("STREAMHOUSE_TEST_FRAMES", 20_000);
    // Pools, caches and buffers are as large as they get only after some use.
    frames::send(&address, &seeds, count / 4, &mut stage.chance).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = agent.resident_bytes()?;
    frames::send(&address, &seeds, count, &mut stage.chance).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = agent.resident_bytes()?;
    println!("{count} frames: {before} bytes resident before, {after} after");
    let cast = Cast {
        topic: "after",
        writers: vec![Kind::Idempotent, Kind::Leader],
    };
    let scene = Scene::begin(
        &[address],
        &[cast],
        &stage.flights,
        PAUSE,
        &mut stage.chance,
    )
    .await?;
    scene.progress(2_000, Duration::from_secs(30)).await?;
    let verdict = scene.end(Leases::Kept).await?;
    told("after mutated frames", &verdict);
    agent.kill()?;
    verdict.must_be_clean()?;
    ensure!(
        after < before + GROWTH_MAX,
        "{before} bytes resident before {count} frames, {after} after"
    );
    Ok(())
}
