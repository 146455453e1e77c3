//! Durations as people and Kafka's tools write them.
use std::time::Duration;

/// `1h30m`, `90s`, `250ms`, `2d`, or ISO 8601 as in `PT1H30M` and `P1DT12H`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let read = match text.strip_prefix(['P', 'p']) {
        Some(iso) => iso_parts(&iso.to_ascii_lowercase()),
        None => parts(text, &UNITS),
    };
    read.ok_or_else(|| {
        format!(
            "{text:?} is not a duration; write 90s, 1h30m, 2d, 250ms, or ISO 8601 as in PT1H30M"
        )
    })
}

/// Longer units come before those that they begin with.
const UNITS: [(&str, f64); 6] = [
    ("ms", 0.001),
    ("w", 604_800.0),
    ("d", 86_400.0),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

fn iso_parts(text: &str) -> Option<Duration> {
    let (days, time) = match text.split_once('t') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, Some(time)),
        None => (text, None),
    };
    let days = match days {
        "" if time.is_some() => Duration::ZERO,
        days => parts(days, &UNITS[1..3])?,
    };
    let time = time.map_or(Some(Duration::ZERO), |time| parts(time, &UNITS[3..]))?;
    days.checked_add(time)
}

/// Numbers with units, at least one, nothing else.
fn parts(text: &str, units: &[(&str, f64)]) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, seconds) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit.len()..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

/// 5_400_000 as `1h30m`; parts of a second only below a minute.
pub fn shown(ms: i64) -> String {
    let ms = ms.max(0);
    let seconds = ms / 1000;
    if seconds < 60 {
        return format!("{}.{:03}s", seconds, ms % 1000);
    }
    let amounts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said = amounts.iter().filter(|(amount, _)| *amount > 0);
    said.map(|(amount, unit)| format!("{amount}{unit}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_both_forms() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("2d", 172_800.0),
            ("1w", 604_800.0),
            ("250ms", 0.25),
            ("1.5h", 5400.0),
            ("PT1H30M", 5400.0),
            ("P1DT12H", 129_600.0),
            ("PT0.5S", 0.5),
            ("P2D", 172_800.0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "", "P", "PT", "5", "h", "1x", "P1H", "PT1D", "-1h", "1..5h", "1h 30m",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_short() {
        assert_eq!(shown(1_250), "1.250s");
        assert_eq!(shown(5_400_000), "1h30m");
        assert_eq!(shown(90_061_000), "1d1h1m1s");
    }
}
