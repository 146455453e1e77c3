//! Two agents on one database and one bucket, both written to and read from.
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use sh_testkit::torture::{
    agent::Agent,
    check::Leases,
    scene::{Cast, Scene},
    services::{Minio, Postgres},
    writer::Kind,
};
use tokio::time::sleep;

use super::{PAUSE, Stage, everybody, kills, told};

/// A partition of a dead holder is written again after the lease's life, at the latest.
const TAKE_OVER_MAX: Duration = Duration::from_secs(45);

pub struct Pair {
    pub agents: [Agent; 2],
    _minio: Minio,
}

impl Pair {
    pub async fn start(stage: &Stage) -> Result<Pair> {
        Pair::start_with(stage, &[]).await
    }
    /// With these arguments beside those that make them a pair.
    pub async fn start_with(stage: &Stage, more: &[String]) -> Result<Pair> {
        let minio = Minio::start(&stage.folder.path().join("minio")).await?;
        let mut arguments = vec![
            "--bucket".to_owned(),
            minio.url(&minio.address()),
            "--metadata".to_owned(),
            Postgres::of_environment()?.database("pair")?,
        ];
        arguments.extend_from_slice(more);
        let agent = |name| anyhow::Ok(stage.agent(name, &arguments)?.env(&minio.credentials()));
        let mut agents: [Agent; 2] = [agent("a")?, agent("b")?];
        for agent in &mut agents {
            agent.start().await?;
        }
        Ok(Pair {
            agents,
            _minio: minio,
        })
    }
    fn addresses(&self) -> [String; 2] {
        self.agents.each_ref().map(Agent::address)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_either_agent_lose_and_repeat_nothing() -> Result<()> {
    let mut stage = Stage::set(5).await?;
    let mut pair = Pair::start(&stage).await?;
    let (addresses, mut chance) = (pair.addresses(), stage.chance.fork());
    let scene = Scene::begin(&addresses, &everybody(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(2_000, TAKE_OVER_MAX).await?;
    for _ in 0..kills(8) {
        sleep(stage.chance.millis(0, 1500)).await;
        let victim = &mut pair.agents[stage.chance.below(2)];
        victim.kill()?;
        sleep(stage.chance.millis(0, 1500)).await;
        victim.start().await?;
        scene.progress(500, TAKE_OVER_MAX).await?;
    }
    let verdict = scene.end(Leases::MayBeLost).await?;
    told("pair", &verdict);
    verdict.must_be_clean()
}

/// acks=1 on the same partitions through both agents: the lease goes from hand to hand, or to nobody.
fn rivals() -> [Cast; 1] {
    let writers = vec![
        Kind::Leader,
        Kind::Leader,
        Kind::Mixed,
        Kind::Mixed,
        Kind::Idempotent,
    ];
    [Cast {
        topic: "rivals",
        writers,
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_handed_over_and_taken_over_without_loss() -> Result<()> {
    let mut stage = Stage::set(6).await?;
    let pair = Pair::start(&stage).await?;
    let (addresses, mut chance) = (pair.addresses(), stage.chance.fork());
    let scene = Scene::begin(&addresses, &rivals(), &stage.flights, PAUSE, &mut chance).await?;
    scene.progress(10_000, TAKE_OVER_MAX).await?;
    for round in 0..kills(3) {
        let stopped = &pair.agents[round % 2];
        stopped.pause()?;
        // The other one must go on, once the lease's life is over.
        let alone = scene.progress(2_000, TAKE_OVER_MAX).await;
        sleep(stage.chance.millis(0, 2000)).await;
        stopped.resume()?;
        alone?;
        scene.progress(2_000, TAKE_OVER_MAX).await?;
    }
    let verdict = scene.end(Leases::MayBeLost).await?;
    told("leases", &verdict);
    verdict.must_be_clean()
}

/// One acks=1 writer, so that the leases stay where it writes until their holder is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_leases_of_a_holder_that_is_gone_are_taken_over_after_their_life() -> Result<()> {
    let mut stage = Stage::set(8).await?;
    let mut pair = Pair::start(&stage).await?;
    let (addresses, mut chance) = (pair.addresses(), stage.chance.fork());
    let cast = Cast {
        topic: "alone",
        writers: vec![Kind::Leader],
    };
    let scene = Scene::begin(&addresses, &[cast], &stage.flights, PAUSE, &mut chance).await?;
    for round in 0..kills(2) {
        let [holder, other] = &mut pair.agents;
        // The taker takes no lease for itself before its pause is over; then it is the holder of the next round.
        until_leased(&scene, holder).await?;
        let takes = other.log_lines("taking over the lease")?;
        match round % 2 {
            0 => holder.pause()?,
            _ => holder.kill()?,
        }
        let alone = scene.progress(2_000, TAKE_OVER_MAX).await;
        match round % 2 {
            0 => holder.resume()?,
            _ => holder.start().await?,
        }
        alone?;
        ensure!(
            other.log_lines("taking over the lease")? > takes,
            "nothing was taken over"
        );
        pair.agents.swap(0, 1);
    }
    scene.progress(2_000, TAKE_OVER_MAX).await?;
    let verdict = scene.end(Leases::MayBeLost).await?;
    told("take-over", &verdict);
    verdict.must_be_clean()
}

/// Until this agent answers acks=1 from its WAL, as only a holder does.
async fn until_leased(scene: &Scene, agent: &Agent) -> Result<()> {
    const WALLED: &str = "streamhouse_wal_records_total";
    let before = agent.metric(WALLED, "").await?;
    for _ in 0..60 {
        scene.progress(500, TAKE_OVER_MAX).await?;
        if agent.metric(WALLED, "").await? > before {
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
    bail!("the agent takes no leases")
}
