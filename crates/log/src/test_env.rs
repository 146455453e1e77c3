//! The world as unit tests see it: a wall clock that stands still, tokio's (pausable) time, and a counter for chance.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sh_base::{Clock, Env, Rng};

struct World {
    start: tokio::time::Instant,
    drawn: AtomicU64,
}

impl Clock for World {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }
    fn mono(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Rng for World {
    fn next_u64(&self) -> u64 {
        self.drawn
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

pub fn test_env() -> Env {
    let world = Arc::new(World {
        start: tokio::time::Instant::now(),
        drawn: AtomicU64::new(1),
    });
    Env {
        clock: world.clone(),
        rng: world,
    }
}
