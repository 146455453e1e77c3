//! A way to the server that can be slow, or break at a chosen moment.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_postgres::config::Host;

const PASS: u8 = 0;
const LOSE_REQUESTS: u8 = 1;
const LOSE_ANSWERS: u8 = 2;

pub struct Proxy {
    pub port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// Listens on a port of its own; each direction takes `delay`.
    pub async fn start(delay: Duration) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASS));
        let switch = mode.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, delay, switch.clone()));
            }
        });
        Proxy { port, mode }
    }

    pub fn url(&self, schema: &str) -> String {
        let config: tokio_postgres::Config = super::server::url().parse().unwrap();
        let user = config.get_user().unwrap();
        let url = format!(
            "postgres://{user}@127.0.0.1:{}/{}",
            self.port,
            config.get_dbname().unwrap()
        );
        super::server::with_schema(&url, schema)
    }

    /// The next request is lost, and with it its connection.
    pub fn lose_requests(&self) {
        self.mode.store(LOSE_REQUESTS, Ordering::SeqCst);
    }

    /// The next request arrives and is carried out; its answer is lost, and with it the connection.
    pub fn lose_answers(&self) {
        self.mode.store(LOSE_ANSWERS, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.mode.store(PASS, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, delay: Duration, mode: Arc<AtomicU8>) {
    let config: tokio_postgres::Config = super::server::url().parse().unwrap();
    let Host::Tcp(host) = &config.get_hosts()[0] else {
        panic!("the tests speak TCP to the server")
    };
    let server = TcpStream::connect((host.as_str(), config.get_ports()[0]))
        .await
        .unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, delay, mode.clone(), LOSE_REQUESTS) => {}
        () = pump(from_server, to_client, delay, mode, LOSE_ANSWERS) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    delay: Duration,
    mode: Arc<AtomicU8>,
    lose: u8,
) {
    let (arrived, mut on_the_way) = mpsc::unbounded_channel();
    let reading = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if mode.load(Ordering::SeqCst) == lose {
                return;
            }
            let _ = arrived.send((Instant::now() + delay, buffer[..n].to_vec()));
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = on_the_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
