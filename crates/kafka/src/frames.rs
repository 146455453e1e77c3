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
    let Some(length) = read_length(read, limits).await? else {
        return Ok(None);
    };
    let charge = service.reserve(length).await;
    let frame = read_body(read, length, limits).await?;
    metrics::counter!("streamhouse_kafka_received_bytes_total").increment(length as u64 + 4);
    let (header, body) = RequestHeader::decode(&frame)?;
    let request = service.open(Incoming {
        header,
        body,
        charge,
    })?;
    Ok(Some((request, length)))
}

/// `None`: the client closed.
async fn read_length<R: AsyncRead + Unpin>(
    read: &mut R,
    limits: &Limits,
) -> Result<Option<usize>, Closing> {
    let mut prefix = [0; 4];
    let first = read.read(&mut prefix).await?;
    if first == 0 {
        return Ok(None);
    }
    within(limits.stall_max, read.read_exact(&mut prefix[first..])).await?;
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(n) if n <= limits.frame_bytes_max => Ok(Some(n)),
        _ => Err(WireError::FrameSize {
            size: length,
            max: limits.frame_bytes_max,
        }
        .into()),
    }
}

async fn read_body<R: AsyncRead + Unpin>(
    read: &mut R,
    length: usize,
    limits: &Limits,
) -> Result<Bytes, Closing> {
    let mut frame = BytesMut::with_capacity(length);
    while frame.len() < length {
        let missing = length - frame.len();
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
