//! A server process that can be killed, stopped for a while and started again on the same folder and addresses.
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long a start may take, waiting for stores included.
const START_MAX: Duration = Duration::from_secs(60);

/// An agent and its folder. Killed when dropped.
pub struct Agent {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    kafka: u16,
    http: u16,
    process: Option<Child>,
}

impl Agent {
    /// An agent with its data under `folder`, not started. `arguments` are added to those of `serve`.
    pub fn new(binary: &str, folder: &Path, arguments: &[String]) -> Result<Agent> {
        let (kafka, http) = (free_port()?, free_port()?);
        fs::create_dir_all(folder)?;
        let mut command = vec![binary.to_owned(), "serve".into(), "--data".into()];
        command.push(folder.join("data").display().to_string());
        command.extend([
            "--kafka".into(),
            format!("127.0.0.1:{kafka}"),
            "--http".into(),
            format!("127.0.0.1:{http}"),
        ]);
        command.extend(arguments.iter().cloned());
        Ok(Agent {
            command,
            environment: Vec::new(),
            folder: folder.to_owned(),
            kafka,
            http,
            process: None,
        })
    }

    /// Adds variables to its environment.
    pub fn env(mut self, variables: &[(&str, &str)]) -> Agent {
        let owned = variables.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        self.environment.extend(owned);
        self
    }

    /// Where Kafka clients connect.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let since = Instant::now();
        while self.get("/readyz").await.is_err() {
            if let Some(status) = self.ended()? {
                bail!(
                    "the server ended at its start with {status}:\n{}",
                    self.log_tail()
                );
            }
            ensure!(
                since.elapsed() < START_MAX,
                "the server was not ready after {START_MAX:?}:\n{}",
                self.log_tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.environment.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn();
        self.process = Some(process.with_context(|| format!("cannot run {}", self.command[0]))?);
        Ok(())
    }

    /// `kill -9`. An agent that ended by itself before is an error: nothing must bring it down.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!(
                "the server ended by itself with {status}:\n{}",
                self.log_tail()
            );
        }
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Stops the process where it is (SIGSTOP), as a long pause of its machine would.
    pub fn pause(&self) -> Result<()> {
        signal(self.pid()?, "STOP")
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        signal(self.pid()?, "CONT")
    }

    /// Asks it to drain (SIGTERM) and waits for its end.
    pub async fn drain(&mut self) -> Result<ExitStatus> {
        signal(self.pid()?, "TERM")?;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(40) {
            if let Some(status) = self.ended()? {
                self.process = None;
                return Ok(status);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the server did not end on SIGTERM:\n{}", self.log_tail())
    }

    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("it does not run")?.id())
    }

    /// Whether it has ended by itself; then it can be started again.
    pub fn has_ended(&mut self) -> Result<bool> {
        let ended = self.process.is_some() && self.ended()?.is_some();
        if ended {
            self.process = None;
        }
        Ok(ended)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let process = self.process.as_mut().context("it does not run")?;
        Ok(process.try_wait()?)
    }

    /// Bytes of its memory that are resident.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
        Ok(kib.context("no VmRSS")? * 1024)
    }

    /// The processor time that it has used, in clock ticks (of 10 ms).
    pub fn cpu_ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let after_name = stat.rsplit_once(") ").context("no stat")?.1;
        let field = |n: usize| after_name.split(' ').nth(n)?.parse::<u64>().ok();
        // utime and stime are fields 14 and 15, counted from 1; the name is the second.
        Ok(field(11).context("no utime")? + field(12).context("no stime")?)
    }

    /// The sum of a metric over those of its series whose labels contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let text = self.get("/metrics").await?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = series
            .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// The body of an answer with status 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.http)).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(Duration::from_secs(5), exchange).await??;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        Ok(body.to_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// How many lines of its log contain `text`.
    pub fn log_lines(&self, text: &str) -> Result<usize> {
        let log = fs::read(self.log_path())?;
        let log = String::from_utf8_lossy(&log);
        Ok(log.lines().filter(|line| line.contains(text)).count())
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// Sends a signal to a process that the caller started.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()?;
    ensure!(status.success(), "kill -{name} {pid}: {status}");
    Ok(())
}

/// Ports below those that systems give to outgoing connections: while an agent is down, nobody must get its port.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port of 127.0.0.1 that nobody listened on a moment ago, another one at each call.
pub fn free_port() -> Result<u16> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    for _ in PORTS {
        let call = first.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + call % (PORTS.end - PORTS.start))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 is free")
}
