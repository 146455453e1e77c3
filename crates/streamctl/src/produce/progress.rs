//! A bar with the rate, while somebody watches.
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// Rows come faster than anybody can read.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Bytes of input: how many, of how many, how fast. Hidden unless standard error is a terminal and standard input is not.
pub struct Progress {
    bar: ProgressBar,
    shown: Instant,
}

impl Progress {
    pub fn new(bytes_total: Option<u64>) -> Progress {
        let shown = Instant::now();
        let nobody_watches = !std::io::stderr().is_terminal();
        if nobody_watches || (bytes_total.is_none() && std::io::stdin().is_terminal()) {
            let bar = ProgressBar::hidden();
            return Progress { bar, shown };
        }
        let bar = styled(bytes_total);
        Progress { bar, shown }
    }

    pub fn show(&mut self, bytes: u64, records: u64) {
        if self.shown.elapsed() >= SHOW_EVERY {
            self.shown = Instant::now();
            self.bar.set_message(output::records(records));
            self.bar.set_position(bytes);
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn styled(bytes_total: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes_total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:20} {bytes}/{total_bytes} {bytes_per_sec}, {msg}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {bytes_per_sec}, {msg}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
