//! One TCP connection: requests go out in the order they are sent, answers find their request by correlation id.
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, RequestKind, ResponseKind,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use crate::{Error, Result};

/// Answers longer than this are not Kafka's.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Who waits for which correlation id; `None` once the connection is closed.
type Waiting = Mutex<Option<HashMap<i32, oneshot::Sender<Bytes>>>>;

/// A frame on its way to the socket, and whom to tell that the socket has it.
struct Outgoing {
    frame: Bytes,
    written: Option<oneshot::Sender<()>>,
}

/// An open connection. Cheap to share behind an `Arc`; closed when dropped.
pub struct Connection {
    address: String,
    client_id: StrBytes,
    timeout: Duration,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<Waiting>,
    next_correlation_id: AtomicI32,
    versions: HashMap<i16, VersionRange>,
}

/// A request that is on its way.
pub struct Pending {
    answer: oneshot::Receiver<Bytes>,
    address: String,
    what: String,
    timeout: Duration,
}

impl Pending {
    /// The answer's bytes after the correlation id.
    pub async fn bytes(self) -> Result<Bytes> {
        match tokio::time::timeout(self.timeout, self.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Closed {
                address: self.address,
            }),
            Err(_) => Err(Error::Timeout {
                address: self.address,
                what: self.what,
                after: self.timeout,
            }),
        }
    }
}

impl Connection {
    /// Connects and asks which versions the broker speaks.
    pub async fn open(address: &str, client_id: &str, timeout: Duration) -> Result<Connection> {
        let mut connection = Connection::open_silent(address, client_id, timeout).await?;
        connection.versions = connection.ask_versions().await?;
        Ok(connection)
    }

    /// Connects and sends nothing: for those who want to say the first word themselves. [`Connection::version_of`] knows nothing.
    pub async fn open_silent(
        address: &str,
        client_id: &str,
        timeout: Duration,
    ) -> Result<Connection> {
        let (read, write) = connect(address, timeout).await?.into_split();
        Ok(Connection::begin(read, write, address, client_id, timeout))
    }

