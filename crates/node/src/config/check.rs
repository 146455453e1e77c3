//! Reading values, and refusing bad ones in Kafka's words (its `ConfigDef` and the validators of its `LogConfig`).
use std::collections::HashSet;

use super::{Definition, Kind};

/// Which values of its type a config may have.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// A share of one.
    Ratio,
    OneOf(&'static [&'static str]),
    /// A list of some of these.
    ListOf(&'static [&'static str]),
    /// 1 to 9, or -1 for the library's default.
    GzipLevel,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
}

/// Kafka's sentence about a bad value.
pub fn invalid(name: &str, value: &str, why: impl std::fmt::Display) -> String {
    format!("Invalid value {value} for configuration {name}: {why}")
}

/// The value in the one form of its type.
pub fn parse(def: &Definition, value: &str) -> Result<String, String> {
    let trimmed = value.trim();
    match def.kind {
        Kind::Boolean => boolean(trimmed)
            .map(str::to_owned)
            .ok_or_else(|| invalid(def.name, value, "Expected value to be either true or false")),
        Kind::Short => number::<i16>(def.name, value, "SHORT"),
        Kind::Int => number::<i32>(def.name, value, "INT"),
        Kind::Long => number::<i64>(def.name, value, "LONG"),
        Kind::Double => number::<f64>(def.name, value, "DOUBLE"),
        Kind::List => Ok(list(trimmed)),
        Kind::String | Kind::Class => Ok(trimmed.to_owned()),
        Kind::Password => Ok(value.to_owned()),
    }
}

/// A list in its one form: no blanks, and each element once, at its first place.
fn list(value: &str) -> String {
    let mut seen = HashSet::new();
    elements(value)
        .filter(|e| seen.insert(*e))
        .collect::<Vec<_>>()
        .join(",")
}

/// The elements of a list value.
pub fn elements(value: &str) -> impl Iterator<Item = &str> {
    let none = value.trim().is_empty();
    value.split(',').map(str::trim).filter(move |_| !none)
}

fn boolean(value: &str) -> Option<&'static str> {
    match value {
        v if v.eq_ignore_ascii_case("true") => Some("true"),
        v if v.eq_ignore_ascii_case("false") => Some("false"),
        _ => None,
    }
}

fn number<T: std::str::FromStr + ToString>(
    name: &str,
    value: &str,
    kind: &str,
) -> Result<String, String> {
    let parsed = value.trim().parse::<T>();
    parsed
        .map(|n| n.to_string())
        .map_err(|_| invalid(name, value, format_args!("Not a number of type {kind}")))
}

impl Check {
    /// Does a value that has the right type pass?
    pub fn holds(&self, name: &str, value: &str) -> Result<(), String> {
        match *self {
            Check::Any => Ok(()),
            Check::AtLeast(least) => in_range(name, value, least, i64::MAX),
            Check::Between(least, most) => in_range(name, value, least, most),
            Check::Ratio => ratio(name, value),
            Check::OneOf(allowed) => one_of(name, value, allowed),
            Check::ListOf(allowed) => elements(value).try_for_each(|e| one_of(name, e, allowed)),
            Check::GzipLevel => match value.parse() {
                Ok(-1 | 1..=9) => Ok(()),
                _ => Err(invalid(
                    name,
                    value,
                    "Value must be between 1 and 9 or equal to -1",
                )),
            },
            Check::ThrottledReplicas => throttled_replicas(name, value),
        }
    }
}

fn in_range(name: &str, value: &str, least: i64, most: i64) -> Result<(), String> {
    match value.parse::<i64>() {
        Ok(n) if n < least => Err(invalid(
            name,
            value,
            format_args!("Value must be at least {least}"),
        )),
        Ok(n) if n > most => Err(invalid(
            name,
            value,
            format_args!("Value must be no more than {most}"),
        )),
        _ => Ok(()),
    }
}

fn ratio(name: &str, value: &str) -> Result<(), String> {
    let shown = |n: f64| invalid_double(name, n);
    match value.parse::<f64>() {
        Ok(n) if n < 0.0 => Err(shown(n)("Value must be at least 0")),
        Ok(n) if n > 1.0 => Err(shown(n)("Value must be no more than 1")),
        _ => Ok(()),
    }
}

fn invalid_double(name: &str, n: f64) -> impl Fn(&str) -> String {
    move |why| invalid(name, &java_double(n), why)
}

/// A double as Java prints it: always with a fraction, and with an exponent from 10^7 on and below 10^-3.
pub fn java_double(n: f64) -> String {
    let size = n.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) && n.is_finite() {
        let text = format!("{n:E}");
        return match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        };
    }
    format!("{n:?}")
}

fn one_of(name: &str, value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(invalid(
        name,
        value,
        format_args!("String must be one of: {}", allowed.join(", ")),
    ))
}

fn throttled_replicas(name: &str, value: &str) -> Result<(), String> {
    let is_pair = |e: &str| {
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        e.split_once(':')
            .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
    };
    if value == "*" || elements(value).all(is_pair) {
        return Ok(());
    }
    let shown = elements(value).collect::<Vec<_>>().join(", ");
    Err(invalid(
        name,
        &format!("[{shown}]"),
        format_args!(
            "{name} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::topic;

    fn refused(name: &str, value: &str) -> String {
        topic::definition(name).unwrap().parse(value).unwrap_err()
    }

    #[test]
    fn bad_values_are_refused_in_kafkas_words() {
        let cases = [
            ("retention.ms", "-2", "Value must be at least -1"),
            ("retention.ms", "x", "Not a number of type LONG"),
            (
                "segment.bytes",
                "99999999999999",
                "Not a number of type INT",
            ),
            (
                "compression.zstd.level",
                "23",
                "Value must be no more than 22",
            ),
            (
                "preallocate",
                "1",
                "Expected value to be either true or false",
            ),
            (
                "cleanup.policy",
                "none",
                "String must be one of: compact, delete",
            ),
            (
                "compression.gzip.level",
                "0",
                "Value must be between 1 and 9 or equal to -1",
            ),
        ];
        for (name, value, why) in cases {
            assert_eq!(refused(name, value), invalid(name, value, why));
        }
        assert_eq!(
            refused("min.cleanable.dirty.ratio", "99999999999999"),
            "Invalid value 9.9999999999999E13 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        );
        assert!(
            refused("leader.replication.throttled.replicas", "0,1")
                .starts_with("Invalid value [0, 1] for")
        );
    }

    #[test]
    fn values_are_kept_in_one_form() {
        let parse = |name, value| topic::definition(name).unwrap().parse(value).unwrap();
        assert_eq!(parse("retention.ms", " 5 "), "5");
        assert_eq!(parse("preallocate", "TRUE"), "true");
        assert_eq!(
            parse("cleanup.policy", "compact , delete"),
            "compact,delete"
        );
        assert_eq!(
            parse("cleanup.policy", "delete,compact,delete"),
            "delete,compact"
        );
        assert_eq!(parse("cleanup.policy", ""), "");
        assert_eq!(
            parse("leader.replication.throttled.replicas", "0:1,1:2"),
            "0:1,1:2"
        );
        assert_eq!(java_double(0.5), "0.5");
        assert_eq!(java_double(1.0), "1.0");
    }
}
