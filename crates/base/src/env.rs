//! Time, chance and ids are handed in, so that a simulation can replay a run byte for byte.
use std::{fmt, sync::Arc, time::Duration};

/// Two clocks. They never mix: the wall clock may jump, the monotonic one may not.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the operating system believes. For timestamps in records and rows only.
    fn wall_ms(&self) -> i64;
    /// Time since some fixed moment of this process. For every span, timeout and grace period.
    fn mono(&self) -> Duration;
}

/// A source of random bits. Not for secrets.
pub trait Rng: Send + Sync + 'static {
    fn next_u64(&self) -> u64;
}

/// What a room may know of the world beside its seams.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

impl Env {
    pub fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
    pub fn mono(&self) -> Duration {
        self.clock.mono()
    }
    pub fn next_u64(&self) -> u64 {
        self.rng.next_u64()
    }
    /// A random (version 4) UUID drawn from this environment.
    pub fn uuid(&self) -> uuid::Uuid {
        let bytes = (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}
