//! One WAL file.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Seek, SeekFrom, Write},
    os::fd::AsRawFd,
    path::Path,
};

use super::record::END_MARK;

const MAGIC: &[u8; 4] = b"SHWL";
const VERSION: u32 = 2;

/// Bytes that every file begins with.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of an end mark.
pub(super) const END_BYTES: usize = 12;

/// What tells the records of a file from what else may lie in its blocks. **Files are written again**, and what an earlier
/// content left behind must not be taken for this one's; nor must bytes of a client, who can guess everything but chance.
///
/// Its upper half is drawn for each life of the agent, its lower half counts on from file to file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Salt(pub u64);

impl Salt {
    /// Of a file whose first record has this number.
    pub fn new(nonce: u32, first: u64) -> Salt {
        Salt(u64::from(nonce) << 32 | u64::from(first as u32))
    }

    /// Stands in every record, so that what is none is seen without its CRC being computed.
    pub fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What every CRC is changed by: another one for each of 2^32 files of a life.
    pub fn mask(self) -> u32 {
        crc32c::crc32c(&self.0.to_be_bytes())
    }
}

/// What every file begins with.
pub(super) fn header(salt: Salt) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&VERSION.to_be_bytes());
    header[8..].copy_from_slice(&salt.0.to_be_bytes());
    header
}

/// The salt of a file, or `None` for one that does not begin as it must.
pub(super) fn read_header(bytes: &[u8]) -> Option<Salt> {
    let salt = u64::from_be_bytes(bytes.get(8..HEADER_BYTES)?.try_into().ok()?);
    let salt = Salt(salt);
    bytes.starts_with(&header(salt)).then_some(salt)
}

/// What stands behind the last record once another file follows.
pub(super) fn end_mark(salt: Salt) -> [u8; END_BYTES] {
    let mut mark = [0; END_BYTES];
    mark[..4].copy_from_slice(&END_MARK.to_be_bytes());
    mark[4..].copy_from_slice(&salt.0.to_be_bytes());
    mark
}

/// Cuts a file behind its last whole record and marks its end.
pub(super) fn seal(path: &Path, end: u64, salt: Salt) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(&end_mark(salt))?;
    file.sync_all()
}

/// Makes a file of `bytes` bytes under a name that recovery does not read. They are written, not only allocated: the sync of
/// a block's first write changes the file system too, and takes twice as long.
pub(super) fn prepare(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    allocate(&file, bytes)
        .and_then(|()| write_zeros(&mut file, bytes))
        .inspect_err(|_| drop(fs::remove_file(path)))?;
    file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    file.sync_all()?;
    Ok(file)
}

fn write_zeros(file: &mut File, bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..some as usize])?;
        left -= some;
    }
    Ok(())
}

/// Opens a file that was written before, to be written again.
pub(super) fn reopen(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
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
