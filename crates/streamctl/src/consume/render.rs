//! A record as a line.
use std::{
    io::{self, Write},
    str::FromStr,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use sh_client::ConsumerRecord;

use crate::timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Render {
    /// The value and a line feed.
    Raw,
    /// One JSON object a line.
    Json,
    Pattern(Vec<Piece>),
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    TimestampMs,
    Date,
    Headers,
}

impl FromStr for Render {
    type Err = String;
    fn from_str(text: &str) -> Result<Render, String> {
        match text {
            "raw" => Ok(Render::Raw),
            "json" => Ok(Render::Json),
            _ if text.contains(['%', '\\']) => pattern(text).map(Render::Pattern),
            _ => Err("write raw, json, or a pattern such as '%o %k %v\\n'".to_owned()),
        }
    }
}

fn pattern(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => literal.push(escape(rest.next())?),
            '%' => match rest.next() {
                Some('%') => literal.push(b'%'),
                other => {
                    pieces.extend(text_piece(&mut literal));
                    pieces.push(field(other)?);
                }
            },
            other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    pieces.extend(text_piece(&mut literal));
    Ok(pieces)
}

fn text_piece(literal: &mut Vec<u8>) -> Option<Piece> {
    (!literal.is_empty()).then(|| Piece::Text(std::mem::take(literal)))
}

fn escape(c: Option<char>) -> Result<u8, String> {
    match c {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        _ => Err("after \\ comes n, t, r, 0 or \\".to_owned()),
    }
}

fn field(c: Option<char>) -> Result<Piece, String> {
    Ok(match c {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('v') => Piece::Value,
        Some('T') => Piece::TimestampMs,
        Some('D') => Piece::Date,
        Some('h') => Piece::Headers,
        _ => return Err("after % comes t, p, o, k, v, T, D, h or %".to_owned()),
    })
}

impl Render {
    pub fn write(&self, record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
        match self {
            Render::Raw => {
                out.write_all(record.value.as_deref().unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Render::Json => {
                serde_json::to_writer(&mut *out, &Json(record))?;
                out.write_all(b"\n")
            }
            Render::Pattern(pieces) => pieces.iter().try_for_each(|piece| piece.write(record, out)),
        }
    }
}

impl Piece {
    fn write(&self, record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
        match self {
            Piece::Text(text) => out.write_all(text),
            Piece::Topic => out.write_all(record.topic.as_bytes()),
            Piece::Partition => write!(out, "{}", record.partition),
            Piece::Offset => write!(out, "{}", record.offset),
            Piece::Key => out.write_all(record.key.as_deref().unwrap_or_default()),
            Piece::Value => out.write_all(record.value.as_deref().unwrap_or_default()),
            Piece::TimestampMs => write!(out, "{}", record.timestamp),
            Piece::Date => out.write_all(timestamp::shown(record.timestamp).as_bytes()),
            Piece::Headers => write_headers(record, out),
        }
    }
}

/// `name=value,name=value`.
fn write_headers(record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        out.write_all(if index == 0 { b"" } else { b"," })?;
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// A record as JSON, in this order of fields. Bytes that are no text stand as base64 under `NAME_base64`, so that nothing
/// is lost.
struct Json<'a>(&'a ConsumerRecord);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| Header(name, value.as_deref()))
            .collect();
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("topic", &*record.topic)?;
        object.serialize_entry("partition", &record.partition)?;
        object.serialize_entry("offset", &record.offset)?;
        object.serialize_entry("timestamp", &record.timestamp)?;
        put(&mut object, ["key", "key_base64"], record.key.as_deref())?;
        put(
            &mut object,
            ["value", "value_base64"],
            record.value.as_deref(),
        )?;
        object.serialize_entry("headers", &headers)?;
        object.end()
    }
}

struct Header<'a>(&'a [u8], Option<&'a [u8]>);

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        put(&mut object, ["name", "name_base64"], Some(self.0))?;
        put(&mut object, ["value", "value_base64"], self.1)?;
        object.end()
    }
}

fn put<M: SerializeMap>(
    object: &mut M,
    names: [&str; 2],
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => object.serialize_entry(names[0], &()),
        Some((_, Ok(text))) => object.serialize_entry(names[0], text),
        Some((bytes, Err(_))) => object.serialize_entry(names[1], &BASE64_STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 3,
            offset: 7,
            timestamp: 1000,
            key: None,
            value: Some("v\u{e9}".into()),
            headers: vec![("a".into(), Some("1".into())), ("b".into(), None)],
        }
    }

    fn line(format: &str, record: &ConsumerRecord) -> String {
        let mut out = Vec::new();
        format
            .parse::<Render>()
            .unwrap()
            .write(record, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pattern_names_the_parts_of_a_record() {
        let text = line("%t/%p/%o [%k] %v %T %D %h 100%%\\n", &record());
        assert_eq!(
            text,
            "t/3/7 [] v\u{e9} 1000 1970-01-01T00:00:01.000Z a=1,b= 100%\n"
        );
    }

    #[test]
    fn json_loses_nothing() {
        let mut record = record();
        record.key = Some(vec![0xff].into());
        let read: Value = serde_json::from_str(&line("json", &record)).unwrap();
        assert_eq!(read["key_base64"], "/w==");
        assert_eq!(read["value"], "v\u{e9}");
        assert_eq!(read["headers"][1], json!({ "name": "b", "value": null }));
    }

    #[test]
    fn what_is_no_format_is_refused() {
        assert!("xml".parse::<Render>().is_err());
        assert!("%q".parse::<Render>().is_err());
    }
}
