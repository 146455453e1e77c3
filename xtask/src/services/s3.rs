//! The two S3 servers: MinIO and versitygw, each with one bucket on a temporary folder.
use std::{fs, time::Duration};

use anyhow::Result;

use super::agent::answers_ok;
use crate::{
    process::{Held, accepts, cmd, free_port, scratch_dir},
    tools::golang,
};

/// The key id that both servers know.
pub const ACCESS_KEY: &str = "streamhouse";
/// Its secret.
pub const SECRET_KEY: &str = "streamhouse-secret";

const BUCKET: &str = "streamhouse";

/// A running S3 server.
pub struct S3 {
    port: u16,
    _held: Held,
}

impl S3 {
    /// Starts MinIO.
    pub fn minio() -> Result<S3> {
        let dir = scratch_dir("minio")?;
        let (port, console) = (free_port()?, free_port()?);
        // A folder of the drive is a bucket, for both servers.
        fs::create_dir_all(dir.join("drive").join(BUCKET))?;
        let mut server = cmd(
            &golang::program("minio")?.to_string_lossy(),
            ["server", "--quiet"],
        );
        server
            .args(["--address", &format!("127.0.0.1:{port}")])
            .args(["--console-address", &format!("127.0.0.1:{console}")])
            .arg(dir.join("drive"))
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_BROWSER", "off");
        let mut held = Held::service("MinIO", &server, &dir)?;
        held.wait_ready(Duration::from_secs(30), || {
            answers_ok(port, "/minio/health/ready")
        })?;
        Ok(S3 { port, _held: held })
    }

    /// Starts versitygw.
    pub fn versitygw() -> Result<S3> {
        let dir = scratch_dir("versitygw")?;
        let port = free_port()?;
        fs::create_dir_all(dir.join("drive").join(BUCKET))?;
        fs::create_dir_all(dir.join("attributes"))?;
        let mut server = cmd(&golang::program("versitygw")?.to_string_lossy(), [""; 0]);
        server
            .args(["--access", ACCESS_KEY, "--secret", SECRET_KEY])
            .args([
                "--port",
                &format!("127.0.0.1:{port}"),
                "--health",
                "/health",
            ])
            // Attributes in files of their own: not every temporary folder has extended ones.
            .args(["--quiet", "posix", "--sidecar"])
            .args([dir.join("attributes"), dir.join("drive")]);
        let mut held = Held::service("versitygw", &server, &dir)?;
        held.wait_ready(Duration::from_secs(30), || {
            accepts(port) && answers_ok(port, "/health")
        })?;
        Ok(S3 { port, _held: held })
    }

    /// The URL of a prefix of its bucket, as `--bucket` takes it.
    pub fn url(&self, prefix: &str) -> String {
        format!(
            "s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}&region=us-east-1",
            self.port
        )
    }
}
