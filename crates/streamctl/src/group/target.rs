//! Where a group is moved to.
use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{duration, timestamp};

#[derive(Args)]
#[group(required = true, multiple = false, id = "to")]
pub struct TargetArgs {
    /// To the first record of each partition
    #[arg(long)]
    to_earliest: bool,
    /// To the end of each partition
    #[arg(long)]
    to_latest: bool,
    /// To where the group is: with --to-file, a copy of its offsets
    #[arg(long)]
    to_current: bool,
    /// To this offset in each partition, or the nearest that the log has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record at or after this time (RFC 3339, or ms since 1970)
    #[arg(long, visible_alias = "to-datetime", value_name = "TIMESTAMP", value_parser = timestamp::parse)]
    to_time: Option<i64>,
    /// To the first record that is not older than this (1h30m, PT1H30M)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    by_duration: Option<Duration>,
    /// By so many records: forward, or back if negative; not past the ends of the log
    #[arg(
        long,
        visible_alias = "shift",
        value_name = "N",
        allow_negative_numbers = true
    )]
    shift_by: Option<i64>,
    /// To the offsets of a file (CSV: topic, partition, offset; or group, topic, partition, offset)
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

/// As [`TargetArgs`], one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    /// Milliseconds since the epoch.
    Time(i64),
    Shift(i64),
    File(PathBuf),
}

impl TargetArgs {
    /// `now`: milliseconds since the epoch.
    pub fn target(self, now: i64) -> Target {
        let ago =
            |d: Duration| now.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        let said = [
            self.to_latest.then_some(Target::Latest),
            self.to_current.then_some(Target::Current),
            self.to_offset.map(Target::Offset),
            self.to_time.map(Target::Time),
            self.by_duration.map(|d| Target::Time(ago(d))),
            self.shift_by.map(Target::Shift),
            self.from_file.map(Target::File),
        ];
        said.into_iter()
            .flatten()
            .next()
            .unwrap_or(Target::Earliest)
    }
}
