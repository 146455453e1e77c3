//! An HTTP proxy before a bucket, with weather.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use super::chance::Chance;

/// What happens to requests while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Every PUT is held for so long before it reaches the bucket.
    SlowPuts(Duration),
    /// Requests are held as long as a distant bucket would take for them.
    Distant {
        put: Delay,
        get: Delay,
    },
    /// 503 SlowDown; nothing reaches the bucket.
    Unavailable,
    /// Nothing goes on until the weather changes; then what was held arrives, late.
    Stalled,
    /// Requests reach the bucket, their answers are lost.
    AnswersLost,
    /// Requests reach the bucket, their answers come when the weather has changed: long after nobody waits for them.
    AnswersLate,
}

/// How long requests take: log-normal, which is what object stores look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub p50: Duration,
    pub p99: Duration,
}

/// S3 in its own region, as measured for objects of a few MiB.
pub const S3: Weather = Weather::Distant {
    put: Delay {
        p50: Duration::from_millis(60),
        p99: Duration::from_millis(250),
    },
    get: Delay {
        p50: Duration::from_millis(25),
        p99: Duration::from_millis(120),
    },
};

impl Delay {
    /// One of the distribution, by two numbers drawn from [0, 1).
    fn of(&self, chance: (f64, f64)) -> Duration {
        /// Of the standard normal distribution.
        const QUANTILE_99: f64 = 2.326;
        let (a, b) = (1.0 - chance.0, chance.1);
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        let spread = (self.p99.as_secs_f64() / self.p50.as_secs_f64()).ln() / QUANTILE_99;
        self.p50.mul_f64((spread * normal).exp())
    }
}

/// A listening proxy; gone when dropped.
pub struct Proxy {
    address: String,
    weather: watch::Sender<Weather>,
    puts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port before `upstream`, a `host:port`.
    pub async fn before(upstream: &str) -> Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (weather, watch) = watch::channel(Weather::Clear);
        let puts = Arc::new(AtomicU64::new(0));
        let line = Line {
            upstream: upstream.to_owned(),
            weather: watch,
            puts: puts.clone(),
            chance: Arc::new(Mutex::new(Chance::new(1))),
        };
        let task = tokio::spawn(accept(listener, line));
        Ok(Proxy {
            address,
            weather,
            puts,
            task,
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// PUT requests so far.
    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Line {
    upstream: String,
    weather: watch::Receiver<Weather>,
    puts: Arc<AtomicU64>,
    chance: Arc<Mutex<Chance>>,
}

async fn accept(listener: TcpListener, line: Line) {
    while let Ok((client, _)) = listener.accept().await {
        let line = line.clone();
        // An end of either side ends the pair: what was under way is lost, as on a real line.
        tokio::spawn(async move { drop(line.carry(client).await) });
    }
}

const SLOW_DOWN: &[u8] = b"HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: 70\r\n\r\n<Error><Code>SlowDown</Code><Message>Not at present.</Message></Error>";

impl Line {
    async fn carry(mut self, client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let (read, mut to_client) = client.into_split();
        let mut from_client = BufReader::with_capacity(64 * 1024, read);
        let mut upstream: Option<BufReader<TcpStream>> = None;
        while let Some(request) = Head::read(&mut from_client).await? {
            let mut body = Vec::new();
            request.body(&mut from_client, &mut body, false).await?;
            let put = request.first.starts_with("PUT ");
            self.puts.fetch_add(u64::from(put), Ordering::Relaxed);
            if !self.lets_through(put).await? {
                to_client.write_all(SLOW_DOWN).await?;
                continue;
            }
            if upstream.is_none() {
                upstream = Some(self.connect().await?);
            }
            let server = upstream.as_mut().context("connected above")?;
            server.write_all(&request.bytes).await?;
            server.write_all(&body).await?;
            let answer = Head::read(server).await?.context("no answer")?;
            let late = Weather::AnswersLate;
            self.weather.wait_for(|w| *w != late).await?;
            let lost = *self.weather.borrow() == Weather::AnswersLost;
            let mut sink = tokio::io::sink();
            let out: &mut (dyn AsyncWrite + Unpin + Send) =
                if lost { &mut sink } else { &mut to_client };
            out.write_all(&answer.bytes).await?;
            let without_body = request.first.starts_with("HEAD ");
            answer.body(server, out, without_body).await?;
            if lost || answer.closes {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.upstream).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::with_capacity(64 * 1024, stream))
    }

    fn draw(&self, delay: Delay) -> Duration {
        let mut chance = self.chance.lock();
        let mut draw = || (chance.next() >> 11) as f64 / (1_u64 << 53) as f64;
        delay.of((draw(), draw()))
    }

    /// Whether the request may go on to the bucket; false for one that is answered with 503.
    async fn lets_through(&mut self, put: bool) -> Result<bool> {
        let weather = *self.weather.borrow();
        match weather {
            Weather::Unavailable => return Ok(false),
            Weather::SlowPuts(pause) if put => sleep(pause).await,
            Weather::Distant { put: delay, .. } if put => sleep(self.draw(delay)).await,
            Weather::Distant { get: delay, .. } => sleep(self.draw(delay)).await,
            Weather::Stalled => drop(self.weather.wait_for(|w| *w != Weather::Stalled).await?),
            _ => {}
        }
        Ok(true)
    }
}

/// The head of a request or an answer, as it came.
struct Head {
    first: String,
    bytes: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    closes: bool,
}

impl Head {
    /// `None` at the end of the stream.
    async fn read<R: AsyncBufReadExt + Unpin>(from: &mut R) -> Result<Option<Head>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            if from.read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(None);
            }
            if bytes.len() - before <= 2 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let field = |name: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(name))
                .map(str::trim)
        };
        let first = String::from_utf8_lossy(&bytes);
        Ok(Some(Head {
            first: first.lines().next().unwrap_or_default().to_owned(),
            length: field("content-length:").and_then(|v| v.parse().ok()),
            chunked: field("transfer-encoding:") == Some("chunked"),
            closes: field("connection:") == Some("close"),
            bytes,
        }))
    }

    /// Copies what follows the head.
    async fn body<R, W>(&self, from: &mut R, to: &mut W, none: bool) -> Result<()>
    where
        R: AsyncBufReadExt + Unpin,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let status = self.first.split(' ').nth(1).unwrap_or_default();
        if none || ["204", "304"].contains(&status) {
            return Ok(());
        }
        if self.chunked {
            return copy_chunks(from, to).await;
        }
        if let Some(length) = self.length {
            copy(&mut from.take(length), to).await?;
        }
        Ok(())
    }
}

