//! Frames: a 4-byte big-endian length, then so many bytes.
use bytes::{Buf, Bytes, BytesMut};
use sh_base::limits::FRAME_BYTES_MAX;

use crate::WireError;

/// Room that is made for a frame at once; a peer that announces a large frame has to send it before it gets more.
const RESERVE_BYTES: usize = 64 * 1024;

pub(crate) const LENGTH_BYTES: usize = 4;

/// Cuts what was read from a connection into frames, without copying.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    frame_bytes_max: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        FrameDecoder::new(FRAME_BYTES_MAX)
    }
}

impl FrameDecoder {
    /// `frame_bytes_max`: Kafka's `socket.request.max.bytes`.
    pub fn new(frame_bytes_max: usize) -> Self {
        FrameDecoder { frame_bytes_max }
    }

    /// Takes the next whole frame (without its length) off the front of `read`. `None`: read more; room is reserved.
    pub fn decode(&self, read: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        let Some(size) = self.announced(read)? else {
            read.reserve(RESERVE_BYTES);
            return Ok(None);
        };
        let missing = (LENGTH_BYTES + size).saturating_sub(read.len());
        if missing > 0 {
            // Doubling keeps the copies of a growing buffer few.
            read.reserve(missing.min(read.len().max(RESERVE_BYTES)));
            return Ok(None);
        }
        read.advance(LENGTH_BYTES);
        Ok(Some(read.split_to(size).freeze()))
    }

    /// The size of the frame that `read` begins with, once its length was read; what is to be charged for it.
    pub fn announced(&self, read: &BytesMut) -> Result<Option<usize>, WireError> {
        let Some(length) = read.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let (size, max) = (i32::from_be_bytes(*length), self.frame_bytes_max);
        match usize::try_from(size) {
            Ok(bytes) if bytes <= max => Ok(Some(bytes)),
            _ => Err(WireError::FrameSize { size, max }),
        }
    }
}

/// Writes the length of everything behind the first 4 bytes of `frame` into them.
pub(crate) fn seal(mut frame: BytesMut) -> Result<Bytes, WireError> {
    let size = frame.len().saturating_sub(LENGTH_BYTES);
    let size = i32::try_from(size).map_err(|_| WireError::AnswerTooLarge)?;
    if let Some(length) = frame.first_chunk_mut::<LENGTH_BYTES>() {
        *length = size.to_be_bytes();
    }
    Ok(frame.freeze())
}
