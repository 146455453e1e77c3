//! The world as it is: the system's clocks and its random numbers.
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sh_base::{Clock, Env, Rng};

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
    fn mono(&self) -> Duration {
        self.start.elapsed()
    }
}

struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        // Without random numbers two agents could take one name: better no server.
        getrandom::u64().expect("the operating system gives no random numbers")
    }
}

/// Bytes that nobody can guess.
pub fn secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives no random numbers");
    bytes
}

/// The environment of a server.
pub fn env() -> Env {
    Env {
        clock: Arc::new(SystemClock {
            start: Instant::now(),
        }),
        rng: Arc::new(SystemRng),
    }
}