async fn copy_chunks<R, W>(from: &mut R, to: &mut W) -> Result<()>
where
    R: AsyncBufReadExt + Unpin,
    W: AsyncWrite + Unpin + ?Sized,
{
    loop {
        let mut line = String::new();
        from.read_line(&mut line).await?;
        to.write_all(line.as_bytes()).await?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).context("not a chunk")?;
        // The data and the end of its line; after the last chunk, only the end of the line.
        copy(&mut from.take(size + 2), to).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every request with its method and what it has received so far.
    async fn echo() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Ok(Some(head)) = Head::read(&mut stream).await {
                        let mut body = Vec::new();
                        head.body(&mut stream, &mut body, false).await.unwrap();
                        count.fetch_add(1, Ordering::Relaxed);
                        let answer: &[u8] = if head.first.starts_with("GET") {
                            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                        } else {
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                        };
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        (address, received)
    }

    async fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> Option<(String, Vec<u8>)> {
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = Head::read(stream).await.ok()??;
        let mut body = Vec::new();
        head.body(stream, &mut body, false).await.ok()?;
        Some((head.first, body))
    }

    const PUT: &str = "PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
    const GET: &str = "GET /a HTTP/1.1\r\n\r\n";

    async fn through(proxy: &Proxy) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(proxy.address()).await.unwrap())
    }

    #[tokio::test]
    async fn in_clear_weather_answers_come_through_on_one_connection() {
        let (server, received) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        let mut line = through(&proxy).await;
        assert_eq!(ask(&mut line, PUT).await.unwrap().0, "HTTP/1.1 200 OK");
        let (_, body) = ask(&mut line, GET).await.unwrap();
        assert_eq!(body, b"3\r\nabc\r\n0\r\n\r\n");
        assert_eq!((received.load(Ordering::Relaxed), proxy.puts()), (2, 1));
    }

    #[tokio::test]
    async fn unavailable_answers_503_and_lets_nothing_through() {
        let (server, received) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        proxy.set(Weather::Unavailable);
        let mut line = through(&proxy).await;
        for _ in 0..2 {
            let (first, body) = ask(&mut line, PUT).await.unwrap();
            assert_eq!(first, "HTTP/1.1 503 Slow Down");
            assert!(body.ends_with(b"</Error>"));
        }
        assert_eq!(received.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_lost_answer_is_one_of_a_request_that_arrived() {
        let (server, received) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        proxy.set(Weather::AnswersLost);
        assert_eq!(ask(&mut through(&proxy).await, PUT).await, None);
        assert_eq!(received.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_late_answer_is_one_of_a_request_that_arrived_in_time() {
        let (server, received) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        proxy.set(Weather::AnswersLate);
        let mut line = through(&proxy).await;
        let early = tokio::time::timeout(Duration::from_millis(100), ask(&mut line, PUT));
        assert!(early.await.is_err());
        assert_eq!(received.load(Ordering::Relaxed), 1);
        proxy.set(Weather::Clear);
        assert!(Head::read(&mut line).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_was_stalled_arrives_late() {
        let (server, received) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        proxy.set(Weather::Stalled);
        let mut line = through(&proxy).await;
        let early = tokio::time::timeout(Duration::from_millis(100), ask(&mut line, PUT));
        assert!(early.await.is_err());
        assert_eq!(received.load(Ordering::Relaxed), 0);
        proxy.set(Weather::Clear);
        assert!(Head::read(&mut line).await.unwrap().is_some());
        assert_eq!(received.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn delays_have_the_median_and_the_99th_percentile_that_they_claim() {
        let Weather::Distant { put, .. } = S3 else {
            panic!("S3 is distant")
        };
        let steps = || (0..200).map(|i| (f64::from(i) + 0.5) / 200.0);
        let mut drawn: Vec<Duration> = steps()
            .flat_map(|a| steps().map(move |b| put.of((a, b))))
            .collect();
        drawn.sort();
        let close = |at: usize, to: Duration| drawn[at].abs_diff(to) < to / 10;
        assert!(close(drawn.len() / 2, put.p50) && close(drawn.len() * 99 / 100, put.p99));
    }

    #[tokio::test]
    async fn only_puts_are_slow() {
        let (server, _) = echo().await;
        let proxy = Proxy::before(&server).await.unwrap();
        proxy.set(Weather::SlowPuts(Duration::from_millis(150)));
        let mut line = through(&proxy).await;
        let start = std::time::Instant::now();
        ask(&mut line, GET).await.unwrap();
        let get = start.elapsed();
        ask(&mut line, PUT).await.unwrap();
        assert!(get < Duration::from_millis(150));
        assert!(start.elapsed() - get >= Duration::from_millis(150));
    }
}
