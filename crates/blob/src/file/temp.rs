//! Files on their way to becoming objects.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use sh_base::Env;

/// Below the root, so that it is on the same file system and a rename is atomic. No object key begins with a dot.
pub(super) const TEMP_FOLDER: &str = ".tmp";
const LOCK_NAME: &str = "lock";
/// A file is locked as soon as it is made; this covers a writer that was stopped in between.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// How many buffers one `writev` takes (IOV_MAX).
const SLICES_MAX: usize = 1024;

pub(super) struct Temps {
    folder: PathBuf,
    env: Env,
}

/// A file that is removed when it is dropped, unless it was renamed. Its writer holds a lock on it: one that nobody locks is dead.
pub(super) struct Temp {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temps {
    pub(super) fn open(folder: PathBuf, env: &Env) -> io::Result<Temps> {
        fs::create_dir_all(&folder)?;
        let temps = Temps {
            folder,
            env: env.clone(),
        };
        temps.clean()?;
        Ok(temps)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.folder.join(LOCK_NAME)
    }

    /// A file with this content, synced.
    pub(super) fn write(&self, parts: &[Bytes]) -> io::Result<Temp> {
        let mut temp = self.create()?;
        write_all(&mut temp.file, parts)?;
        temp.file.sync_all()?;
        Ok(temp)
    }

    fn create(&self) -> io::Result<Temp> {
        let path = self.folder.join(format!("{}.part", self.env.uuid()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let temp = Temp {
            path,
            file,
            renamed: false,
        };
        temp.file.lock()?;
        Ok(temp)
    }

    /// Removes what dead writers left. "Now" is the file system's own: the date of a file made this moment.
    fn clean(&self) -> io::Result<()> {
        let now = self.create()?.modified()?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != LOCK_NAME) && abandoned(&path, now) {
                tracing::info!(file = %path.display(), "removing what an interrupted put left");
                // Another process may be cleaning too.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

fn abandoned(path: &Path, now: SystemTime) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let modified = file.metadata().and_then(|found| found.modified());
    let old = modified.is_ok_and(|m| m + ABANDONED_AFTER < now);
    old && file.try_lock().is_ok()
}

impl Temp {
    pub(super) fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }
    pub(super) fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }
    /// Sets the date and syncs it.
    pub(super) fn set_modified(&self, to: SystemTime) -> io::Result<()> {
        self.file.set_modified(to)?;
        self.file.sync_all()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            // What stays behind is removed at a later start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_all(file: &mut File, parts: &[Bytes]) -> io::Result<()> {
    let slices: Vec<&[u8]> = parts
        .iter()
        .map(|p| &p[..])
        .filter(|p| !p.is_empty())
        .collect();
    for some in slices.chunks(SLICES_MAX) {
        let mut buffers: Vec<IoSlice> = some.iter().map(|s| IoSlice::new(s)).collect();
        let mut rest = &mut buffers[..];
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut rest, n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}
