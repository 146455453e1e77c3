//! Record batches with every field in the scenario's hands, the wrong ones too; and fetched bytes as a tree.
use std::io::Write;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::tree::Tree;

/// One record; the deltas are those of its place in the batch unless the scenario says otherwise.
#[derive(Clone, Debug, Default)]
pub struct RawRecord {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A record with a key and a value.
pub fn record(key: &str, value: &str) -> RawRecord {
    let bytes = |s: &str| Some(Bytes::copy_from_slice(s.as_bytes()));
    RawRecord {
        key: bytes(key),
        value: bytes(value),
        ..RawRecord::default()
    }
}

/// A record without a key.
pub fn keyless(value: &str) -> RawRecord {
    RawRecord {
        key: None,
        ..record("", value)
    }
}

/// How the records are packed. The number is the codec's in the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    SnappyRaw,
    SnappyXerial,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 6] = [
        Codec::None,
        Codec::Gzip,
        Codec::SnappyRaw,
        Codec::SnappyXerial,
        Codec::Lz4,
        Codec::Zstd,
    ];

    fn bits(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::SnappyRaw | Codec::SnappyXerial => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => plain.to_vec(),
            Codec::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder
                    .write_all(plain)
                    .and_then(|()| encoder.finish())
                    .unwrap_or_default()
            }
            Codec::SnappyRaw => snap::raw::Encoder::new()
                .compress_vec(plain)
                .unwrap_or_default(),
            Codec::SnappyXerial => xerial(
                &snap::raw::Encoder::new()
                    .compress_vec(plain)
                    .unwrap_or_default(),
            ),
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                drop(encoder.write_all(plain));
                encoder.finish().unwrap_or_default()
            }
            Codec::Zstd => zstd::bulk::compress(plain, 3).unwrap_or_default(),
        }
    }
}

/// The framing of snappy-java: magic, version, lowest compatible version, then length-prefixed blocks.
fn xerial(block: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01".to_vec();
    out.extend_from_slice(&(block.len() as u32).to_be_bytes());
    out.extend_from_slice(block);
    out
}

/// A version 2 batch. `None` fields are computed as an honest client would.
#[derive(Clone, Debug)]
pub struct RawBatch {
    pub base_offset: i64,
    pub length: Option<i32>,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: Option<u32>,
    pub codec: Codec,
    /// Attribute bits beside the codec's.
    pub attributes: i16,
    pub last_offset_delta: Option<i32>,
    pub base_timestamp: i64,
    pub max_timestamp: Option<i64>,
    pub producer: (i64, i16, i32),
    pub count: Option<i32>,
    pub records: Vec<RawRecord>,
    /// Bytes in place of the packed records.
    pub payload: Option<Bytes>,
}

impl RawBatch {
    pub fn new(base_timestamp: i64, records: Vec<RawRecord>) -> RawBatch {
        RawBatch {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            codec: Codec::None,
            attributes: 0,
            last_offset_delta: None,
            base_timestamp,
            max_timestamp: None,
            producer: (-1, -1, -1),
            count: None,
            records,
            payload: None,
        }
    }

    pub fn codec(self, codec: Codec) -> RawBatch {
        RawBatch { codec, ..self }
    }

    pub fn producer(self, id: i64, epoch: i16, sequence: i32) -> RawBatch {
        RawBatch {
            producer: (id, epoch, sequence),
            ..self
        }
    }

