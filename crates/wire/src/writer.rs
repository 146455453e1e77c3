//! The primitive types of the protocol, written; see [`crate::reader`] for the two ways of lengths.
use bytes::{BufMut, BytesMut};

pub(crate) fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A count of array elements, or a length of bytes.
pub(crate) fn put_length(out: &mut BytesMut, flexible: bool, length: usize) {
    if flexible {
        put_uvarint(out, length as u32 + 1);
    } else {
        out.put_i32(length as i32);
    }
}

/// A null array or null bytes.
pub(crate) fn put_null(out: &mut BytesMut, flexible: bool) {
    if flexible {
        put_uvarint(out, 0)
    } else {
        out.put_i32(-1)
    }
}

pub(crate) fn put_string(out: &mut BytesMut, flexible: bool, string: &str) {
    if flexible {
        put_uvarint(out, string.len() as u32 + 1);
    } else {
        out.put_i16(string.len() as i16);
    }
    out.put_slice(string.as_bytes());
}

/// A null string is -1 (or 0), an empty one is not null.
pub(crate) fn put_nullable_string(out: &mut BytesMut, flexible: bool, string: Option<&str>) {
    match string {
        Some(string) => put_string(out, flexible, string),
        None if flexible => put_uvarint(out, 0),
        None => out.put_i16(-1),
    }
}
