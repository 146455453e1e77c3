//! The blocking calls of the local folder.
use std::{
    collections::HashSet,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parking_lot::Mutex;
use sh_base::Env;

use super::{
    temp::{TEMP_FOLDER, Temps},
    walk::Walk,
};
use crate::{BlobError, Expect, ObjectMeta, PutIf};

pub(super) struct Disk {
    root: PathBuf,
    temps: Temps,
    /// Folders whose entry in their parent is known to be synced, by us in this life. That a folder exists proves nothing: another
    /// writer may have made it a moment ago and not have synced it yet.
    synced: Mutex<HashSet<PathBuf>>,
}

/// A file that is being read, and its size when it was opened.
pub(super) struct OpenObject {
    key: String,
    file: File,
    size: u64,
}

/// A range and empty memory of its size.
pub(super) type Room = (Range<u64>, Vec<u8>);

impl Disk {
    pub(super) fn open(root: PathBuf, env: &Env) -> io::Result<Disk> {
        fs::create_dir_all(&root)?;
        let root = root.canonicalize()?;
        for parent in root.ancestors().skip(1) {
            // A folder that we may not read is one that we have not made.
            let _ = sync_folder(parent);
        }
        let temps = Temps::open(root.join(TEMP_FOLDER), env)?;
        Ok(Disk {
            root,
            temps,
            synced: Mutex::default(),
        })
    }

    pub(super) fn put(&self, key: &str, parts: &[Bytes]) -> Result<(), BlobError> {
        let temp = self
            .temps
            .write(parts)
            .map_err(|e| definite("write", key, e))?;
        self.publish(key, temp)
    }

    /// Gives a synced temporary file its key.
    fn publish(&self, key: &str, temp: super::temp::Temp) -> Result<(), BlobError> {
        let path = self.root.join(key);
        let folder = path.parent().unwrap_or(&self.root);
        self.make_folder(folder)
            .map_err(|e| definite("make the folder of", key, e))?;
        temp.rename(&path).map_err(|e| {
            // Somebody removed a folder that we knew.
            self.synced.lock().clear();
            definite("rename", key, e)
        })?;
        sync_folder(folder).map_err(|e| maybe("sync the folder of", key, e))
    }

    /// Makes a folder and those above it, and syncs each entry.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || self.synced.lock().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().unwrap_or(&self.root);
        self.make_folder(parent)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => sync_folder(parent)?,
        }
        self.synced.lock().insert(folder.to_path_buf());
        Ok(())
    }

    /// An open file keeps its content when its name is given to another, so all that is read of it is of one object.
    pub(super) fn open_object(&self, key: &str) -> Result<OpenObject, BlobError> {
        let file = match File::open(self.root.join(key)) {
            Ok(file) => file,
            Err(e) if absent(&e) => return Err(BlobError::NotFound(key.into())),
            Err(e) => return Err(definite("open", key, e)),
        };
        let size = object_size(&file, key)?;
        Ok(OpenObject {
            key: key.into(),
            file,
            size,
        })
    }

    pub(super) fn head(&self, key: &str) -> Result<Option<ObjectMeta>, BlobError> {
        match fs::metadata(self.root.join(key)) {
            Ok(found) if found.is_file() => Ok(Some(meta(key, &found))),
            Ok(_) => Ok(None),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(definite("look up", key, e)),
        }
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, BlobError> {
        let mut walk = Walk::new(&self.root, prefix, after);
        let mut found = Vec::new();
        while found.len() < limit {
            match walk.next().map_err(|e| definite("list", prefix, e))? {
                // An object deleted while we listed may be left out.
                Some(key) => found.extend(self.head(&key)?),
                None => break,
            }
        }
        Ok(found)
    }

    pub(super) fn delete(&self, keys: &[String]) -> Result<(), BlobError> {
        let mut folders = HashSet::new();
        for key in keys {
            let path = self.root.join(key);
            match fs::remove_file(&path) {
                Ok(()) => folders.extend(path.parent().map(Path::to_path_buf)),
                Err(e) if absent(&e) => {}
                Err(e) => return Err(maybe("delete", key, e)),
            }
        }
        // A delete is forgotten by a power cut unless its folder is synced, and a deleted object must not come back.
        folders
            .iter()
            .try_for_each(|f| sync_folder(f))
            .map_err(|e| maybe("sync after a delete in", "the bucket", e))
    }

    pub(super) fn put_if(
        &self,
        key: &str,
        bytes: Bytes,
        expect: &Expect,
    ) -> Result<PutIf, BlobError> {
        let lock = self
            .lock()
            .map_err(|e| definite("lock the folder for", key, e))?;
        let old = self.head(key)?;
        let holds = match (&old, expect) {
            (None, Expect::Absent) => true,
            (Some(old), Expect::Tag(tag)) => old.tag == *tag,
            _ => false,
        };
        if !holds {
            return Ok(PutIf::Lost);
        }
        let temp = self
            .temps
            .write(&[bytes])
            .map_err(|e| definite("write", key, e))?;
        self.age_past(key, &temp)
            .map_err(|e| definite("date", key, e))?;
        self.publish(key, temp)?;
        let stored = self
            .head(key)?
            .ok_or_else(|| BlobError::Maybe(format!("{key} was deleted meanwhile")))?;
        drop(lock);
        Ok(PutIf::Stored { tag: stored.tag })
    }

    /// Makes the new file younger than the one it replaces. The clock of a file system is coarser than a write, and inode numbers
    /// are used again: without this two contents could bear one tag.
    fn age_past(&self, key: &str, temp: &super::temp::Temp) -> io::Result<()> {
        let old = match fs::metadata(self.root.join(key)) {
            Ok(old) => old.modified()?,
            Err(e) if absent(&e) => return Ok(()),
            Err(e) => return Err(e),
        };
        if temp.modified()? <= old {
            temp.set_modified(old + Duration::from_nanos(1))
        } else {
            Ok(())
        }
    }

    /// The lock ends when the file is closed, also by the death of the process.
    fn lock(&self) -> io::Result<File> {
        let path = self.temps.lock_path();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.lock()?;
        Ok(file)
    }
}

