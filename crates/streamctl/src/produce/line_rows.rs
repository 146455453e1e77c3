//! Rows that are lines: plain ones and JSON.
use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use serde_json::Value;

use super::{
    Shape,
    row::{Row, Rows},
};
use crate::{failure::Failure, timestamp};

/// Every line is a value, byte for byte, without its line feed.
pub fn line_rows(source: impl Read + 'static, shape: &Shape) -> Rows {
    let separator = shape.key_separator.clone();
    let lines = BufReader::new(source).split(b'\n');
    Box::new(lines.map(move |line| Ok(plain(line?.into(), separator.as_deref()))))
}

fn plain(line: Bytes, separator: Option<&str>) -> Row {
    let split = separator.and_then(|s| {
        Some((
            line.windows(s.len()).position(|w| w == s.as_bytes())?,
            s.len(),
        ))
    });
    match split {
        Some((at, length)) => Row {
            key: Some(line.slice(..at)),
            value: Some(line.slice(at + length..)),
            timestamp: None,
        },
        None => Row {
            value: Some(line),
            ..Row::default()
        },
    }
}

/// Every line is a JSON value and becomes the record's value as it stands; empty lines are left out.
pub fn json_rows(source: impl Read + 'static, shape: &Shape) -> Rows {
    let (key, timestamp) = (shape.key.clone(), shape.timestamp.clone());
    let lines = (1..).zip(BufReader::new(source).split(b'\n'));
    let rows = lines.map(move |(number, line)| {
        let line = line?;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let row = json(line, key.as_deref(), timestamp.as_deref());
        row.map(Some)
            .map_err(|problem: String| Failure::failed(format!("line {number}: {problem}")))
    });
    Box::new(rows.filter_map(Result::transpose))
}

fn json(line: Vec<u8>, key: Option<&str>, timestamp: Option<&str>) -> Result<Row, String> {
    let value: Value = serde_json::from_slice(&line).map_err(|e| format!("is not JSON: {e}"))?;
    let key = key
        .map(|field| key_of(find(&value, field)?, field))
        .transpose()?
        .flatten();
    let timestamp = timestamp
        .map(|field| time_of(find(&value, field)?))
        .transpose()?;
    Ok(Row {
        key,
        value: Some(line.into()),
        timestamp,
    })
}

fn find<'a>(value: &'a Value, field: &str) -> Result<&'a Value, String> {
    value
        .get(field)
        .ok_or_else(|| format!("has no field {field:?}"))
}

/// A string as it is, null as no key, a number or boolean as JSON writes it.
fn key_of(value: &Value, field: &str) -> Result<Option<Bytes>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string().into())),
        Value::Array(_) | Value::Object(_) => Err(format!(
            "field {field:?} is not a plain value, so it is no key"
        )),
    }
}

fn time_of(value: &Value) -> Result<i64, String> {
    match value {
        Value::String(text) => timestamp::parse(text),
        other => timestamp::parse(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::{CsvValue, RowFormat};

    fn shape(key: Option<&str>, timestamp: Option<&str>, separator: Option<&str>) -> Shape {
        Shape {
            format: RowFormat::Jsonl,
            csv_value: CsvValue::Json,
            key: key.map(Into::into),
            timestamp: timestamp.map(Into::into),
            key_separator: separator.map(Into::into),
        }
    }

    fn row(key: Option<&'static str>, value: &'static str, timestamp: Option<i64>) -> Row {
        Row {
            key: key.map(Into::into),
            value: Some(value.into()),
            timestamp,
        }
    }

    #[test]
    fn lines_are_values_and_the_last_needs_no_line_feed() {
        let rows: Vec<_> = line_rows(&b"one\n\ntwo"[..], &shape(None, None, None))
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            rows,
            [
                row(None, "one", None),
                row(None, "", None),
                row(None, "two", None)
            ]
        );
    }

    #[test]
    fn a_separator_parts_key_and_value() {
        let rows: Vec<_> = line_rows(&b"k::v::w\nalone\n"[..], &shape(None, None, Some("::")))
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            rows,
            [row(Some("k"), "v::w", None), row(None, "alone", None)]
        );
    }

    #[test]
    fn json_fields_become_key_and_timestamp() {
        let text = "{\"id\":7,\"at\":\"1970-01-01 00:00:01\"}\n\n{\"id\":null,\"at\":5}\n";
        let rows: Vec<_> = json_rows(text.as_bytes(), &shape(Some("id"), Some("at"), None))
            .map(Result::unwrap)
            .collect();
        let first = "{\"id\":7,\"at\":\"1970-01-01 00:00:01\"}";
        assert_eq!(
            rows,
            [
                row(Some("7"), first, Some(1000)),
                row(None, "{\"id\":null,\"at\":5}", Some(5))
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let problem = |text: &'static str| {
            let mut rows = json_rows(text.as_bytes(), &shape(Some("id"), None, None));
            rows.find_map(Result::err).unwrap().message
        };
        assert!(problem("{\"id\":1}\nnonsense\n").starts_with("line 2: is not JSON"));
        assert_eq!(problem("{\"name\":1}\n"), "line 1: has no field \"id\"");
    }
}
