//! Clocks and chance for the tests.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sh_base::{Clock, Env, Rng};

/// Time as tokio tells it, so that a paused test moves both together; chance from a counter and the process id.
struct World {
    started: tokio::time::Instant,
    draws: AtomicU64,
}

impl Clock for World {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + self.mono().as_millis() as i64
    }
    fn mono(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Rng for World {
    fn next_u64(&self) -> u64 {
        let n = self.draws.fetch_add(1, Ordering::Relaxed) + 1;
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ u64::from(std::process::id()).wrapping_mul(0xff51_afd7_ed55_8ccd)
    }
}

/// An environment of its own for each test; call it inside the runtime.
pub fn env() -> Env {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let draws = WORLDS.fetch_add(1 << 32, Ordering::Relaxed).into();
    let world = Arc::new(World {
        started: tokio::time::Instant::now(),
        draws,
    });
    Env {
        clock: world.clone(),
        rng: world,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests against real servers are bounded in real time"
)]
pub fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}