    /// Like [`Connection::open`], over a stream that is there already: a tunnel, or a pipe in memory.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        address: &str,
        client_id: &str,
        timeout: Duration,
    ) -> Result<Connection> {
        let (read, write) = tokio::io::split(stream);
        let mut connection = Connection::begin(read, write, address, client_id, timeout);
        connection.versions = connection.ask_versions().await?;
        Ok(connection)
    }

    fn begin(
        read: impl AsyncRead + Unpin + Send + 'static,
        write: impl AsyncWrite + Unpin + Send + 'static,
        address: &str,
        client_id: &str,
        timeout: Duration,
    ) -> Connection {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(run(read, write, queue, waiting.clone()));
        Connection {
            address: address.into(),
            client_id: StrBytes::from_string(client_id.into()),
            timeout,
            outgoing,
            waiting,
            next_correlation_id: AtomicI32::new(1),
            versions: HashMap::new(),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn is_closed(&self) -> bool {
        self.waiting.lock().is_none()
    }

    /// The versions the broker advertises, by API key.
    pub fn versions(&self) -> &HashMap<i16, VersionRange> {
        &self.versions
    }

    /// The highest version of `R` that both sides speak.
    pub fn version_of<R: Request>(&self) -> Result<i16> {
        let ours = R::VERSIONS;
        let theirs = self
            .versions
            .get(&R::KEY)
            .copied()
            .unwrap_or(VersionRange { min: 0, max: -1 });
        let both = ours.intersect(&theirs);
        if both.is_empty() {
            return Err(Error::UnsupportedVersion {
                address: self.address.clone(),
                what: api_name(R::KEY),
                ours: ours.to_string(),
                theirs: if theirs.is_empty() {
                    "none".into()
                } else {
                    theirs.to_string()
                },
            });
        }
        Ok(both.max)
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R, version: i16) -> Result<R::Response> {
        self.start(request, version)?.await
    }

    /// Puts a request on its way (now, before the future is awaited) and returns the answer to come.
    pub fn start<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<impl Future<Output = Result<R::Response>> + Send + use<R>> {
        let body = encode(request, &api_name(R::KEY), version)?;
        let pending = self.send(R::KEY, version, R::header_version(version), &body)?;
        let header = R::Response::header_version(version);
        Ok(async move {
            let (address, what) = (pending.address.clone(), pending.what.clone());
            let mut answer = pending.bytes().await?;
            let malformed = |problem: String| Error::Malformed {
                address,
                what,
                problem,
            };
            strip_header(&mut answer, header)
                .and_then(|()| R::Response::decode(&mut answer, version).map_err(|e| e.to_string()))
                .map_err(malformed)
        })
    }

    /// Puts a request on its way that is never answered (Produce with acks=0). The future ends when the socket has all of
    /// it: whoever closes the connection earlier, or ends the process, takes the request back.
    pub fn tell<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<R>> {
        let body = encode(request, &api_name(R::KEY), version)?;
        let id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let header = self.header(R::KEY, version, id);
        let (tell, written) = oneshot::channel();
        let frame = frame(&header, R::header_version(version), &body)?;
        self.push(frame, Some(tell))?;
        let closed = self.closed();
        Ok(async move { written.await.map_err(|_| closed) })
    }

    /// Any request as the enum over all of them; the answer likewise.
    pub async fn call_kind(
        &self,
        request: &RequestKind,
        key: ApiKey,
        version: i16,
    ) -> Result<ResponseKind> {
        let mut body = BytesMut::new();
        let what = format!("{key:?} v{version}");
        request
            .encode(&mut body, version)
            .map_err(|e| Error::Unencodable {
                what: what.clone(),
                version,
                problem: e.to_string(),
            })?;
        let pending = self.send(
            key as i16,
            version,
            key.request_header_version(version),
            &body,
        )?;
        let mut answer = pending.bytes().await?;
        strip_header(&mut answer, key.response_header_version(version))
            .and_then(|()| {
                ResponseKind::decode(key, &mut answer, version).map_err(|e| e.to_string())
            })
            .map_err(|problem| Error::Malformed {
                address: self.address.clone(),
                what,
                problem,
            })
    }

    /// Sends any bytes as the body of a request with a header of the given version.
    pub fn send(
        &self,
        key: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) -> Result<Pending> {
        let id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let header = self.header(key, version, id);
        self.send_frame(
            id,
            frame(&header, header_version, body)?,
            format!("{} v{version}", api_name(key)),
        )
    }

    /// Sends a whole frame, length included, as it is; waits for an answer with this correlation id.
    pub fn send_frame(&self, correlation_id: i32, frame: Bytes, what: String) -> Result<Pending> {
        let (tell, answer) = oneshot::channel();
        match self.waiting.lock().as_mut() {
            Some(waiting) => waiting.insert(correlation_id, tell),
            None => return Err(self.closed()),
        };
        self.push(frame, None)?;
        Ok(Pending {
            answer,
            address: self.address.clone(),
            what,
            timeout: self.timeout,
        })
    }

    fn header(&self, key: i16, version: i16, correlation_id: i32) -> RequestHeader {
        RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()))
    }

    fn push(&self, frame: Bytes, written: Option<oneshot::Sender<()>>) -> Result<()> {
        let outgoing = Outgoing { frame, written };
        self.outgoing.send(outgoing).map_err(|_| self.closed())
    }

    fn closed(&self) -> Error {
        Error::Closed {
            address: self.address.clone(),
        }
    }

    /// Version 3 first; a broker that does not know it answers in version 0 with what it knows (KIP-511).
    async fn ask_versions(&self) -> Result<HashMap<i16, VersionRange>> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("streamhouse"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = encode(&request, "ApiVersions", 3)?;
        let answer = self
            .send(ApiKey::ApiVersions as i16, 3, 2, &body)?
            .bytes()
            .await?;
        let answer = self.read_versions(answer)?;
        Error::check("ApiVersions", answer.error_code, None)?;
        let range =
            |k: &kafka_protocol::messages::api_versions_response::ApiVersion| VersionRange {
                min: k.min_version,
                max: k.max_version,
            };
        Ok(answer
            .api_keys
            .iter()
            .map(|k| (k.api_key, range(k)))
            .collect())
    }

    fn read_versions(&self, answer: Bytes) -> Result<ApiVersionsResponse> {
        let downgraded = answer.get(..2) == Some(&35i16.to_be_bytes()[..]);
        let version = if downgraded { 0 } else { 3 };
        let mut decoded =
            ApiVersionsResponse::decode(&mut answer.clone(), version).map_err(|e| {
                Error::Malformed {
                    address: self.address.clone(),
                    what: "ApiVersions".into(),
                    problem: e.to_string(),
                }
            })?;
        if downgraded && !decoded.api_keys.is_empty() {
            decoded.error_code = 0;
        }
        Ok(decoded)
    }
}

