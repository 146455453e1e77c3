//! The servers that tests speak to, each on a free port of 127.0.0.1, all of them gone when we are.
pub mod agent;
pub mod oracle;
pub mod postgres;
pub mod s3;

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Result, bail};

use self::{agent::Agent, oracle::Oracle, postgres::Postgres, s3::S3};
use crate::{
    process::{cmd, run},
    tools::{self, flights, golang},
    workspace::target_dir,
};

/// The real components that tests of the rooms use; [`Fleet::environment`] says how they find them.
pub struct Fleet {
    postgres: Postgres,
    minio: S3,
    versitygw: S3,
    oracle: Oracle,
    /// For tests that kill a MinIO of their own.
    minio_program: String,
    /// The real input, a CSV file.
    flights: String,
    /// The server under test.
    pub streamhouse: PathBuf,
}

impl Fleet {
    /// Starts all of them and waits until each is ready.
    pub fn start(streamhouse: PathBuf) -> Result<Fleet> {
        Ok(Fleet {
            postgres: Postgres::start()?,
            minio: S3::minio()?,
            versitygw: S3::versitygw()?,
            oracle: Oracle::start()?,
            minio_program: shown(&golang::program("minio")?),
            flights: shown(&flights::csv()?),
            streamhouse,
        })
    }

    /// What `cargo test` and the suites get to know, as environment variables.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "STREAMHOUSE_TEST_S3",
                [self.minio.url("tests"), self.versitygw.url("tests")].join(","),
            ),
            ("STREAMHOUSE_TEST_S3_KEY", s3::ACCESS_KEY.to_owned()),
            ("STREAMHOUSE_TEST_S3_SECRET", s3::SECRET_KEY.to_owned()),
            ("STREAMHOUSE_TEST_POSTGRES", self.postgres.url()),
            ("STREAMHOUSE_TEST_POSTGRES_CTL", self.postgres.control()),
            ("STREAMHOUSE_TEST_POSTGRES_CA", self.postgres.authority()),
            ("STREAMHOUSE_TEST_ORACLE", self.oracle.address()),
            ("STREAMHOUSE_BIN", self.streamhouse.display().to_string()),
            ("STREAMHOUSE_TEST_MINIO", self.minio_program.clone()),
            ("STREAMHOUSE_TEST_FLIGHTS", self.flights.clone()),
        ]
    }

    /// Starts what a target consists of.
    pub fn target(&self, target: Target) -> Result<Running> {
        let agents = match target {
            Target::Folder => vec![Agent::start(&self.streamhouse, "folder", &[])?],
            Target::S3 => self.agents(&["s3"], &self.versitygw)?,
            Target::Pair => self.agents(&["pair-a", "pair-b"], &self.minio)?,
            Target::Oracle => {
                return Ok(Running {
                    bootstrap: self.oracle.address(),
                    agents: vec![],
                });
            }
        };
        let bootstrap = agents
            .iter()
            .map(Agent::address)
            .collect::<Vec<_>>()
            .join(",");
        Ok(Running { bootstrap, agents })
    }

    /// Agents of one new cluster: a database and a prefix of their own.
    fn agents(&self, names: &[&str], bucket: &S3) -> Result<Vec<Agent>> {
        let cluster = format!("suites_{}", crate::process::free_port()?);
        let metadata = self.postgres.create_database(&cluster)?;
        let bucket = bucket.url(&cluster);
        let stores = ["--bucket", &bucket, "--metadata", &metadata];
        names
            .iter()
            .map(|name| Agent::start(&self.streamhouse, name, &stores))
            .collect()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `cargo xtask services`.
pub fn run_with(command: &[String]) -> Result<()> {
    tools::install_all(|| Ok(()))?;
    let fleet = Fleet::start(target_dir()?.join("debug/streamhouse"))?;
    let environment = fleet.environment();
    let Some((program, args)) = command.split_first() else {
        for (name, value) in environment {
            println!("export {name}='{value}'");
        }
        println!("# Ctrl-C stops them");
        loop {
            thread::park();
        }
    };
    run(cmd(program, args).envs(environment))
}

/// What the client suites can speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One agent on SQLite and a local folder: what a newcomer has.
    Folder,
    /// One agent on Postgres and versitygw.
    S3,
    /// Two agents on one Postgres and one bucket of MinIO; clients know both.
    Pair,
    /// Apache Kafka: shows that a suite asks for nothing that Kafka does not do.
    Oracle,
}

impl Target {
    /// What `--on` takes.
    pub const NAMES: [&str; 4] = ["folder", "s3", "pair", "oracle"];
    /// What is tested unless somebody asks for less.
    pub const OURS: [Target; 2] = [Target::Folder, Target::Pair];

    /// The target of that name.
    pub fn parse(name: &str) -> Result<Target> {
        Ok(match name {
            "folder" => Target::Folder,
            "s3" => Target::S3,
            "pair" => Target::Pair,
            "oracle" => Target::Oracle,
            _ => bail!(
                "`{name}` is no target; there are {}",
                Target::NAMES.join(", ")
            ),
        })
    }

    /// The name that [`Target::parse`] takes.
    pub fn name(self) -> &'static str {
        Target::NAMES[self as usize]
    }
}

/// A target that accepts clients.
pub struct Running {
    /// `HOST:PORT`, separated by commas.
    pub bootstrap: String,
    agents: Vec<Agent>,
}

impl Running {
    /// The end of the log of each agent, for a report of what went wrong.
    pub fn logs(&self) -> String {
        self.agents.iter().map(Agent::log).collect()
    }

    /// The agents that have ended although nobody stopped them.
    pub fn died(&mut self) -> Vec<String> {
        let dead = self.agents.iter_mut().filter_map(Agent::died);
        dead.collect()
    }
}