    pub fn encode(&self) -> Bytes {
        let deltas = self
            .records
            .iter()
            .map(|r| r.timestamp_delta)
            .max()
            .unwrap_or(0);
        let mut body = BytesMut::new();
        body.put_i16(self.codec.bits() | self.attributes);
        body.put_i32(
            self.last_offset_delta
                .unwrap_or(self.records.len() as i32 - 1),
        );
        body.put_i64(self.base_timestamp);
        body.put_i64(self.max_timestamp.unwrap_or(self.base_timestamp + deltas));
        body.put_i64(self.producer.0);
        body.put_i16(self.producer.1);
        body.put_i32(self.producer.2);
        body.put_i32(self.count.unwrap_or(self.records.len() as i32));
        match &self.payload {
            Some(payload) => body.put_slice(payload),
            None => body.put_slice(&self.codec.pack(&plain(&self.records))),
        }
        let mut out = BytesMut::new();
        out.put_i64(self.base_offset);
        out.put_i32(self.length.unwrap_or(body.len() as i32 + 9));
        out.put_i32(self.leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(self.crc.unwrap_or_else(|| crc32c::crc32c(&body)));
        out.put_slice(&body);
        out.freeze()
    }
}

fn plain(records: &[RawRecord]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, record) in records.iter().enumerate() {
        let mut body = vec![record.attributes as u8];
        put_varint(&mut body, record.timestamp_delta);
        put_varint(
            &mut body,
            i64::from(record.offset_delta.unwrap_or(n as i32)),
        );
        put_bytes(&mut body, record.key.as_deref());
        put_bytes(&mut body, record.value.as_deref());
        put_varint(&mut body, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut body, Some(name));
            put_bytes(&mut body, value.as_deref());
        }
        put_varint(&mut out, body.len() as i64);
        out.extend_from_slice(&body);
    }
    out
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = (value << 1 ^ value >> 63) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |b| b.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// A message set of the old formats (magic 0 or 1) with one message.
pub fn old_message(magic: i8, timestamp: i64, value: &str) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i8(magic);
    body.put_i8(0);
    if magic == 1 {
        body.put_i64(timestamp);
    }
    body.put_i32(-1);
    body.put_i32(value.len() as i32);
    body.put_slice(value.as_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut out = BytesMut::new();
    out.put_i64(0);
    out.put_i32(body.len() as i32 + 4);
    out.put_u32(crc.sum());
    out.put_slice(&body);
    out.freeze()
}

/// What a fetch returned. A partial batch at the end is left out: it depends on where a server cuts its buffer, and every
/// client ignores it.
pub fn read(mut bytes: &[u8]) -> Tree {
    let mut batches = Vec::new();
    while bytes.len() >= 61 {
        let size =
            12 + i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]).max(0) as usize;
        if size < 61 || size > bytes.len() {
            break;
        }
        batches.push(read_batch(&bytes[..size]));
        bytes = &bytes[size..];
    }
    Tree::List(batches)
}

fn read_batch(batch: &[u8]) -> Tree {
    let mut b = batch;
    let base_offset = b.get_i64();
    let length = b.get_i32();
    let leader_epoch = b.get_i32();
    let magic = b.get_i8();
    let crc = if b.get_u32() == crc32c::crc32c(b) {
        "good"
    } else {
        "BAD"
    };
    let mut fields = vec![("base_offset", base_offset), ("length", i64::from(length))];
    fields.extend([
        ("leader_epoch", i64::from(leader_epoch)),
        ("magic", i64::from(magic)),
    ]);
    fields.extend([
        ("attributes", i64::from(b.get_i16())),
        ("last_offset_delta", i64::from(b.get_i32())),
    ]);
    fields.extend([
        ("base_timestamp", b.get_i64()),
        ("max_timestamp", b.get_i64()),
    ]);
    fields.extend([
        ("producer_id", b.get_i64()),
        ("producer_epoch", i64::from(b.get_i16())),
    ]);
    fields.extend([
        ("base_sequence", i64::from(b.get_i32())),
        ("count", i64::from(b.get_i32())),
    ]);
    let mut fields: Vec<(String, Tree)> = fields
        .into_iter()
        .map(|(n, v)| (n.into(), Tree::leaf(v)))
        .collect();
    fields.push(("crc".into(), Tree::leaf(crc)));
    fields.push(("payload".into(), payload(b)));
    Tree::Struct("Batch".into(), fields)
}

/// Short payloads as they are, long ones as a checksum.
fn payload(bytes: &[u8]) -> Tree {
    match bytes.len() {
        0..=100 => Tree::Bytes(bytes.to_vec()),
        n => Tree::Leaf(format!("{n} bytes, crc {:08x}", crc32c::crc32c(bytes))),
    }
}
