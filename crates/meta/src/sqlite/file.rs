//! The file: its lock, its settings, its format.
use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, params};
use sh_base::Env;

use crate::OpenError;

/// `PRAGMA user_version` of the tables below.
const FORMAT: i64 = 1;
/// `PRAGMA application_id`: "strm".
const APPLICATION: i64 = 0x7374_726d;

/// Rows of all families in one table (their keys begin with the family's tag); `lane` names the lanes that `feed` holds.
const TABLES: &str = "
    CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB, version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE feed (lane BLOB NOT NULL, seq INTEGER NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (lane, seq));
    CREATE TABLE lane (lane BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE system (id TEXT NOT NULL);";

/// The right to use the file: a lock on a file beside it, which the kernel takes back when the process ends.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Lock, OpenError> {
        let lock = beside(path, ".lock");
        let failed = |e: std::io::Error| OpenError::Failed(format!("{}: {e}", lock.display()));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A connection as all of ours are: **`synchronous=FULL`, WAL mode**: a commit returns when it is on the disk.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|e| failed(path, e))
}

/// Pages that the writer keeps, KiB: the heads and the edges of the trees that commits write to. Without room for them a
/// commit of many partitions reads its pages back, and spills them, more than once.
const WRITER_CACHE_KIB: i64 = 32 * 1024;
/// Pages of the log that are copied into the file at once. A page that many commits changed is copied once.
const CHECKPOINT_PAGES: i64 = 8_000;

/// What the one connection that writes has beside that.
pub(super) fn widen(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    connection
        .pragma_update(None, "cache_size", -WRITER_CACHE_KIB)
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
        .map_err(|e| failed(path, e))
}

/// Makes the tables of a new file, checks those of an old one. Returns the random id that the file carries.
pub(super) fn prepare(
    path: &Path,
    connection: &mut Connection,
    env: &Env,
) -> Result<String, OpenError> {
    let prepare = |connection: &mut Connection| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = |sql| tx.query_row(sql, [], |row| row.get::<_, i64>(0));
        let format = number("PRAGMA user_version")?;
        let application = number("PRAGMA application_id")?;
        if number("SELECT count(*) FROM sqlite_schema")? == 0 {
            tx.execute_batch(TABLES)?;
            tx.execute(
                "INSERT INTO system VALUES (?1)",
                params![env.uuid().to_string()],
            )?;
            tx.pragma_update(None, "user_version", FORMAT)?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
        } else if application != APPLICATION || format != FORMAT {
            return Ok(Err(foreign_format(path, application, format)));
        }
        let system = tx.query_row("SELECT id FROM system", [], |row| row.get(0))?;
        tx.commit()?;
        Ok(Ok(system))
    };
    let system = prepare(connection).map_err(|e| failed(path, e))??;
    sync_folder(path)?;
    Ok(system)
}

fn foreign_format(path: &Path, application: i64, format: i64) -> OpenError {
    let path = path.display();
    OpenError::Format(match application {
        APPLICATION => format!(
            "{path} has format {format} and this version knows format {FORMAT}: use the streamhouse that wrote it, or a newer one"
        ),
        _ => format!("{path} is an SQLite file of another program: choose another path"),
    })
}

/// A new file is there after a power failure only if its folder was synced too.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let sync = File::open(folder).and_then(|folder| folder.sync_all());
    sync.map_err(|e| OpenError::Failed(format!("{}: {e}", folder.display())))
}

fn failed(path: &Path, e: rusqlite::Error) -> OpenError {
    OpenError::Failed(format!("the metadata file {}: {e}", path.display()))
}
