//! What a run is measured with: phases, histograms, and what the generator itself costs.
use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Latencies in microseconds, to three digits, up to ten minutes.
pub type Latencies = Histogram<u64>;

pub fn latencies() -> Latencies {
    // The bounds are constants that the crate accepts.
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

pub fn note(histogram: &mut Latencies, took: Duration) {
    histogram.saturating_record((took.as_micros() as u64).max(1));
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What all threads of a run share.
pub struct Run {
    phase: AtomicU8,
    /// Why the run is not to be believed, from the first thread that found out.
    trouble: Mutex<Option<String>>,
    window: Mutex<Option<(Instant, Option<Instant>)>>,
    pub bytes: AtomicU64,
    pub records: AtomicU64,
    /// Counted from the first byte on, warm-up included.
    pub bytes_ever: AtomicU64,
    /// Error codes of answers, and how often each came.
    errors: Mutex<BTreeMap<i16, u64>>,
    /// There is nothing left to measure: all was read, or something went wrong.
    done: AtomicBool,
    /// All that was sent is answered.
    answered: AtomicBool,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            phase: AtomicU8::new(WARMING),
            trouble: Mutex::default(),
            window: Mutex::default(),
            bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            bytes_ever: AtomicU64::new(0),
            errors: Mutex::default(),
            done: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        }
    }
}

impl Run {
    pub fn measure(&self) {
        *self.window.lock() = Some((Instant::now(), None));
        self.phase.store(MEASURING, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.phase.store(OVER, Ordering::SeqCst);
        if let Some((_, end)) = self.window.lock().as_mut() {
            *end = Some(Instant::now());
        }
    }

    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }

    /// Something was done: counted if the run is in its measured part.
    pub fn count(&self, records: u64, bytes: u64) {
        self.bytes_ever.fetch_add(bytes, Ordering::Relaxed);
        if self.phase.load(Ordering::Relaxed) == MEASURING {
            self.records.fetch_add(records, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Is what was to begin at `intended` part of the measured time?
    pub fn covers(&self, intended: Instant) -> bool {
        match *self.window.lock() {
            Some((from, to)) => intended >= from && to.is_none_or(|to| intended < to),
            None => false,
        }
    }

    pub fn refused(&self, code: i16) {
        *self.errors.lock().entry(code).or_default() += 1;
    }

    pub fn errors(&self) -> BTreeMap<i16, u64> {
        self.errors.lock().clone()
    }

    pub fn blame(&self, why: String) {
        self.trouble.lock().get_or_insert(why);
        self.finish();
    }

    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    pub fn is_finished(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    pub fn all_answered(&self) {
        self.answered.store(true, Ordering::SeqCst);
    }

    pub fn is_all_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

/// What a thread has used: on the processor, and waiting for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    pub on_cpu: Duration,
    pub queueing: Duration,
}

impl Effort {
    /// Of this thread, so far.
    pub fn of_this_thread() -> Result<Effort> {
        let text = fs::read_to_string("/proc/thread-self/schedstat")
            .context("this kernel keeps no /proc/thread-self/schedstat")?;
        let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || -> Result<Duration> {
            Ok(Duration::from_nanos(
                fields.next().context("schedstat is short")??,
            ))
        };
        Ok(Effort {
            on_cpu: next()?,
            queueing: next()?,
        })
    }
}

/// What the load generator itself did.
#[derive(Clone, Debug, Default)]
pub struct Generator {
    /// Processor seconds of all its threads.
    pub cpu: Duration,
    /// The largest share of its time that one thread was at work or queueing for a processor.
    pub busiest: f64,
    /// How late it was with what it had planned, at the 99th percentile.
    pub late_p99: Duration,
}

/// A thread this busy cannot offer much more load.
const BUSY: f64 = 0.8;
/// Later than this with a planned request, latencies are the generator's.
const LATE: Duration = Duration::from_millis(2);

impl Generator {
    pub fn add(&mut self, effort: Effort, wall: Duration) {
        self.cpu += effort.on_cpu;
        let busy = (effort.on_cpu + effort.queueing).as_secs_f64() / wall.as_secs_f64().max(1e-9);
        self.busiest = self.busiest.max(busy);
    }

    /// What keeps the numbers of a run from being the server's alone; empty if nothing does.
    pub fn verdict(&self) -> String {
        if self.late_p99 > LATE {
            let late = self.late_p99.as_secs_f64() * 1e3;
            return format!("generator late by {late:.1} ms (p99)");
        }
        if self.busiest > BUSY {
            return format!("generator {:.0} % busy", self.busiest * 100.0);
        }
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_has_no_time_left_says_so() {
        let mut generator = Generator::default();
        let wall = Duration::from_secs(1);
        let effort = |ms| Effort {
            on_cpu: Duration::from_millis(ms),
            queueing: Duration::from_millis(100),
        };
        generator.add(effort(300), wall);
        assert_eq!(generator.verdict(), "");
        generator.add(effort(800), wall);
        assert_eq!(generator.verdict(), "generator 90 % busy");
    }

    #[test]
    fn only_what_was_intended_in_the_measured_time_counts() {
        let run = Run::default();
        let early = Instant::now();
        run.count(1, 10);
        run.measure();
        let within = Instant::now();
        run.count(1, 10);
        run.end();
        assert!(!run.covers(early) && run.covers(within) && !run.covers(Instant::now()));
        assert_eq!(run.bytes.load(Ordering::Relaxed), 10);
    }
}
