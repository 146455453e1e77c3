//! Whatever lies in the WAL's folder at the start of an agent.
#![no_main]
use std::{fs, path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use sh_log::wal::{inspect, read_all};
use tempfile::TempDir;

/// In memory where the system has such a folder: every input is a file.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.exists() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    folder.expect("a temporary folder")
});

/// Magic, version and salt.
const HEADER_BYTES: usize = 16;
/// Length, CRC and tag.
const FRAME_BYTES: usize = 12;

fuzz_target!(|data: &[u8]| {
    read(data);
    read(&with_right_crcs(data));
});

fn read(file: &[u8]) {
    let path = FOLDER.path().join("00000000000000000001.wal");
    fs::write(path, file).expect("a file in a temporary folder");
    let records = read_all(FOLDER.path()).expect("a folder that can be read");
    let lines = inspect(FOLDER.path()).expect("a folder that can be read");
    assert_eq!(
        lines.len(),
        records.len() + 1,
        "a line for the file and for each record"
    );
}

/// The fuzzer would hardly ever find them, nor the tags, which repeat the upper half of the salt.
fn with_right_crcs(data: &[u8]) -> Vec<u8> {
    let mut file = data.to_vec();
    let Some(salt) = file.get(8..HEADER_BYTES).map(<[u8]>::to_vec) else {
        return file;
    };
    let mask = crc32c::crc32c(&salt);
    let mut at = HEADER_BYTES;
    while let Some(length) = file.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let start = at + FRAME_BYTES;
        let Some(body) = file.get(start..start.saturating_add(length)) else {
            break;
        };
        let crc = crc32c::crc32c(body) ^ mask;
        file[at + 4..at + 8].copy_from_slice(&crc.to_be_bytes());
        file[at + 8..start].copy_from_slice(&salt[..4]);
        at = start + length;
    }
    file
}
