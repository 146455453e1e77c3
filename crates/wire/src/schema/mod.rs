//! A walk over a request before it is decoded.
//!
//! The decoder of `kafka-protocol` makes room for as many elements as an array claims: four bytes could ask for gigabytes and
//! end the process. So the frame is walked over first, along the message definitions in `schema/requests.txt` (written by
//! `schema/generate.py` from Apache Kafka's own); only a frame whose every element is really there is decoded.
mod parse;

use std::{collections::HashMap, sync::LazyLock};

use kafka_protocol::messages::ApiKey;

use crate::{WireError, reader::Reader};

/// Array elements and tagged fields that one request may have, all together. (One for each partition of the largest topics,
/// several times over.) With what a decoded element weighs, this bounds the memory of a request.
pub const REQUEST_ELEMENTS_MAX: usize = 500_000;

static SCHEMAS: LazyLock<HashMap<i16, Schema>> =
    LazyLock::new(|| parse::schemas(include_str!("../../schema/requests.txt")));

/// The layout of one request at all its versions.
#[derive(Debug, Default)]
struct Schema {
    flexible: Versions,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    versions: Versions,
    tag: Option<(u32, Versions)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    String,
    /// Bytes, and records.
    Bytes,
    Array(Box<Kind>),
    Struct(Vec<Field>),
    /// A struct that may be null, and says so, in these versions.
    NullableStruct(Vec<Field>, Versions),
}

/// A range of versions; the default has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Versions {
    min: i16,
    max: i16,
}

impl Default for Versions {
    fn default() -> Self {
        Versions { min: 0, max: -1 }
    }
}

impl Versions {
    const ALL: Versions = Versions {
        min: 0,
        max: i16::MAX,
    };

    fn contain(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Checks that every array, string and field of the request lies within `body`. What follows the request is not looked at,
/// as Kafka does not.
pub(crate) fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<(), WireError> {
    let key = api as i16;
    let schema = SCHEMAS.get(&key).ok_or(WireError::UnknownApi { key })?;
    let flexible = schema.flexible.contain(version);
    let reader = Reader::new(body);
    Walk {
        reader,
        version,
        flexible,
        budget: REQUEST_ELEMENTS_MAX,
    }
    .fields(&schema.fields)
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    budget: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), WireError> {
        for field in fields {
            if field.versions.contain(self.version) && self.tag_of(field).is_none() {
                self.kind(&field.kind)?;
            }
        }
        if self.flexible {
            self.tagged(fields)
        } else {
            Ok(())
        }
    }

    fn tag_of(&self, field: &Field) -> Option<u32> {
        let (tag, versions) = field.tag?;
        (self.flexible && versions.contain(self.version)).then_some(tag)
    }

    fn tagged(&mut self, fields: &[Field]) -> Result<(), WireError> {
        let count = self.reader.uvarint("tagged fields")?;
        self.spend(count as usize)?;
        for _ in 0..count {
            let tag = self.reader.uvarint("a tag")?;
            let size = self.reader.uvarint("the size of a tagged field")? as usize;
            match fields.iter().find(|f| self.tag_of(f) == Some(tag)) {
                Some(field) => self.known_tag(field, size)?,
                None => self.reader.skip(size, "a tagged field").map(|_| ())?,
            }
        }
        Ok(())
    }

    fn known_tag(&mut self, field: &Field, size: usize) -> Result<(), WireError> {
        let begin = self.reader.at();
        self.kind(&field.kind)?;
        if self.reader.at() - begin == size {
            Ok(())
        } else {
            Err(WireError::malformed(
                "a tagged field does not fill its size",
            ))
        }
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(size) => self.reader.skip(*size, "a field").map(|_| ()),
            Kind::String => self.reader.string(self.flexible, "a string").map(|_| ()),
            Kind::Bytes => self.reader.bytes(self.flexible, "bytes").map(|_| ()),
            Kind::Array(element) => self.array(element),
            Kind::Struct(fields) => self.fields(fields),
            Kind::NullableStruct(fields, versions) => {
                let absent = versions.contain(self.version) && self.reader.i8("a struct")? != 1;
                if absent { Ok(()) } else { self.fields(fields) }
            }
        }
    }

    fn array(&mut self, element: &Kind) -> Result<(), WireError> {
        let count = self.reader.length(self.flexible, "an array")?.unwrap_or(0);
        self.spend(count)?;
        (0..count).try_for_each(|_| self.kind(element))
    }

    fn spend(&mut self, elements: usize) -> Result<(), WireError> {
        let max = REQUEST_ELEMENTS_MAX;
        let left = self.budget.checked_sub(elements);
        self.budget = left.ok_or(WireError::TooManyElements { max })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
