//! Times as people and files write them.
use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Milliseconds since the epoch, from RFC 3339, `YYYY-MM-DD HH:MM:SS[.fff]` or `YYYY-MM-DD` (both UTC), or the
/// milliseconds themselves.
pub fn parse(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
        });
    naive.map(|time| time.and_utc().timestamp_millis()).ok_or_else(|| {
        format!(
            "{text:?} is not a time; write 2013-01-31T05:00:00Z, \"2013-01-31 05:00:00\" (UTC) or milliseconds since 1970"
        )
    })
}

/// Milliseconds since the epoch as RFC 3339; `-` where a record has none.
pub fn shown(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) if ms >= 0 => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_files_write_them() {
        for text in [
            "1357034400000",
            "2013-01-01T10:00:00Z",
            "2013-01-01T11:00:00+01:00",
            "2013-01-01 10:00:00",
            "2013-01-01T10:00:00.000",
        ] {
            assert_eq!(parse(text), Ok(1_357_034_400_000), "{text}");
        }
        assert_eq!(parse("1970-01-02"), Ok(86_400_000));
        assert!(parse("yesterday").unwrap_err().contains("yesterday"));
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown(1_357_034_400_007), "2013-01-01T10:00:00.007Z");
        assert_eq!(shown(-1), "-");
    }
}