fn meta(key: &str, found: &Metadata) -> ObjectMeta {
    let modified = found.modified().unwrap_or(UNIX_EPOCH);
    ObjectMeta {
        key: key.into(),
        size: found.len(),
        modified_ms: since_epoch(modified).as_millis() as i64,
        tag: format!(
            "{:x}-{:x}-{:x}",
            found.ino(),
            since_epoch(modified).as_nanos(),
            found.len()
        ),
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl OpenObject {
    pub(super) fn key(&self) -> &str {
        &self.key
    }
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills each room with the bytes of its range; the memory is written once, not cleared before.
    pub(super) fn read(&self, rooms: Vec<Room>) -> Result<Vec<Bytes>, BlobError> {
        let filled = rooms
            .into_iter()
            .map(|(range, bytes)| self.fill(&range, bytes));
        filled.collect()
    }

    fn fill(&self, range: &Range<u64>, mut bytes: Vec<u8>) -> Result<Bytes, BlobError> {
        if range.end > self.size {
            return Err(BlobError::beyond(&self.key, range));
        }
        let failed = |e| definite("read", &self.key, e);
        let (mut file, wanted) = (&self.file, range.end - range.start);
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let count = file.take(wanted).read_to_end(&mut bytes).map_err(failed)?;
        match count as u64 == wanted {
            true => Ok(bytes.into()),
            false => Err(failed(ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn object_size(file: &File, key: &str) -> Result<u64, BlobError> {
    let found = file.metadata().map_err(|e| definite("look up", key, e))?;
    if found.is_file() {
        Ok(found.len())
    } else {
        Err(BlobError::NotFound(key.into()))
    }
}

fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn definite(what: &str, key: &str, e: io::Error) -> BlobError {
    BlobError::Definite(format!("could not {what} {key}: {e}"))
}

fn maybe(what: &str, key: &str, e: io::Error) -> BlobError {
    BlobError::Maybe(format!("could not {what} {key}: {e}"))
}
