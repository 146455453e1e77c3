//! One `streamhouse serve` process with a data folder of its own.
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::Result;

use super::s3;
use crate::process::{Held, cmd, free_port, scratch_dir};

/// A running agent.
pub struct Agent {
    name: String,
    port: u16,
    held: Held,
}

impl Agent {
    /// Starts an agent with `stores` added to its arguments and waits until it says that it is ready.
    pub fn start(program: &Path, name: &str, stores: &[&str]) -> Result<Agent> {
        let dir = scratch_dir(name)?;
        let (port, http) = (free_port()?, free_port()?);
        let mut serve = cmd(&program.to_string_lossy(), ["serve", "--data"]);
        serve
            .arg(dir.join("data"))
            .args(["--kafka", &format!("127.0.0.1:{port}")])
            .args(["--http", &format!("127.0.0.1:{http}")])
            .args(stores)
            .env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY);
        let mut held = Held::service(&format!("streamhouse ({name})"), &serve, &dir)?;
        held.wait_ready(Duration::from_secs(60), || answers_ok(http, "/readyz"))?;
        Ok(Agent {
            name: name.to_owned(),
            port,
            held,
        })
    }

    /// Where Kafka clients connect.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The end of its log, under its name.
    pub fn log(&self) -> String {
        format!("--- log of {}\n{}\n", self.name, self.held.tail())
    }

    /// Its name, if it has ended by itself.
    pub fn died(&mut self) -> Option<String> {
        self.held.ended().then(|| self.name.clone())
    }
}

/// Whether an HTTP server on this port of 127.0.0.1 answers this path with 200.
pub fn answers_ok(port: u16, path: &str) -> bool {
    status_line(port, path).is_ok_and(|line| line.split(' ').nth(1) == Some("200"))
}

fn status_line(port: u16, path: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
