//! Rows of a CSV file (RFC 4180) whose first row names the fields.
use std::{
    io::{self, Read},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use csv::ByteRecord;

use super::{CsvValue, Shape, row::Row};
use crate::{failure::Failure, timestamp};

pub struct CsvRows<R> {
    reader: csv::Reader<Recorded<R>>,
    record: ByteRecord,
    value: Value,
    key: Option<usize>,
    timestamp: Option<usize>,
}

/// How a row becomes a value.
enum Value {
    /// The names of the fields, as JSON writes them.
    Json(Vec<String>),
    Row(Tape),
}

impl<R: Read> CsvRows<R> {
    /// Reads the header. A field that it does not name is an error here.
    pub fn new(source: R, shape: &Shape) -> Result<CsvRows<R>, Failure> {
        let tape = Tape::default();
        let recorded = (shape.csv_value == CsvValue::Row).then(|| tape.clone());
        let mut reader = csv::Reader::from_reader(Recorded {
            source,
            tape: recorded,
        });
        let header = reader.headers().map_err(damaged)?.clone();
        let column = |field: &Option<String>| {
            field
                .as_deref()
                .map(|name| column(&header, name))
                .transpose()
        };
        let (key, timestamp) = (column(&shape.key)?, column(&shape.timestamp)?);
        let value = match shape.csv_value {
            CsvValue::Json => Value::Json(
                header
                    .iter()
                    .map(|name| serde_json::Value::from(name).to_string())
                    .collect(),
            ),
            CsvValue::Row => Value::Row(tape),
        };
        Ok(CsvRows {
            reader,
            record: ByteRecord::new(),
            value,
            key,
            timestamp,
        })
    }

    fn read(&mut self) -> Result<Option<Row>, Failure> {
        if !self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(damaged)?
        {
            return Ok(None);
        }
        let row = self.row();
        row.map(Some).map_err(|problem| {
            let line = self.record.position().map_or(0, csv::Position::line);
            Failure::failed(format!("line {line}: {problem}"))
        })
    }

    fn row(&self) -> Result<Row, String> {
        let field = |column: usize| self.record.get(column).unwrap_or_default();
        let value = match &self.value {
            Value::Json(names) => object(names, &self.record)?,
            Value::Row(tape) => {
                let start = self.record.position().map_or(0, csv::Position::byte);
                tape.take(start, self.reader.position().byte())
            }
        };
        let timestamp = self
            .timestamp
            .map(|column| timestamp::parse(&String::from_utf8_lossy(field(column))));
        Ok(Row {
            key: self.key.map(|column| Bytes::copy_from_slice(field(column))),
            value: Some(value),
            timestamp: timestamp.transpose()?,
        })
    }
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<Row, Failure>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn damaged(error: csv::Error) -> Failure {
    Failure::failed(format!("is not CSV: {error}"))
}

fn column(header: &csv::StringRecord, name: &str) -> Result<usize, Failure> {
    header
        .iter()
        .position(|field| field == name)
        .ok_or_else(|| {
            let fields = header.iter().collect::<Vec<_>>().join(", ");
            Failure::usage(format!(
                "there is no field {name:?}; the header names {fields}"
            ))
        })
}

/// A JSON object of strings.
fn object(names: &[String], record: &ByteRecord) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(record.as_slice().len() * 3);
    for (index, (name, field)) in names.iter().zip(record).enumerate() {
        let text = str::from_utf8(field).map_err(|e| format!("field {name} is not UTF-8: {e}"))?;
        out.push(if index == 0 { b'{' } else { b',' });
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        serde_json::to_writer(&mut out, text).map_err(|e| format!("field {name}: {e}"))?;
    }
    out.push(b'}');
    Ok(out.into())
}

/// What was read of the source and not yet taken: the reader gives fields, and this the row as it stood in the file.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Recording>>);

#[derive(Default)]
struct Recording {
    /// Where in the source `bytes` begins.
    start: u64,
    bytes: Vec<u8>,
}

impl Tape {
    fn with<T>(&self, act: impl FnOnce(&mut Recording) -> T) -> T {
        act(&mut self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The bytes of [start, end) without the line's end; what is before `end` is forgotten.
    fn take(&self, start: u64, end: u64) -> Bytes {
        self.with(|tape| {
            let place =
                |at: u64| usize::try_from(at.saturating_sub(tape.start)).unwrap_or(usize::MAX);
            let (from, to) = (place(start), place(end).min(tape.bytes.len()));
            let row = tape.bytes.get(from..to).unwrap_or_default();
            let row = Bytes::copy_from_slice(row.trim_ascii_start().strip_line_end());
            tape.forget(to);
            row
        })
    }
}

/// Forgetting moves what is left, so it waits until that is worth it.
const FORGET_BYTES_MIN: usize = 1 << 20;

impl Recording {
    fn forget(&mut self, before: usize) {
        if before >= FORGET_BYTES_MIN {
            self.bytes.drain(..before);
            self.start += before as u64;
        }
    }
}

trait LineEnd {
    fn strip_line_end(&self) -> &Self;
}

impl LineEnd for [u8] {
    fn strip_line_end(&self) -> &[u8] {
        let line = self.strip_suffix(b"\n").unwrap_or(self);
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

/// Writes to the tape what goes through.
struct Recorded<R> {
    source: R,
    tape: Option<Tape>,
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        if let Some(tape) = &self.tape {
            tape.with(|tape| tape.bytes.extend_from_slice(&into[..read]));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::RowFormat;

    fn shape(csv_value: CsvValue, key: &str) -> Shape {
        Shape {
            format: RowFormat::Csv,
            csv_value,
            key: Some(key.into()),
            timestamp: Some("at".into()),
            key_separator: None,
        }
    }

    fn values(text: &'static str, csv_value: CsvValue) -> Vec<String> {
        let rows = CsvRows::new(text.as_bytes(), &shape(csv_value, "id")).unwrap();
        rows.map(|row| String::from_utf8(row.unwrap().value.unwrap().to_vec()).unwrap())
            .collect()
    }

    const FILE: &str = "id,at,note\r\n7,1,\"a, \"\"b\"\"\"\r\n8,2,\"two\nlines\"\r\n\r\n9,3,";

    #[test]
    fn rows_become_objects_by_the_header() {
        assert_eq!(
            values(FILE, CsvValue::Json),
            [
                r#"{"id":"7","at":"1","note":"a, \"b\""}"#,
                r#"{"id":"8","at":"2","note":"two\nlines"}"#,
                r#"{"id":"9","at":"3","note":""}"#
            ]
        );
    }

    #[test]
    fn rows_can_stay_as_they_stand_in_the_file() {
        assert_eq!(
            values(FILE, CsvValue::Row),
            ["7,1,\"a, \"\"b\"\"\"", "8,2,\"two\nlines\"", "9,3,"]
        );
    }

    #[test]
    fn a_long_file_keeps_its_rows_apart() {
        let text =
            "id,at\n".to_owned() + &(0..300_000).map(|n| format!("{n},5\n")).collect::<String>();
        let rows = CsvRows::new(text.as_bytes(), &shape(CsvValue::Row, "id")).unwrap();
        let wrong = rows.enumerate().find(|(n, row)| {
            row.as_ref().unwrap().value.as_deref() != Some(format!("{n},5").as_bytes())
        });
        assert!(wrong.is_none(), "{wrong:?}");
    }

    #[test]
    fn keys_and_timestamps_come_from_fields() {
        let rows: Vec<Row> = CsvRows::new(FILE.as_bytes(), &shape(CsvValue::Row, "id"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows[1].key.as_deref(), Some(&b"8"[..]));
        assert_eq!(rows[1].timestamp, Some(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let missing = CsvRows::new(FILE.as_bytes(), &shape(CsvValue::Json, "ident"))
            .err()
            .unwrap();
        assert_eq!(
            missing.message,
            "there is no field \"ident\"; the header names id, at, note"
        );
        let first = |text: &'static str| {
            CsvRows::new(text.as_bytes(), &shape(CsvValue::Json, "id"))
                .unwrap()
                .find_map(Result::err)
                .unwrap()
                .message
        };
        assert!(first("id,at\n1,1\n2,soon\n").starts_with("line 3: \"soon\" is not a time"));
        assert!(first("id,at\n1\n").contains("line"));
    }
}
