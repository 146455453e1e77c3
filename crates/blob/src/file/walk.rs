//! The keys of a folder tree in key order, which is not the order of names: `a-b` comes before `a/b`, for `-` is less than `/`.
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::temp::TEMP_FOLDER;

/// Visits a tree depth first. A folder sorts as its name with a `/`, and all its keys begin with that, so sorting each folder's
/// entries is enough. Folders without a matching key are not read; of the others one level at a time is in memory.
pub(super) struct Walk<'a> {
    root: PathBuf,
    prefix: &'a str,
    after: &'a str,
    /// What is still to visit, the next one last. Folders end with `/`.
    stack: Vec<String>,
    started: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &Path, prefix: &'a str, after: &'a str) -> Self {
        Walk {
            root: root.into(),
            prefix,
            after,
            stack: Vec::new(),
            started: false,
        }
    }

    /// The next key, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<String>> {
        if !self.started {
            self.started = true;
            self.enter("")?;
        }
        while let Some(entry) = self.stack.pop() {
            if !entry.ends_with('/') {
                return Ok(Some(entry));
            }
            self.enter(&entry)?;
        }
        Ok(None)
    }

    fn enter(&mut self, folder: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        let listing = match fs::read_dir(self.root.join(folder)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            listing => listing?,
        };
        for entry in listing {
            let entry = entry?;
            // No object of ours has a name that is not UTF-8.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            let path = format!("{folder}{name}{slash}");
            if self.wanted(&path) {
                entries.push(path);
            }
        }
        entries.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.extend(entries);
        Ok(())
    }

    fn wanted(&self, path: &str) -> bool {
        let (prefix, after) = (self.prefix, self.after);
        match path.strip_suffix('/') {
            Some(TEMP_FOLDER) => false,
            Some(_) => {
                let may_match = path.starts_with(prefix) || prefix.starts_with(path);
                may_match && (path > after || after.starts_with(path))
            }
            None => path.starts_with(prefix) && path > after,
        }
    }
}
