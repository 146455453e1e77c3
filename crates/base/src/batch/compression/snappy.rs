//! Snappy as Kafka clients write it: one raw block (librdkafka, Go), or the stream format of the xerial Java library:
//!
//! ```text
//! 82 "SNAPPY" 00 | version: i32 | oldest compatible version: i32 | (length: i32 | raw block)*
//! ```
use snap::raw::{Decoder, Encoder, decompress_len};

use super::{BatchError, Codec, damaged};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_BYTES: usize = 16;
const VERSION: [u8; 4] = 1i32.to_be_bytes();
const BLOCK_BYTES: usize = 32 * 1024;

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    for part in [&MAGIC[..], &VERSION, &VERSION] {
        out.extend_from_slice(part);
    }
    let mut encoder = Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}

pub(super) fn decompress(packed: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let mut plain = Vec::new();
    if !packed.starts_with(&MAGIC) {
        append_block(packed, max, &mut plain)?;
        return Ok(plain);
    }
    let mut rest = packed.get(HEADER_BYTES..).ok_or_else(cut_off)?;
    while !rest.is_empty() {
        let (block, tail) = split_block(rest).ok_or_else(cut_off)?;
        append_block(block, max, &mut plain)?;
        rest = tail;
    }
    Ok(plain)
}

fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    rest.split_at_checked(length)
}

fn append_block(block: &[u8], max: usize, plain: &mut Vec<u8>) -> Result<(), BatchError> {
    let claimed = decompress_len(block).map_err(|e| damaged(Codec::Snappy, e))?;
    let begin = plain.len();
    if claimed > max - begin {
        return Err(BatchError::Bomb { max });
    }
    plain.resize(begin + claimed, 0);
    let decoded = Decoder::new().decompress(block, &mut plain[begin..]);
    decoded.map_err(|e| damaged(Codec::Snappy, e)).map(|_| ())
}

fn cut_off() -> BatchError {
    damaged(Codec::Snappy, "the stream is cut off")
}
