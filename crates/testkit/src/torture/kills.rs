//! Any program against a server that is killed again and again.
use std::{
    path::Path,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::time::{interval_at, sleep};

use super::{agent::Agent, services::binary};

/// Variables that tell the program where the server is: ours, and that of franz-go's tests.
const BOOTSTRAP: [&str; 2] = ["STREAMHOUSE_BOOTSTRAP", "KGO_SEEDS"];

/// How a program did.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub kills: usize,
    /// The slowest start after a kill.
    pub slowest_start: Duration,
}

/// Runs a program beside a server of its own under `folder`, which is killed and started again after every `pause`.
pub async fn run(folder: &Path, pause: Duration, program: &[String]) -> Result<Outcome> {
    let Some((name, arguments)) = program.split_first() else {
        bail!("no program to run");
    };
    let mut agent = Agent::new(&binary()?, folder, &[])?;
    agent.start().await?;
    let address = agent.address();
    let mut process = Command::new(name)
        .args(arguments)
        .envs(BOOTSTRAP.map(|variable| (variable, &address)))
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let (mut kills, mut slowest_start) = (0, Duration::ZERO);
    let mut next = interval_at(tokio::time::Instant::now() + pause, pause);
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Outcome {
                status,
                kills,
                slowest_start,
            });
        }
        tokio::select! {
            () = sleep(Duration::from_millis(100)) => {}
            _ = next.tick() => {
                let killed = Instant::now();
                let restarted = async {
                    agent.kill()?;
                    agent.start().await
                };
                if let Err(error) = restarted.await {
                    process.kill()?;
                    process.wait()?;
                    return Err(error);
                }
                kills += 1;
                slowest_start = slowest_start.max(killed.elapsed());
            }
        }
    }
}
