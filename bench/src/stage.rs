//! Where a run takes place: folders, stores, servers. One server at a time, so that none pays for another.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use sh_base::{Clock, Env, Rng};
use sh_blob::{BlobSettings, Bucket};
use sh_testkit::torture::{
    proxy::{Proxy, Weather},
    services::{Minio, Postgres, wanted},
};
use tempfile::TempDir;

use crate::server::Server;

/// A folder in memory, on systems that have one: a bucket there leaves the disk to the WAL.
const MEMORY: &str = "/dev/shm";

pub struct Stage {
    binary: String,
    jars: PathBuf,
    disk: TempDir,
    memory: TempDir,
    pub minio: Minio,
    pub proxy: Proxy,
    postgres: Postgres,
}

impl Stage {
    /// Starts the object store and a proxy before it. `disk` is where the measured disk is.
    pub async fn set(disk: &Path) -> Result<Stage> {
        let disk = tempfile::tempdir_in(disk)?;
        let memory = match Path::new(MEMORY).is_dir() {
            true => tempfile::tempdir_in(MEMORY)?,
            false => tempfile::tempdir()?,
        };
        let minio = Minio::start(&memory.path().join("minio")).await?;
        let proxy = Proxy::before(&minio.address()).await?;
        Ok(Stage {
            binary: wanted("STREAMHOUSE_BIN")?,
            jars: wanted("STREAMHOUSE_TEST_KAFKA_JARS")?.into(),
            disk,
            memory,
            minio,
            proxy,
            postgres: Postgres::of_environment()?,
        })
    }

    pub fn jars(&self) -> &Path {
        &self.jars
    }

    pub fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// WAL and SQLite on the disk, the bucket a folder in memory.
    pub async fn local(&self, name: &str) -> Result<Server> {
        let bucket = self.memory.path().join(name);
        let arguments = ["--bucket".into(), format!("file://{}", bucket.display())];
        Server::ours(name, &self.binary, &self.disk().join(name), &arguments, &[]).await
    }

    /// Removes what a server has left in memory and on the disk.
    pub fn clear(&self, name: &str) {
        for folder in [self.disk.path(), self.memory.path()] {
            // What is in the way of the next server shows there.
            drop(std::fs::remove_dir_all(folder.join(name)));
        }
    }

    /// Postgres and the object store, reached as `weather` has it.
    pub async fn cloud(
        &self,
        name: &str,
        weather: Option<Weather>,
        more: &[&str],
    ) -> Result<Server> {
        let address = match weather {
            Some(weather) => {
                self.proxy.set(weather);
                self.proxy.address().to_owned()
            }
            None => self.minio.address(),
        };
        let url = self
            .minio
            .url(&address)
            .replace("/torture", &format!("/{name}"));
        let mut arguments = vec!["--bucket".into(), url, "--metadata".into()];
        arguments.push(self.postgres.database("bench")?);
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Server::ours(
            name,
            &self.binary,
            &self.disk().join(name),
            &arguments,
            &self.minio.credentials(),
        )
        .await
    }

    pub async fn kafka(&self, name: &str, settings: &str) -> Result<Server> {
        Server::kafka(name, &self.jars, &self.disk().join(name), settings).await
    }

    /// The object store as our server uses it, for its limits.
    pub fn bucket(&self) -> Result<Arc<dyn Bucket>> {
        let [(_, key), (_, secret)] = self.minio.credentials();
        let variable = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(key.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        let settings = BlobSettings::from_aws_variables(variable);
        let url = self
            .minio
            .url(&self.minio.address())
            .replace("/torture", "/limits");
        sh_blob::open(&url, &settings, &env()).with_context(|| format!("cannot open {url}"))
    }
}

struct World(Instant);

impl Clock for World {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        since.as_millis() as i64
    }
    fn mono(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Rng for World {
    fn next_u64(&self) -> u64 {
        getrandom::u64().expect("the operating system gives no random numbers")
    }
}

fn env() -> Env {
    Env {
        clock: Arc::new(World(Instant::now())),
        rng: Arc::new(World(Instant::now())),
    }
}
