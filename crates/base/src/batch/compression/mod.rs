//! The codecs of record batches. Reading is bounded: a few bytes may claim to be gigabytes.
mod snappy;

use std::{fmt, io::Read, str::FromStr};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::BatchError;

/// How the records of a batch are compressed; the discriminants are the attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    /// Read raw and in xerial framing, written in xerial framing, as the Java client does.
    Snappy = 2,
    /// The LZ4 frame format (KIP-57) in independent 64 KiB blocks.
    Lz4 = 3,
    /// KIP-110; clients may use it in produce requests of version 7 and later.
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl TryFrom<u8> for Codec {
    type Error = BatchError;
    fn try_from(id: u8) -> Result<Codec, BatchError> {
        let known = Codec::ALL.into_iter().find(|codec| codec.id() == id);
        known.ok_or(BatchError::Codec { id })
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a compression codec; use none, gzip, snappy, lz4 or zstd")]
pub struct InvalidCodec(pub String);

impl FromStr for Codec {
    type Err = InvalidCodec;
    fn from_str(name: &str) -> Result<Codec, InvalidCodec> {
        let known = Codec::ALL.into_iter().find(|codec| codec.name() == name);
        known.ok_or_else(|| InvalidCodec(name.into()))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Zstandard's own default, and the Java client's.
const ZSTD_LEVEL: i32 = 3;

/// Appends the compressed form of `plain` to `out`.
pub fn compress_into(codec: Codec, plain: &[u8], out: Vec<u8>) -> Result<Vec<u8>, BatchError> {
    compress_io(codec, plain, out).map_err(|e| damaged(codec, e))
}

fn compress_io(codec: Codec, plain: &[u8], mut out: Vec<u8>) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    match codec {
        Codec::None => out.extend_from_slice(plain),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(plain)?;
            out = encoder.finish()?;
        }
        Codec::Snappy => snappy::compress(plain, &mut out)?,
        Codec::Lz4 => {
            let info = FrameInfo::new()
                .block_size(BlockSize::Max64KB)
                .block_mode(BlockMode::Independent);
            let mut encoder = FrameEncoder::with_frame_info(info, out);
            encoder.write_all(plain)?;
            out = encoder.finish()?;
        }
        Codec::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
            encoder.write_all(plain)?;
            out = encoder.finish()?;
        }
    }
    Ok(out)
}

/// Decompresses; more than `max` bytes are [`BatchError::Bomb`].
pub fn decompress(codec: Codec, packed: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    match codec {
        Codec::None => Ok(packed.to_vec()),
        Codec::Gzip => drain(
            codec,
            flate2::bufread::MultiGzDecoder::new(packed),
            packed,
            max,
        ),
        Codec::Snappy => snappy::decompress(packed, max),
        Codec::Lz4 => drain(codec, FrameDecoder::new(packed), packed, max),
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed);
            drain(codec, decoder.map_err(|e| damaged(codec, e))?, packed, max)
        }
    }
}

fn drain(codec: Codec, from: impl Read, packed: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let mut plain = Vec::with_capacity(packed.len().saturating_mul(3).min(max));
    let mut bounded = from.take(max as u64 + 1);
    bounded
        .read_to_end(&mut plain)
        .map_err(|e| damaged(codec, e))?;
    if plain.len() > max {
        return Err(BatchError::Bomb { max });
    }
    Ok(plain)
}

fn damaged(codec: Codec, error: impl fmt::Display) -> BatchError {
    BatchError::Compression {
        codec: codec.name(),
        reason: error.to_string(),
    }
}
