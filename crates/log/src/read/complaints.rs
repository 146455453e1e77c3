//! What is said of reads that fail.
use std::time::Duration;

use parking_lot::Mutex;
use sh_base::{Env, Failure, TopicPartition};

/// Consumers ask again twice a second: between two lines of the log there is at least this.
const QUIET: Duration = Duration::from_secs(10);

/// **A read that fails is told to who runs the server, too**: clients try again in silence.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// Before this nothing more is said.
    next: Duration,
    /// Failures since the last line.
    untold: u64,
}

impl Complaints {
    pub fn of(&self, env: &Env, partition: TopicPartition, offset: i64, failure: &Failure) {
        metrics::counter!("streamhouse_read_failures_total").increment(1);
        if let Some(others) = self.may_tell(env.mono()) {
            let TopicPartition { topic, partition } = partition;
            let error = &failure.message;
            tracing::warn!(%topic, %partition, offset, %error, others, "records could not be read");
        }
    }

    /// How many were not told before this one; `None` if it is not told either.
    fn may_tell(&self, now: Duration) -> Option<u64> {
        let mut told = self.0.lock();
        if now < told.next {
            told.untold += 1;
            return None;
        }
        told.next = now + QUIET;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_now_and_then_with_how_often_it_was() {
        let complaints = Complaints::default();
        let seconds = Duration::from_secs;
        assert_eq!(complaints.may_tell(seconds(1)), Some(0));
        assert_eq!(complaints.may_tell(seconds(2)), None);
        assert_eq!(complaints.may_tell(seconds(10)), None);
        assert_eq!(complaints.may_tell(seconds(11)), Some(2));
        assert_eq!(complaints.may_tell(seconds(12)), None);
    }
}
