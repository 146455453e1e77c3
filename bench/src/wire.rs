//! The two requests that carry records, written and read by hand: a load generator must not be the bottleneck.
//!
//! Produce version 8 and Fetch version 11: the last ones before tagged fields and topic ids, which every broker since
//! Kafka 2.3 speaks. Requests are encoded once and sent again and again, with one correlation id: answers come in their order.
use std::{io::Read, net::TcpStream, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use sh_base::batch::{BatchBuilder, Codec};

const CLIENT_ID: &str = "bench";
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
/// Answers longer than this are not what was asked for.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a fetch asks for beside its limits: wait at most so long for the first byte.
const FETCH_WAIT_MS: i32 = 500;
pub const FETCH_BYTES_MAX: i32 = 8 * 1024 * 1024;

/// A server that says nothing for so long is not measured any more.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection without delay on small writes.
pub fn connect(address: &str) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

fn header(out: &mut BytesMut, key: i16, version: i16) {
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(0);
    put_string(out, CLIENT_ID);
}

fn seal(mut frame: BytesMut) -> Bytes {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// A batch of `count` records with values of `size` bytes that compress badly.
pub fn batch(count: usize, size: usize, now_ms: i64) -> Result<Bytes> {
    let mut value = vec![0; size];
    getrandom::fill(&mut value).map_err(|e| anyhow::anyhow!("no random bytes: {e}"))?;
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..count {
        builder.push(now_ms, None, Some(&value), &[]);
    }
    Ok(builder.build()?.bytes().clone())
}

/// A produce request that writes `batch` to each of `partitions`.
pub fn produce(topic: &str, partitions: &[i32], acks: i16, batch: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + partitions.len() * (batch.len() + 8));
    header(&mut out, PRODUCE, 8);
    out.put_i16(-1);
    out.put_i16(acks);
    out.put_i32(30_000);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(partitions.len() as i32);
    for partition in partitions {
        out.put_i32(*partition);
        out.put_i32(batch.len() as i32);
        out.put_slice(batch);
    }
    seal(out)
}

/// A fetch of `(partition, offset)` pairs without a session.
pub fn fetch(topic: &str, wanted: &[(i32, i64)], partition_bytes_max: i32) -> Bytes {
    let mut out = BytesMut::with_capacity(128 + wanted.len() * 28);
    header(&mut out, FETCH, 11);
    out.put_i32(-1);
    out.put_i32(FETCH_WAIT_MS);
    out.put_i32(1);
    out.put_i32(FETCH_BYTES_MAX);
    out.put_i8(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_i32(1);
    put_string(&mut out, topic);
    out.put_i32(wanted.len() as i32);
    for (partition, offset) in wanted {
        out.put_i32(*partition);
        out.put_i32(-1);
        out.put_i64(*offset);
        out.put_i64(-1);
        out.put_i32(partition_bytes_max);
    }
    out.put_i32(0);
    put_string(&mut out, "");
    seal(out)
}

/// Reads the next answer into the front of `into`, from the correlation id on; says how long it is.
pub fn answer<R: Read>(read: &mut R, into: &mut Vec<u8>) -> Result<usize> {
    let mut length = [0; 4];
    read.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(
        (4..=ANSWER_BYTES_MAX).contains(&length),
        "an answer of {length} bytes"
    );
    // Kept at its largest: clearing it would cost as much as the server's own work on it.
    if into.len() < length {
        into.resize(length, 0);
    }
    read.read_exact(&mut into[..length])?;
    Ok(length)
}

/// Bytes that are taken off from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count).context("a short answer")?;
        self.0 = rest;
        Ok(front)
    }
    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.bytes(2)?.try_into()?))
    }
    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.bytes(4)?.try_into()?))
    }
    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.bytes(8)?.try_into()?))
    }
    fn string(&mut self) -> Result<()> {
        let length = self.i16()?;
        self.bytes(usize::try_from(length).unwrap_or(0)).map(drop)
    }
}

/// The first error code of a produce answer, 0 for none.
pub fn produced(answer: &[u8]) -> Result<i16> {
    let mut at = Cursor(answer);
    at.i32()?;
    for _ in 0..at.i32()? {
        at.string()?;
        for _ in 0..at.i32()? {
            at.i32()?;
            let error = at.i16()?;
            if error != 0 {
                return Ok(error);
            }
            at.bytes(24)?;
            for _ in 0..at.i32()? {
                at.i32()?;
                at.string()?;
            }
            at.string()?;
        }
    }
    Ok(0)
}

/// The records of one partition in a fetch answer.
pub struct Fetched<'a> {
    pub partition: i32,
    pub error: i16,
    pub records: &'a [u8],
}

/// The partitions of a fetch answer.
pub fn fetched(answer: &[u8]) -> Result<Vec<Fetched<'_>>> {
    let mut at = Cursor(answer);
    at.bytes(8)?;
    let error = at.i16()?;
    ensure!(error == 0, "the fetch was refused with error {error}");
    at.i32()?;
    let mut all = Vec::new();
    for _ in 0..at.i32()? {
        at.string()?;
        for _ in 0..at.i32()? {
            let (partition, error) = (at.i32()?, at.i16()?);
            at.bytes(24)?;
            for _ in 0..at.i32()?.max(0) {
                at.bytes(16)?;
            }
            at.i32()?;
            let size = usize::try_from(at.i32()?).unwrap_or(0);
            let records = at.bytes(size)?;
            all.push(Fetched {
                partition,
                error,
                records,
            });
        }
    }
    Ok(all)
}

/// A batch in fetched records: base offset, offsets it takes. A batch that is cut off at the end is left out.
pub fn batches(mut records: &[u8]) -> impl Iterator<Item = (i64, i64)> + '_ {
    std::iter::from_fn(move || {
        let mut at = Cursor(records);
        let base = at.i64().ok()?;
        let length = usize::try_from(at.i32().ok()?).ok()?;
        let body = at.bytes(length).ok()?;
        // Leader epoch, magic, CRC and attributes come before the last offset delta.
        let delta: [u8; 4] = body.get(11..15)?.try_into().ok()?;
        records = at.0;
        Some((base, i64::from(i32::from_be_bytes(delta)) + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_found_in_what_was_fetched_and_a_torn_one_is_left_out() {
        let one = batch(3, 10, 0).unwrap();
        let two = [&one[..], &one[..], &one[..20]].concat();
        assert_eq!(batches(&two).collect::<Vec<_>>(), [(0, 3), (0, 3)]);
    }

    #[test]
    fn an_error_of_any_partition_is_seen() {
        let partition = |error: i16| {
            let mut out = vec![0, 0, 0, 1];
            out.extend(error.to_be_bytes());
            out.extend([0; 24]);
            out.extend([0, 0, 0, 0, 255, 255]);
            out
        };
        let answer = [
            &[0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2][..],
            &partition(0),
            &partition(7),
        ]
        .concat();
        assert_eq!(produced(&answer).unwrap(), 7);
    }
}
