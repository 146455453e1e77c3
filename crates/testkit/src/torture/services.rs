//! The real components of a run, as `cargo xtask test` names them.
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{net::TcpStream, time::sleep};

use super::agent::{free_port, signal};

/// A variable that `cargo xtask test` sets.
pub fn wanted(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set; run `cargo xtask test`, which starts what the tests need")
    })
}

/// The server's binary.
pub fn binary() -> Result<String> {
    wanted("STREAMHOUSE_BIN")
}

/// The Postgres that all tests share: a database for each.
pub struct Postgres {
    url: String,
    control: String,
}

impl Postgres {
    pub fn of_environment() -> Result<Postgres> {
        Ok(Postgres {
            url: wanted("STREAMHOUSE_TEST_POSTGRES")?,
            control: wanted("STREAMHOUSE_TEST_POSTGRES_CTL")?,
        })
    }

    /// Makes an empty database and returns its URL.
    pub fn database(&self, name: &str) -> Result<String> {
        let name = format!("{name}_{}_{}", std::process::id(), free_port()?);
        run(Command::new("psql").args([
            "-q",
            &self.url,
            "-c",
            &format!("CREATE DATABASE {name}"),
        ]))?;
        let (server, _) = self
            .url
            .rsplit_once('/')
            .context("no database in the URL")?;
        Ok(format!("{server}/{name}"))
    }

    /// `restart` (clean), `crash` (stops at once, then starts), `stop` or `start`, `pause` or `resume`.
    pub async fn control(&self, what: &'static str) -> Result<()> {
        let control = self.control.clone();
        tokio::task::spawn_blocking(move || run(Command::new(control).arg(what))).await?
    }
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{command:?}: {said}");
    Ok(())
}

/// The bucket that all S3 servers of the tests have.
const BUCKET: &str = "streamhouse";

/// A MinIO of our own, to be killed and stopped. Killed when dropped.
pub struct Minio {
    program: String,
    key: String,
    secret: String,
    folder: std::path::PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Minio {
    /// Starts one with an empty bucket under `folder`.
    pub async fn start(folder: &Path) -> Result<Minio> {
        fs::create_dir_all(folder.join(BUCKET))?;
        let mut minio = Minio {
            program: wanted("STREAMHOUSE_TEST_MINIO")?,
            key: wanted("STREAMHOUSE_TEST_S3_KEY")?,
            secret: wanted("STREAMHOUSE_TEST_S3_SECRET")?,
            folder: folder.to_owned(),
            port: free_port()?,
            process: None,
        };
        minio.begin().await?;
        Ok(minio)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The bucket's URL by way of `address`, its own or a proxy's.
    pub fn url(&self, address: &str) -> String {
        format!("s3://{BUCKET}/torture?endpoint=http://{address}&region=us-east-1")
    }

    /// What an agent needs in its environment to be let in.
    pub fn credentials(&self) -> [(&str, &str); 2] {
        [
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
        ]
    }

    async fn begin(&mut self) -> Result<()> {
        let process = Command::new(&self.program)
            .args(["server", "--quiet", "--address", &self.address()])
            .args(["--console-address", &format!("127.0.0.1:{}", free_port()?)])
            .arg(&self.folder)
            .env("MINIO_ROOT_USER", &self.key)
            .env("MINIO_ROOT_PASSWORD", &self.secret)
            .env("MINIO_BROWSER", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.with_context(|| format!("cannot run {}", self.program))?);
        for _ in 0..2_400 {
            if TcpStream::connect(self.address()).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("MinIO did not start")
    }

    /// `kill -9`, nothing for `away`, and a new start.
    pub async fn crash(&mut self, away: Duration) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        sleep(away).await;
        self.begin().await
    }

    /// SIGSTOP for `away`.
    pub async fn stall(&self, away: Duration) -> Result<()> {
        let pid = self.process.as_ref().context("MinIO does not run")?.id();
        signal(pid, "STOP")?;
        sleep(away).await;
        signal(pid, "CONT")
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
