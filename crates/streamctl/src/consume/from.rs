//! Where reading begins.
use std::str::FromStr;

use sh_client::{Admin, OffsetSpec};

use crate::{failure::Failure, offsets::Bounds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Beginning,
    End,
    Offset(i64),
    /// So many before the end.
    Last(i64),
    /// The first at or after these milliseconds since the epoch.
    Time(i64),
}

impl FromStr for From {
    type Err = String;
    fn from_str(text: &str) -> Result<From, String> {
        match (text, text.parse::<i64>()) {
            ("beginning", _) => Ok(From::Beginning),
            ("end", _) => Ok(From::End),
            (_, Ok(offset)) if offset >= 0 => Ok(From::Offset(offset)),
            (_, Ok(last)) if last > i64::MIN => Ok(From::Last(-last)),
            _ => Err(
                "write beginning, end, an offset, or -N for the last N; a time goes to --from-time"
                    .to_owned(),
            ),
        }
    }
}

impl From {
    /// The offset to begin with in a partition that has these bounds. A time after the last record is the end.
    pub async fn offset(self, admin: &Admin, topic: &str, bounds: Bounds) -> Result<i64, Failure> {
        let Bounds {
            partition,
            earliest,
            latest,
        } = bounds;
        match self {
            From::Beginning => Ok(earliest),
            From::End => Ok(latest),
            From::Last(count) => Ok(latest.saturating_sub(count).max(earliest)),
            From::Offset(offset) if (earliest..=latest).contains(&offset) => Ok(offset),
            From::Offset(offset) => Err(Failure::failed(format!(
                "{topic} partition {partition} has offsets {earliest} to {latest}, not {offset}; name the partition with --partition, or begin elsewhere"
            ))),
            From::Time(time) => {
                let found = admin
                    .list_offset(topic, partition, OffsetSpec::AtOrAfter(time))
                    .await?;
                Ok(found.map_or(latest, |(offset, _)| offset))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_offsets_and_counts_from_the_end() {
        assert_eq!("beginning".parse(), Ok(From::Beginning));
        assert_eq!("0".parse(), Ok(From::Offset(0)));
        assert_eq!("-5".parse(), Ok(From::Last(5)));
        assert!(
            "2013-01-01"
                .parse::<From>()
                .unwrap_err()
                .contains("--from-time")
        );
    }
}
