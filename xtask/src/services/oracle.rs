//! Apache Kafka itself: what our answers are compared with.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    process::{Held, free_port, output, scratch_dir},
    tools::kafka,
    workspace::root,
};

/// A running broker.
pub struct Oracle {
    port: u16,
    held: Held,
}

impl Oracle {
    /// Starts a broker with empty logs on a free port.
    pub fn start() -> Result<Oracle> {
        Oracle::on(free_port()?)
    }

    fn on(port: u16) -> Result<Oracle> {
        let dir = scratch_dir("oracle")?;
        let settings = write_settings(&dir, port)?;
        format_logs(&settings)?;
        let mut broker = kafka::java("kafka.Kafka")?;
        broker.arg(settings);
        let mut held = Held::service("Apache Kafka", &broker, &dir)?;
        held.wait_ready(Duration::from_secs(90), || answers(port))?;
        Ok(Oracle { port, held })
    }

    /// Where clients connect.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn write_settings(dir: &Path, port: u16) -> Result<PathBuf> {
    let template = root().join("suites/oracle/server.properties");
    let text =
        fs::read_to_string(&template).with_context(|| format!("no {}", template.display()))?;
    let text = text
        .replace("{port}", &port.to_string())
        .replace("{controller}", &free_port()?.to_string())
        .replace("{dir}", &dir.to_string_lossy());
    let settings = dir.join("server.properties");
    fs::write(&settings, text)?;
    Ok(settings)
}

fn format_logs(settings: &Path) -> Result<()> {
    let id = output(kafka::java("kafka.tools.StorageTool")?.arg("random-uuid"))?;
    let id = id.lines().last().context("Kafka made no cluster id")?;
    let mut format = kafka::java("kafka.tools.StorageTool")?;
    output(format.args(["format", "-t", id.trim(), "-c"]).arg(settings)).map(drop)
}

/// Whether a broker answers requests there: the port opens before it does.
fn answers(port: u16) -> bool {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpStream},
    };

    // ApiVersions version 0, correlation id 7, no client id.
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];
    let ask = || -> std::io::Result<[u8; 10]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(&request)?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    // Length, correlation id, error code 0.
    ask().is_ok_and(|answer| answer[4..] == [0, 0, 0, 7, 0, 0])
}

/// `cargo xtask oracle PORT`.
pub fn run_in_foreground(args: &[String]) -> Result<()> {
    let port = args.first().and_then(|port| port.parse().ok());
    let port = port.context("usage: cargo xtask oracle PORT")?;
    crate::tools::debian::install_missing()?;
    kafka::install()?;
    let mut oracle = Oracle::on(port)?;
    println!("Apache Kafka listens on {}", oracle.address());
    oracle.held.wait().map(drop)
}
