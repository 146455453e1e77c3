//! Reading requests off a socket: one length-prefixed frame at a time, its memory reserved before its bytes are read.
use std::{io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use sh_wire::{ApiKey, RequestHeader, WireError};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::connection::{Limits, Service};

/// A request as it came, its body not read yet.
pub struct Incoming<C> {
    pub header: RequestHeader,
    /// A slice of the frame; holding any part of it holds the whole frame.
    pub body: Bytes,
    /// To be held as long as any part of the frame is.
    pub charge: C,
}

/// An opened request, and the bytes of its frame.
pub type Framed<S> = (<S as Service>::Request, usize);

/// Why a connection ends before its client closes it. Everything but `Io` is worth a log line.
#[derive(Debug, thiserror::Error)]
pub enum Closing {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{api:?} is not served at version {version}")]
    Unsupported { api: ApiKey, version: i16 },
    /// As Apache Kafka does: without an answer there is no other way to tell a producer that it writes into the void.
    #[error("a produce request with acks=0 failed")]
    AcksNoneFailed,
    #[error("the client stopped for {0:?} in the middle of a frame")]
    Stalled(Duration),
    #[error("the client did not take an answer for {0:?}")]
    Stuck(Duration),
}

/// The requests of a connection, in order; ends when the client closes between two frames.
pub fn frames<R, S>(
    read: R,
    service: S,
    limits: Limits,
) -> impl Stream<Item = Result<Framed<S>, Closing>>
where
    R: AsyncRead + Unpin,
    S: Service,
{
    stream::try_unfold((read, service), move |(mut read, service)| async move {
        let framed = next(&mut read, &service, &limits).await?;
        Ok(framed.map(|framed| (framed, (read, service))))
    })
}

async fn next<R: AsyncRead + Unpin, S: Service>(
    read: &mut R,
    service: &S,
    limits: &Limits,
) -> Result<Option<Framed<S>>, Closing> {
    let Some(front) = Front::read(read, limits).await? else {
        return Ok(None);
    };
    let Front { length, api_key } = front;
    let charge = service.reserve(api_key, length).await;
    let frame = read_rest(read, front, limits).await?;
    metrics::counter!("streamhouse_kafka_received_bytes_total").increment(length as u64 + 4);
    let (header, body) = RequestHeader::decode(&frame)?;
    let request = service.open(Incoming {
        header,
        body,
        charge,
    })?;
    Ok(Some((request, length)))
}

/// What must be known of a frame before there is memory for it.
#[derive(Clone, Copy)]
struct Front {
    /// Of the frame, without these four bytes.
    length: usize,
    api_key: i16,
}

const LENGTH_BYTES: usize = 4;
const KEY_BYTES: usize = 2;

impl Front {
    /// `None`: the client closed.
    async fn read<R: AsyncRead + Unpin>(
        read: &mut R,
        limits: &Limits,
    ) -> Result<Option<Front>, Closing> {
        let mut bytes = [0; LENGTH_BYTES + KEY_BYTES];
        let mut filled = read.read(&mut bytes).await?;
        if filled == 0 {
            return Ok(None);
        }
        if filled < LENGTH_BYTES {
            let rest = &mut bytes[filled..LENGTH_BYTES];
            within(limits.stall_max, read.read_exact(rest)).await?;
            filled = LENGTH_BYTES;
        }
        let [a, b, c, d, _, _] = bytes;
        let length = frame_length(i32::from_be_bytes([a, b, c, d]), limits)?;
        within(limits.stall_max, read.read_exact(&mut bytes[filled..])).await?;
        let [.., key_high, key_low] = bytes;
        let api_key = i16::from_be_bytes([key_high, key_low]);
        Ok(Some(Front { length, api_key }))
    }
}

fn frame_length(size: i32, limits: &Limits) -> Result<usize, Closing> {
    let max = limits.frame_bytes_max;
    match usize::try_from(size) {
        Ok(length) if length < KEY_BYTES => Err(WireError::CutOff {
            what: "the api key",
        })?,
        Ok(length) if length <= max => Ok(length),
        _ => Err(WireError::FrameSize { size, max })?,
    }
}

/// The whole frame, behind its length.
async fn read_rest<R: AsyncRead + Unpin>(
    read: &mut R,
    front: Front,
    limits: &Limits,
) -> Result<Bytes, Closing> {
    let mut frame = BytesMut::with_capacity(front.length);
    frame.put_i16(front.api_key);
    while frame.len() < front.length {
        let missing = front.length - frame.len();
        let mut rest = (&mut frame).limit(missing);
        if within(limits.stall_max, read.read_buf(&mut rest)).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(frame.freeze())
}

async fn within<T>(
    stall_max: Duration,
    read: impl Future<Output = io::Result<T>>,
) -> Result<T, Closing> {
    match timeout(stall_max, read).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Closing::Stalled(stall_max)),
    }
}
