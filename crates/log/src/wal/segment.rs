//! One WAL file.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Seek, SeekFrom, Write},
    os::fd::AsRawFd,
    path::Path,
};

use super::record::END_MARK;

const MAGIC: &[u8; 4] = b"SHWL";
const VERSION: u32 = 1;

/// What every file begins with.
pub(super) fn header() -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(MAGIC);
    header[4..].copy_from_slice(&VERSION.to_be_bytes());
    header
}

/// Cuts a file behind its last whole record and marks its end.
pub(super) fn seal(path: &Path, end: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(&END_MARK.to_be_bytes())?;
    file.sync_all()
}

/// Makes a file of `bytes` allocated bytes under a name that recovery does not read.
pub(super) fn prepare(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    allocate(&file, bytes).inspect_err(|_| drop(fs::remove_file(path)))?;
    file.write_all(&header())?;
    file.sync_all()?;
    Ok(file)
}

#[allow(unsafe_code)]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(bytes).unwrap_or(libc::off_t::MAX);
    // SAFETY: the descriptor is open for the whole call, and no memory is passed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        // Some file systems cannot allocate ahead: then the file grows as it is written.
        libc::EOPNOTSUPP | libc::EINVAL => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Writes all slices, however the kernel cuts them.
pub(super) fn write_all_vectored(file: &mut File, slices: &[&[u8]]) -> io::Result<()> {
    const SLICES_MAX: usize = 512;
    for group in slices.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice> = group.iter().map(|s| IoSlice::new(s)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
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

/// Removes a file for good: it does not come back after a power failure.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => path.parent().map_or(Ok(()), sync_dir),
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
