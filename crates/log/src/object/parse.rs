//! Reading an object's footer. Bounded, and without panics, whatever the bytes say.
use sh_base::{
    Org, ProducerId,
    batch::{BatchProducer, HEADER_BYTES as BATCH_HEADER_BYTES},
};
use sh_blob::{BlobError, Bucket};

use super::{
    BatchEntry, END_MAGIC, FOOTER_BYTES_MAX, HEADER_BYTES, MAGIC, ObjectFooter, RunEntry,
    TRAILER_BYTES, VERSION,
};
use crate::{
    codec::Reader,
    row::{RunAnswers, read_object_id, read_partition},
};

/// Why a footer cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("not an L0 object of this version, or damaged: {0}")]
    Damaged(&'static str),
    /// The bytes given begin inside the footer; these many of the object's last bytes are needed.
    #[error("the footer needs the last {0} bytes of the object")]
    Short(usize),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// The first GET of a footer asks for this much of the end: enough for most.
const FIRST_READ_BYTES: u64 = 64 * 1024;

/// The footer of the object under `key`: one HEAD and one GET, rarely a second one.
pub async fn read_footer(bucket: &dyn Bucket, key: &str) -> Result<ObjectFooter, ObjectError> {
    let meta = bucket.head(key).await?;
    let size = meta.ok_or_else(|| BlobError::NotFound(key.into()))?.size;
    let mut wanted = FIRST_READ_BYTES.min(size);
    loop {
        let range = size - wanted..size;
        let mut got = bucket.get(key, std::slice::from_ref(&range)).await?;
        let tail = got.pop().ok_or(ObjectError::Damaged("empty answer"))?;
        match ObjectFooter::parse(&tail, size) {
            Err(ObjectError::Short(need)) if need as u64 <= size && need as u64 > wanted => {
                wanted = need as u64;
            }
            Err(ObjectError::Short(_)) => return Err(ObjectError::Damaged("footer length")),
            done => return done,
        }
    }
}

/// Checks the first bytes of an object.
pub(super) fn check_header(object: &[u8]) -> Result<(), ObjectError> {
    let mut r = Reader(object);
    if r.array::<4>().as_ref() != Some(MAGIC) {
        return Err(ObjectError::Damaged("magic"));
    }
    match r.u32() {
        Some(VERSION) => Ok(()),
        _ => Err(ObjectError::Damaged("version")),
    }
}

impl ObjectFooter {
    /// The footer from the last bytes of an object of `size` bytes. What it returns is consistent: runs are sorted and tile the
    /// object, no batch is shorter than a batch can be.
    pub fn parse(tail: &[u8], size: u64) -> Result<ObjectFooter, ObjectError> {
        let footer = checked_footer(tail)?;
        let mut r = Reader(footer);
        let parsed = read(&mut r)
            .and_then(|f| r.end(f))
            .ok_or(ObjectError::Damaged("footer"))?;
        let end = size.checked_sub((footer.len() + TRAILER_BYTES) as u64);
        match end.is_some_and(|end| parsed.tiles(end)) {
            true => Ok(parsed),
            false => Err(ObjectError::Damaged("runs do not tile the object")),
        }
    }

    fn tiles(&self, end: u64) -> bool {
        let sorted = self
            .runs
            .is_sorted_by(|a, b| (&a.org, a.partition) < (&b.org, b.partition));
        let mut at = HEADER_BYTES;
        for run in &self.runs {
            if run.start != at || run.is_empty() {
                return false;
            }
            at += run.len();
        }
        sorted && at == end
    }
}

/// The footer's bytes, once their length and CRC are found good.
fn checked_footer(tail: &[u8]) -> Result<&[u8], ObjectError> {
    let (rest, trailer) = tail
        .split_last_chunk::<TRAILER_BYTES>()
        .ok_or(ObjectError::Short(TRAILER_BYTES))?;
    let mut r = Reader(trailer);
    let (crc, len) = (r.u32().unwrap_or(0), r.u32().unwrap_or(0) as usize);
    if r.0 != END_MAGIC {
        return Err(ObjectError::Damaged("end magic"));
    }
    if len > FOOTER_BYTES_MAX {
        return Err(ObjectError::Damaged("footer length"));
    }
    let from = rest
        .len()
        .checked_sub(len)
        .ok_or(ObjectError::Short(len + TRAILER_BYTES))?;
    let footer = &rest[from..];
    match crc32c::crc32c(footer) == crc {
        true => Ok(footer),
        false => Err(ObjectError::Damaged("footer checksum")),
    }
}

fn read(r: &mut Reader<'_>) -> Option<ObjectFooter> {
    Some(ObjectFooter {
        id: read_object_id(r)?,
        replaces: r.list(24, read_object_id)?,
        runs: r.list(34, read_run)?,
        answers: r.list(28, |r| {
            Some((read_object_id(r)?, r.list(24, RunAnswers::read)?))
        })?,
    })
}

fn read_run(r: &mut Reader<'_>) -> Option<RunEntry> {
    let len = usize::from(r.u8()?);
    let org = std::str::from_utf8(r.bytes(len)?).ok()?;
    Some(RunEntry {
        org: Org::try_from(org).ok()?,
        partition: read_partition(r)?,
        start: r.u64()?,
        batches: r.list(27, read_batch)?,
    })
}

fn read_batch(r: &mut Reader<'_>) -> Option<BatchEntry> {
    let batch = BatchEntry {
        len: r.u32()?,
        offsets: r.u32()?,
        attributes: r.u16()?,
        producer: match r.bool()? {
            true => Some(BatchProducer {
                id: ProducerId(r.i64()?),
                epoch: r.i16()?,
                base_sequence: r.i32()?,
            }),
            false => None,
        },
        min_timestamp: r.i64()?,
        max_timestamp: r.i64()?,
    };
    let sound = batch.len as usize >= BATCH_HEADER_BYTES && (1..=1 << 31).contains(&batch.offsets);
    sound.then_some(batch)
}
