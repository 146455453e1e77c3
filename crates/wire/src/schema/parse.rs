//! Reads `schema/requests.txt`; its grammar is told in `schema/generate.py`. The file is part of the program, so that a line
//! that does not parse is a defect of the program: it leaves its request unknown, and a test finds it.
use std::{collections::HashMap, iter::Peekable, str::Chars};

use super::{Field, Kind, Schema, Versions};

pub(super) fn schemas(text: &str) -> HashMap<i16, Schema> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(i16, Schema)> {
    let mut words = line.splitn(4, ' ');
    let (key, _name, flexible, fields) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut parser = Parser {
        rest: fields.chars().peekable(),
    };
    let fields = parser.fields()?;
    parser.rest.next().is_none().then_some(())?;
    Some((
        key.parse().ok()?,
        Schema {
            flexible: versions(flexible)?,
            fields,
        },
    ))
}

/// `none`, `7`, `3+` or `3-9`.
fn versions(text: &str) -> Option<Versions> {
    if text == "none" {
        return Some(Versions::default());
    }
    let (min, max) = match (text.strip_suffix('+'), text.split_once('-')) {
        (Some(min), _) => (min.parse().ok()?, i16::MAX),
        (None, Some((min, max))) => (min.parse().ok()?, max.parse().ok()?),
        (None, None) => (text.parse().ok()?, text.parse().ok()?),
    };
    Some(Versions { min, max })
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| belongs(*c)) {
            word.push(c);
        }
        word
    }

    /// `{name:type name:type ...}`
    fn fields(&mut self) -> Option<Vec<Field>> {
        self.eat('{').then_some(())?;
        let mut fields = Vec::new();
        while !self.eat('}') {
            fields.push(self.field()?);
            self.eat(' ');
        }
        Some(fields)
    }

    fn field(&mut self) -> Option<Field> {
        self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        self.eat(':').then_some(())?;
        let mut kind = self.kind()?;
        let versions = if self.eat('@') {
            self.versions()?
        } else {
            Versions::ALL
        };
        let tag = if self.eat('#') {
            Some(self.tag()?)
        } else {
            None
        };
        if self.eat('?') {
            let nullable = self.versions()?;
            let Kind::Struct(fields) = kind else {
                return None;
            };
            kind = Kind::NullableStruct(fields, nullable);
        }
        Some(Field {
            versions,
            tag,
            kind,
        })
    }

    fn versions(&mut self) -> Option<Versions> {
        versions(&self.word(|c| c.is_ascii_digit() || c == '-' || c == '+'))
    }

    fn tag(&mut self) -> Option<(u32, Versions)> {
        let tag = self.word(|c| c.is_ascii_digit()).parse().ok()?;
        self.eat('@').then_some(())?;
        Some((tag, self.versions()?))
    }

    fn kind(&mut self) -> Option<Kind> {
        if self.eat('[') {
            self.eat(']').then_some(())?;
            return Some(Kind::Array(Box::new(self.kind()?)));
        }
        if self.rest.peek() == Some(&'{') {
            return self.fields().map(Kind::Struct);
        }
        Some(match self.word(|c| c.is_ascii_alphanumeric()).as_str() {
            "bool" | "int8" => Kind::Fixed(1),
            "int16" | "uint16" => Kind::Fixed(2),
            "int32" | "uint32" => Kind::Fixed(4),
            "int64" | "float64" => Kind::Fixed(8),
            "uuid" => Kind::Fixed(16),
            "string" => Kind::String,
            "bytes" | "records" => Kind::Bytes,
            _ => return None,
        })
    }
}
