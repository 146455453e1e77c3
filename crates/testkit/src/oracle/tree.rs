//! Answers as trees, so that every field is compared, also those nobody thought of.
//!
//! The protocol structs derive `Debug`; its text is parsed back. That needs no list of fields, and a field that a newer
//! protocol version adds is compared from the day it exists.
use std::fmt::{self, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// A number, a boolean, a UUID, a bare name.
    Leaf(String),
    Text(String),
    Bytes(Vec<u8>),
    Struct(String, Vec<(String, Tree)>),
    /// A tuple or an enum's variant.
    Tuple(String, Vec<Tree>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    /// The tree of a `Debug` text.
    pub fn of(value: &impl fmt::Debug) -> Tree {
        let text = format!("{value:?}");
        let mut parser = Parser { rest: &text };
        match parser.value() {
            Some(tree) if parser.rest.is_empty() => tree,
            _ => Tree::Text(format!("unreadable at {:?}", parser.rest)),
        }
    }

    pub fn leaf(value: impl fmt::Display) -> Tree {
        Tree::Leaf(value.to_string())
    }

    pub fn is_struct(&self) -> bool {
        matches!(self, Tree::Struct(..))
    }

    pub fn field(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Struct(_, fields) => fields.iter().find(|(n, _)| n == name).map(|(_, t)| t),
            _ => None,
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Tree::Leaf(_) | Tree::Text(_) | Tree::Bytes(_) => true,
            Tree::Struct(_, fields) => {
                fields.len() <= 9 && fields.iter().all(|(_, t)| t.is_scalar())
            }
            Tree::List(items) | Tree::Tuple(_, items) => {
                items.len() <= 6 && items.iter().all(Tree::is_scalar)
            }
            Tree::Map(entries) => entries.is_empty(),
        }
    }

    fn is_scalar(&self) -> bool {
        match self {
            Tree::Leaf(_) | Tree::Text(_) => true,
            Tree::Bytes(b) => b.len() < 40,
            Tree::List(items) => items.iter().all(|i| matches!(i, Tree::Leaf(_))),
            _ => false,
        }
    }

    fn write(&self, out: &mut String, indent: usize) -> fmt::Result {
        match self {
            Tree::Leaf(text) => out.write_str(text),
            Tree::Text(text) => write!(out, "{text:?}"),
            Tree::Bytes(bytes) => write!(out, "b\"{}\"", bytes.escape_ascii()),
            Tree::Tuple(name, items) => {
                out.push_str(name);
                write_items(
                    out,
                    indent,
                    ("(", ")"),
                    self.is_small(),
                    items,
                    |o, i, t| t.write(o, i),
                )
            }
            Tree::List(items) => write_items(
                out,
                indent,
                ("[", "]"),
                self.is_small(),
                items,
                |o, i, t| t.write(o, i),
            ),
            Tree::Struct(_, fields) => write_items(
                out,
                indent,
                ("{", "}"),
                self.is_small(),
                fields,
                |o, i, (n, t)| {
                    write!(o, "{n}: ")?;
                    t.write(o, i)
                },
            ),
            Tree::Map(entries) => write_items(
                out,
                indent,
                ("{", "}"),
                self.is_small(),
                entries,
                |o, i, (k, v)| {
                    k.write(o, i)?;
                    o.push_str(": ");
                    v.write(o, i)
                },
            ),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 1)?;
        f.write_str(&out)
    }
}

fn write_items<T>(
    out: &mut String,
    indent: usize,
    (open, close): (&str, &str),
    one_line: bool,
    items: &[T],
    write: impl Fn(&mut String, usize, &T) -> fmt::Result,
) -> fmt::Result {
    out.push_str(open);
    for (n, item) in items.iter().enumerate() {
        match one_line {
            true if n > 0 => out.push_str(", "),
            true => {}
            false => {
                out.push('\n');
                out.push_str(&"  ".repeat(indent + 1));
            }
        }
        write(out, indent + 1, item)?;
    }
    if !one_line && !items.is_empty() {
        out.push('\n');
        out.push_str(&"  ".repeat(indent));
    }
    out.push_str(close);
    Ok(())
}

