//! A store by its URL.
use std::{path::Path, sync::Arc};

use sh_base::Env;

use crate::{MemoryStore, MetaStore, PostgresStore, SqliteStore};

/// What kept a store from being opened. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL or one of its settings is wrong.
    #[error("the metadata URL is wrong: {0}")]
    Url(String),
    /// The file is open in another process.
    #[error(
        "the metadata file {0} is in use by another process: stop that one, or choose another --data"
    )]
    InUse(String),
    /// Another program's data, or a newer version's.
    #[error("{0}")]
    Format(String),
    /// The database would lose what it says it has committed.
    #[error("the metadata database is not safe to use: {0}")]
    Unsafe(String),
    /// The file system or the database refused.
    #[error("the metadata store cannot be opened: {0}")]
    Failed(String),
    /// The database does not answer; it may later.
    #[error("the metadata database is away: {0}")]
    Away(String),
}

impl OpenError {
    /// Trying again later may succeed, without anybody changing a setting.
    pub fn is_retriable(&self) -> bool {
        matches!(self, OpenError::Away(_))
    }
}

/// Opens `memory://`, `sqlite://PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`.
pub async fn open(url: &str, env: &Env) -> Result<Arc<dyn MetaStore>, OpenError> {
    match url.split_once("://") {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new(&env.uuid().to_string()))),
        Some(("sqlite", "")) => Err(OpenError::Url("sqlite:// needs a path after it".into())),
        Some(("sqlite", path)) => Ok(Arc::new(SqliteStore::open(Path::new(path), env)?)),
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(PostgresStore::open(url, env).await?)),
        _ => Err(OpenError::Url(
            "it begins with sqlite://, postgres:// or memory://, for example sqlite://data/meta.db"
                .into(),
        )),
    }
}
