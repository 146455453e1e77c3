//! One connection: frames in, answers out, in order. Generic over the byte stream and over what answers.
use std::{pin::pin, time::Duration};

use bytes::{Buf, Bytes};
use futures::{StreamExt, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    chunks::Chunks,
    frames::{Closing, Incoming, frames},
    queue::Queue,
};

/// A request being answered. The answer is a whole frame in slices, its length included; an empty one is not sent (acks=0). An
/// error ends the connection.
pub type Answering = BoxFuture<'static, Result<Vec<Bytes>, Closing>>;

/// What answers the requests of a connection.
pub trait Service: Clone + Send + Sync + 'static {
    /// Memory that is held as long as this lives.
    type Charge: Send + Sync + 'static;
    /// A request that was understood as far as must be known before it starts.
    type Request: Send + 'static;

    /// Waits until a frame of this API and of so many bytes may be read (back-pressure).
    fn reserve(
        &self,
        api_key: i16,
        frame_bytes: usize,
    ) -> impl Future<Output = Self::Charge> + Send;

    /// Looks at a request as it comes. An error ends the connection.
    fn open(&self, incoming: Incoming<Self::Charge>) -> Result<Self::Request, Closing>;

    /// Asked when the request could start: may it run beside earlier ones of the connection, and later ones beside it? Then
    /// all of it that has to happen in the order of the requests happens before `start` returns. See [`crate::queue`].
    fn runs_ahead(&self, request: &Self::Request) -> bool;

    /// May the answer take as long as there is nothing new (a long poll)? Such a request changes nothing.
    fn waits_for_news(&self, request: &Self::Request) -> bool;

    /// Starts a request.
    fn start(&self, request: Self::Request) -> Answering;
}

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub frame_bytes_max: usize,
    /// Past this many bytes of unanswered requests the connection is not read. One request always fits.
    pub pipeline_bytes_max: usize,
    /// Past this many unanswered requests the connection is not read.
    pub pipeline_requests_max: usize,
    /// `connections.max.idle.ms`: a connection without an unanswered request is closed after this.
    pub idle_max: Duration,
    /// A client that stops for so long in the middle of a frame is gone; its memory is given back.
    pub stall_max: Duration,
}

/// How long the requests of a client that hung up may take.
const HUNG_UP_MAX: Duration = Duration::from_secs(30);

/// Runs a connection until its client closes it, it stays idle, `stop` turns true, or it fails. In each case **the requests that
/// were read are still done**; their answers are sent as long as somebody takes them.
pub async fn run<R, W, S>(
    read: R,
    mut write: W,
    service: S,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Closing>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Service,
{
    let mut frames = pin!(frames(read, service.clone(), limits));
    let mut queue = Queue::new(service);
    let mut stopping = false;
    let outcome = loop {
        let has_room = !stopping
            && (queue.is_empty()
                || queue.bytes() < limits.pipeline_bytes_max
                    && queue.len() < limits.pipeline_requests_max);
        tokio::select! {
            biased;
            answers = queue.answers() => {
                if let Err(gone) = send(&mut write, answers?, &limits).await {
                    break Err(gone);
                }
            }
            frame = frames.next(), if has_room => match frame {
                Some(Ok(frame)) => queue.push(frame),
                Some(Err(closing)) => break Err(closing),
                None => break Ok(()),
            },
            _ = sleep(limits.idle_max), if queue.is_empty() => return Ok(()),
            () = stopped(&mut stop), if !stopping => stopping = true,
        }
        if stopping && queue.is_empty() {
            return Ok(());
        }
    };
    // An error here is the client's absence, which is known already.
    let _ = timeout(HUNG_UP_MAX, finish(&mut queue, &mut write, &limits)).await;
    outcome
}

/// Does what was read before the client hung up.
async fn finish<W: AsyncWrite + Unpin, S: Service>(
    queue: &mut Queue<S>,
    write: &mut W,
    limits: &Limits,
) -> Result<(), Closing> {
    queue.hang_up();
    let mut taken = true;
    while !queue.is_empty() {
        let answers = queue.answers().await?;
        taken = taken && send(write, answers, limits).await.is_ok();
    }
    Ok(())
}

async fn send<W: AsyncWrite + Unpin>(
    write: &mut W,
    mut answers: Chunks,
    limits: &Limits,
) -> Result<(), Closing> {
    let bytes = answers.remaining();
    match timeout(limits.idle_max, write.write_all_buf(&mut answers)).await {
        Ok(done) => done?,
        Err(_) => return Err(Closing::Stuck(limits.idle_max)),
    }
    metrics::counter!("streamhouse_kafka_sent_bytes_total").increment(bytes as u64);
    Ok(())
}

/// Resolves when `stop` turns true, or nobody is left who could turn it.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value borrowed from the channel must not live across an await point: it holds a lock.
    let _ = stop.wait_for(|stop| *stop).await.map(|_| ());
}
