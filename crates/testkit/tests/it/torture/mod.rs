//! The server under fire. One run at a time: each wants the machine for itself.
mod absent;
mod crash;
mod frames;
mod groups;
mod pair;
mod peers;
mod stores;

use std::{str::FromStr, sync::Arc, time::Duration};

use anyhow::Result;
pub use sh_testkit::torture::endurance::everybody;
use sh_testkit::torture::{
    agent::Agent,
    chance::Chance,
    flights::{self, Flight},
    scene::Verdict,
    services::binary,
};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::const_new(());

/// What every run needs.
struct Stage {
    folder: TempDir,
    flights: Arc<[Flight]>,
    chance: Chance,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    async fn set(seed: u64) -> Result<Stage> {
        let seed = number("STREAMHOUSE_TEST_SEED", seed);
        let mut folder = TempDir::new()?;
        println!(
            "seed {seed} (STREAMHOUSE_TEST_SEED), in {}",
            folder.path().display()
        );
        folder.disable_cleanup(number("STREAMHOUSE_TEST_KEEP", false));
        Ok(Stage {
            _alone: ALONE.lock().await,
            folder,
            flights: flights::load()?,
            chance: Chance::new(seed),
        })
    }

    /// An agent with a folder of its own.
    fn agent(&self, name: &str, arguments: &[String]) -> Result<Agent> {
        Agent::new(&binary()?, &self.folder.path().join(name), arguments)
    }
}

/// A number that a longer run sets in the environment.
fn number<T: FromStr>(variable: &str, default: T) -> T {
    let set = std::env::var(variable).ok().map(|text| text.parse());
    set.and_then(Result::ok).unwrap_or(default)
}

/// How many kills: few in every change's run, 50 when somebody asks.
fn kills(default: usize) -> usize {
    number("STREAMHOUSE_TEST_KILLS", default)
}

/// A pause between requests that leaves the servers some processor time.
const PAUSE: Duration = Duration::from_millis(10);

fn told(name: &str, verdict: &Verdict) {
    let Verdict {
        acknowledged,
        batches,
        read,
        seen,
        anomalies,
    } = verdict;
    println!(
        "{name}: {acknowledged} records acknowledged in {batches} batches, {read} read back, {seen} seen meanwhile, {} anomalies",
        anomalies.len()
    );
}
