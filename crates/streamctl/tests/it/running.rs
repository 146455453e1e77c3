//! A server on a folder of its own, and a `streamctl` that knows its addresses.
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tempfile::TempDir;

pub struct Running {
    /// None: it runs without us, and others use it too.
    server: Option<Child>,
    kafka: String,
    http: String,
    pub dir: TempDir,
}

/// The program under test. `cargo xtask test` says where it is; without it the one beside this test is taken.
fn server_binary() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_BIN_EXE_streamctl")).with_file_name("streamhouse");
    let path = std::env::var_os("STREAMHOUSE_BIN").map_or_else(beside, PathBuf::from);
    assert!(
        path.exists(),
        "no server at {}: run `cargo build -p sh-server`, or set STREAMHOUSE_BIN",
        path.display()
    );
    path
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Running {
    pub fn start() -> Running {
        let dir = TempDir::new().unwrap();
        let (kafka, http) = (
            format!("127.0.0.1:{}", free_port()),
            format!("127.0.0.1:{}", free_port()),
        );
        let server = Command::new(server_binary())
            .args([
                "--kafka", &kafka, "--http", &http, "--log", "warn", "--data",
            ])
            .arg(dir.path().join("data"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running {
            server: Some(server),
            kafka,
            http,
            dir,
        };
        running.wait_until_ready();
        running
    }

    /// Apache Kafka, started by `cargo xtask test`. Names there need [`unique`]: it is shared.
    pub fn oracle() -> Running {
        let kafka = std::env::var("STREAMHOUSE_TEST_ORACLE")
            .expect("STREAMHOUSE_TEST_ORACLE is not set: `cargo xtask test --on oracle` sets it");
        Running {
            server: None,
            kafka,
            http: "127.0.0.1:1".into(),
            dir: TempDir::new().unwrap(),
        }
    }

    /// Our server, and the reference.
    pub fn both() -> [Running; 2] {
        [Running::start(), Running::oracle()]
    }

    /// Where it listens for Kafka clients.
    pub fn address(&self) -> &str {
        &self.kafka
    }

    fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while !self.is_ready() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the server is not ready after a minute"
            );
            assert!(
                self.server
                    .as_mut()
                    .is_some_and(|server| server.try_wait().unwrap().is_none()),
                "the server ended"
            );
            sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.http) else {
            return false;
        };
        let request = format!(
            "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http
        );
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains(" 200 ")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = streamctl(args);
        command
            .env("STREAMCTL_BOOTSTRAP", &self.kafka)
            .env("STREAMCTL_HTTP", &self.http);
        command
    }

    /// Runs a command with this standard input.
    pub fn feed(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        Outcome::of(child.wait_with_output().unwrap())
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.feed(args, "")
    }

    /// What a command that must succeed prints.
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// As [`Running::ok`], read as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A name that nobody else has.
pub fn unique(name: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{name}-{}-{number}", now.as_micros())
}

/// Asks again and again until it is so.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        sleep(Duration::from_millis(100));
    }
}

pub fn streamctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamctl"));
    command.args(args).stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(output: Output) -> Outcome {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// It failed with this exit code and says this.
    pub fn fails(self, code: i32, saying: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(saying), "{self:?}");
    }
}
