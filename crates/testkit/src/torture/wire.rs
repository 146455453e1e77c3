//! A wire to a database that can lose answers: what was asked arrives, and is done, and nobody hears of it.
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use super::chance::Chance;

/// A listening end; gone when dropped, with all connections.
pub struct Wire {
    address: String,
    /// One of so many answers is lost, and its connection with it; 0: none.
    losing: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Listens on a free port before `upstream`, a `host:port`.
    pub async fn before(upstream: &str) -> Result<Wire> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (losing, loses) = watch::channel(0);
        let task = tokio::spawn(accept(listener, upstream.to_owned(), loses));
        Ok(Wire {
            address,
            losing,
            task,
        })
    }

    /// Listens before the server of a URL; answers the URL that leads through the wire.
    pub async fn before_url(url: &str) -> Result<(Wire, String)> {
        let (scheme, rest) = url.split_once("://").context("no URL")?;
        let (server, path) = rest.split_once('/').context("no path in the URL")?;
        let (user, host) = server.rsplit_once('@').unwrap_or(("", server));
        let wire = Wire::before(host).await?;
        let url = format!("{scheme}://{user}@{}/{path}", wire.address);
        Ok((wire, url))
    }

    /// Loses one of `every` answers from now on; none with 0.
    pub fn lose(&self, every: usize) {
        self.losing.send_replace(every);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: String, losing: watch::Receiver<usize>) {
    let chance = Arc::new(Mutex::new(Chance::new(1)));
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, losing, chance) = (upstream.clone(), losing.clone(), chance.clone());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&upstream).await else {
                return;
            };
            // Without it an answer could not be told from the one before it.
            if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
                return;
            }
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            // The end of either direction is the end of both.
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {}
                () = answers(from_server, to_client, losing, chance) => {}
            }
        });
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    losing: watch::Receiver<usize>,
    chance: Arc<Mutex<Chance>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let every = *losing.borrow();
        if every > 0 && chance.lock().below(every) == 0 {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that counts the bytes it gets and answers each of them.
    async fn echo() -> (String, Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(0));
        let count = received.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        *count.lock() += 1;
                        stream.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        (address, received)
    }

    #[tokio::test]
    async fn what_is_asked_arrives_though_its_answer_is_lost() {
        let (server, received) = echo().await;
        let (wire, url) = Wire::before_url(&format!("postgres://me@{server}/db"))
            .await
            .unwrap();
        assert_eq!(url, format!("postgres://me@{}/db", wire.address));
        let mut line = TcpStream::connect(&wire.address).await.unwrap();
        let mut byte = [7];
        line.write_all(&byte).await.unwrap();
        line.read_exact(&mut byte).await.unwrap();
        wire.lose(1);
        line.write_all(&byte).await.unwrap();
        assert!(line.read_exact(&mut byte).await.is_err());
        assert_eq!(*received.lock(), 2);
    }
}