/// A recursive-descent parser of what `#[derive(Debug)]` writes on one line.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Tree> {
        if self.eat("b\"") {
            return self.quoted().map(Tree::Bytes);
        }
        if self.eat("\"") {
            return String::from_utf8(self.quoted()?).ok().map(Tree::Text);
        }
        if self.eat("[") {
            return self.items("]", Parser::value).map(Tree::List);
        }
        if self.eat("{") {
            return self.items("}", Parser::entry).map(Tree::Map);
        }
        let name = self.word();
        if self.eat(" { ") {
            return self
                .items(" }", Parser::named)
                .map(|fields| Tree::Struct(name.into(), fields));
        }
        if self.eat("(") {
            let mut items = self.items(")", Parser::value)?;
            return match (name, items.len()) {
                ("Some", 1) => items.pop(),
                _ => Some(Tree::Tuple(name.into(), items)),
            };
        }
        match name {
            "" => None,
            "None" => Some(Tree::leaf("null")),
            _ => Some(Tree::leaf(name)),
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| " ,:(){}[]".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn items<T>(&mut self, end: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if !items.is_empty() && !self.eat(", ") {
                return None;
            }
            items.push(item(self)?);
        }
        Some(items)
    }

    fn named(&mut self) -> Option<(String, Tree)> {
        let name = self.word().to_owned();
        self.eat(": ")
            .then(|| self.value())
            .flatten()
            .map(|value| (name, value))
    }

    fn entry(&mut self) -> Option<(Tree, Tree)> {
        let key = self.value()?;
        self.eat(": ")
            .then(|| self.value())
            .flatten()
            .map(|value| (key, value))
    }

    /// The bytes of a quoted text whose opening quote is gone.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let c = self.rest.chars().next()?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => return Some(out),
                '\\' => self.escape(&mut out)?,
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        match c {
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            'x' => {
                out.push(u8::from_str_radix(self.rest.get(..2)?, 16).ok()?);
                self.rest = &self.rest[2..];
            }
            'u' => {
                let (code, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
                self.rest = rest;
                let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Inner(i32);
    #[derive(Debug)]
    #[allow(dead_code)]
    struct Outer {
        id: Inner,
        text: Option<String>,
        none: Option<i32>,
        list: Vec<Inner>,
        bytes: bytes::Bytes,
        map: std::collections::BTreeMap<i32, i32>,
        uuid: uuid::Uuid,
    }

    #[test]
    fn a_debug_text_becomes_a_tree_again() {
        let value = Outer {
            id: Inner(-3),
            text: Some("a \"b\", {c}: \n ü".into()),
            none: None,
            list: vec![Inner(1), Inner(2)],
            bytes: bytes::Bytes::from_static(b"\x00\xff\"\\x"),
            map: [(1, 2)].into(),
            uuid: uuid::Uuid::nil(),
        };
        let tree = Tree::of(&value);
        assert_eq!(
            tree.field("text"),
            Some(&Tree::Text("a \"b\", {c}: \n ü".into()))
        );
        assert_eq!(
            tree.field("bytes"),
            Some(&Tree::Bytes(b"\x00\xff\"\\x".to_vec()))
        );
        assert_eq!(tree.field("none"), Some(&Tree::leaf("null")));
        assert_eq!(
            tree.field("id"),
            Some(&Tree::Tuple("Inner".into(), vec![Tree::leaf(-3)]))
        );
        assert_eq!(
            tree.field("map"),
            Some(&Tree::Map(vec![(Tree::leaf(1), Tree::leaf(2))]))
        );
        assert_eq!(tree.field("uuid"), Some(&Tree::leaf(uuid::Uuid::nil())));
    }
}
