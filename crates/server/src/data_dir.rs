//! The data folder: one process uses it, and it remembers which agent it is.
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sh_base::AgentId;

/// The folder, locked while this lives.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// `agent.json`: which agent of which cluster keeps its WAL here.
#[derive(Serialize, Deserialize)]
pub struct AgentFile {
    pub cluster_id: String,
    pub agent: u32,
}

impl DataDir {
    /// Makes the folder if need be and locks it; a second server on it is refused.
    pub fn open(path: &Path) -> anyhow::Result<DataDir> {
        fs::create_dir_all(path)
            .with_context(|| format!("the data folder {} cannot be made", path.display()))?;
        let name = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name);
        let lock = lock.with_context(|| format!("{} cannot be opened", name.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another streamhouse uses the data folder {}: stop it, or say --data with another folder",
                path.display()
            ),
            Err(TryLockError::Error(e)) => {
                Err(e).context(format!("{} cannot be locked", name.display()))
            }
        }
    }

    pub fn wal(&self) -> PathBuf {
        self.path.join("wal")
    }

    fn agent_path(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    /// The agent that this folder belongs to, if it has been used. A folder of another cluster is refused: its WAL may hold
    /// records that were acknowledged there.
    pub fn agent(&self, cluster_id: &str) -> anyhow::Result<Option<AgentId>> {
        let path = self.agent_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).context(format!("{} cannot be read", path.display())),
        };
        let file: AgentFile = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        if file.cluster_id != cluster_id {
            bail!(
                "the data folder {} belongs to cluster {}, not to {cluster_id}: say --data with another folder",
                self.path.display(),
                file.cluster_id
            );
        }
        Ok(Some(AgentId(file.agent)))
    }

    /// Remembers the agent, durably: an id that was forgotten would leave its WAL to nobody.
    pub fn remember(&self, cluster_id: &str, agent: AgentId) -> anyhow::Result<()> {
        let file = AgentFile {
            cluster_id: cluster_id.to_owned(),
            agent: agent.0,
        };
        let (path, draft) = (self.agent_path(), self.path.join("agent.json.tmp"));
        let write = || -> std::io::Result<()> {
            let mut out = File::create(&draft)?;
            out.write_all(&serde_json::to_vec_pretty(&file)?)?;
            out.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}
