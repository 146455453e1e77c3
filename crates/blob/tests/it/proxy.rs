//! A line to an S3 server that goes wrong by a script, one step for each request.
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    Good,
    /// The server is never asked.
    Answers503,
    /// The request arrives; no answer comes.
    Stalls,
    /// The request is done; the connection breaks before the answer.
    DropsReply,
    /// Half of the answer comes, then the connection breaks.
    CutsReply,
    /// The connection breaks before the request is read.
    Resets,
}

/// Speaks one request for each connection: enough, and simple to script.
pub struct Proxy {
    pub address: String,
    script: Mutex<VecDeque<Line>>,
    requests: AtomicUsize,
}

impl Proxy {
    pub async fn start(server: &str, script: impl IntoIterator<Item = Line>) -> Arc<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Arc::new(Proxy {
            address: listener.local_addr().unwrap().to_string(),
            script: Mutex::new(script.into_iter().collect()),
            requests: AtomicUsize::new(0),
        });
        tokio::spawn({
            let (proxy, server) = (proxy.clone(), server.to_string());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (proxy, server) = (proxy.clone(), server.clone());
                    // A connection that breaks is what this is for.
                    tokio::spawn(async move { proxy.serve(client, &server).await.ok() });
                }
            }
        });
        proxy
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn serve(&self, mut client: TcpStream, server: &str) -> std::io::Result<()> {
        let mut first = [0];
        if client.peek(&mut first).await? == 0 {
            return Ok(());
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let line = self
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Line::Good);
        if matches!(line, Line::Resets) {
            return Ok(());
        }
        let request = read_message(&mut client).await?;
        match line {
            Line::Good => client.write_all(&ask(server, &request).await?).await,
            Line::Answers503 => client.write_all(SLOW_DOWN.as_bytes()).await,
            Line::Stalls => {
                sleep(Duration::from_secs(600)).await;
                Ok(())
            }
            Line::DropsReply => ask(server, &request).await.map(drop),
            Line::CutsReply => {
                let answer = ask(server, &request).await?;
                client.write_all(&answer[..answer.len() / 2]).await
            }
            Line::Resets => Ok(()),
        }
    }
}

const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\ncontent-length: 67\r\nconnection: close\r\n\r\n<Error><Code>SlowDown</Code><Message>Reduce rate.</Message></Error>";

/// Passes the request on and returns the whole answer, which the server ends by closing.
async fn ask(server: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let head_ends = request
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(0)
        + 2;
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(&request[..head_ends]).await?;
    upstream.write_all(b"connection: close\r\n").await?;
    upstream.write_all(&request[head_ends..]).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// One request, head and body.
async fn read_message(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let head_ends = loop {
        if let Some(at) = message.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&message[..head_ends]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let whole = head_ends + length.map_or(0, |n| n.trim().parse().unwrap());
    while message.len() < whole {
        if client.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}
