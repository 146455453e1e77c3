//! Pauses between attempts: doubling, and scattered so that those who failed together do not come back together.
use std::time::Duration;

use sh_base::Env;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff(FIRST)
    }

    /// The next pause: between half of the current length and all of it.
    pub(crate) fn next(&mut self, env: &Env) -> Duration {
        let half = self.0 / 2;
        self.0 = (self.0 * 2).min(LONGEST);
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(env.next_u64() % micros)
    }
}