async fn connect(address: &str, timeout: Duration) -> Result<TcpStream> {
    let failed = |source| Error::Connect {
        address: address.into(),
        source,
    };
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("API {key}"), |k| format!("{k:?}"))
}

fn encode<R: Encodable>(request: &R, what: &str, version: i16) -> Result<BytesMut> {
    let mut body = BytesMut::new();
    request
        .encode(&mut body, version)
        .map_err(|e| Error::Unencodable {
            what: what.into(),
            version,
            problem: e.to_string(),
        })?;
    Ok(body)
}

/// Length, header, body.
fn frame(header: &RequestHeader, header_version: i16, body: &[u8]) -> Result<Bytes> {
    let mut head = BytesMut::with_capacity(body.len() + 64);
    head.put_i32(0);
    header
        .encode(&mut head, header_version)
        .map_err(|e| Error::Unencodable {
            what: "the request header".into(),
            version: header_version,
            problem: e.to_string(),
        })?;
    head.put_slice(body);
    let length = (head.len() - 4) as u32;
    head[..4].copy_from_slice(&length.to_be_bytes());
    Ok(head.freeze())
}

/// Skips what a flexible response header holds beyond the correlation id: tagged fields, none of which are defined.
fn strip_header(answer: &mut Bytes, header_version: i16) -> Result<(), String> {
    if header_version < 1 {
        return Ok(());
    }
    for _ in 0..unsigned_varint(answer)? {
        unsigned_varint(answer)?;
        let length = unsigned_varint(answer)? as usize;
        if length > answer.len() {
            return Err("a tagged field longer than the answer".into());
        }
        answer.advance(length);
    }
    Ok(())
}

fn unsigned_varint(bytes: &mut Bytes) -> Result<u32, String> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        if !bytes.has_remaining() {
            return Err("it ends in the header".into());
        }
        let byte = bytes.get_u8();
        value |= u32::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a varint of more than five bytes".into())
}

/// Lives as long as the connection; whoever still waits when it ends learns that it is closed.
async fn run(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Arc<Waiting>,
) {
    tokio::select! {
        biased;
        result = read_answers(read, &waiting) => tracing::debug!(?result, "connection ended while reading"),
        result = write_requests(write, queue) => tracing::debug!(?result, "connection ended while writing"),
    }
    waiting.lock().take();
}

async fn write_requests(
    write: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
) -> std::io::Result<()> {
    let mut write = BufWriter::with_capacity(64 * 1024, write);
    let mut written = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            write.write_all(&outgoing.frame).await?;
            written.extend(outgoing.written);
            next = queue.try_recv().ok();
        }
        write.flush().await?;
        for tell in written.drain(..) {
            // Nobody may be waiting any more.
            let _ = tell.send(());
        }
    }
    write.shutdown().await
}

async fn read_answers(read: impl AsyncRead + Unpin, waiting: &Waiting) -> std::io::Result<()> {
    let mut read = BufReader::with_capacity(64 * 1024, read);
    loop {
        let length = read.read_u32().await? as usize;
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(std::io::Error::other(format!(
                "an answer of {length} bytes"
            )));
        }
        let correlation_id = read.read_i32().await?;
        let answer = read_exactly(&mut read, length - 4).await?;
        let waiter = waiting
            .lock()
            .as_mut()
            .and_then(|w| w.remove(&correlation_id));
        match waiter {
            Some(waiter) => drop(waiter.send(answer)),
            None => {
                return Err(std::io::Error::other(format!(
                    "an answer to no request ({correlation_id})"
                )));
            }
        }
    }
}

/// Reads `length` bytes, taking memory only as they arrive.
async fn read_exactly(
    read: &mut BufReader<impl AsyncRead + Unpin>,
    length: usize,
) -> std::io::Result<Bytes> {
    let mut answer = BytesMut::with_capacity(length.min(1024 * 1024));
    let mut limited = read.take(length as u64);
    while answer.len() < length {
        if limited.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer.freeze())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
