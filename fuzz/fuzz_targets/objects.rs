//! Whatever lies in the bucket under an object's key, and in the metadata store under the key of a hot row.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sh_log::{
    Extent, Fate, Head, ProducerState,
    object::{ObjectFooter, describe},
};

/// CRC, length and magic: the last bytes of every object.
const TRAILER_BYTES: usize = 12;

fuzz_target!(|data: &[u8]| {
    rows(data);
    read(data);
    read(&with_right_crc(data));
});

fn read(object: &[u8]) {
    let parsed = ObjectFooter::parse(object, object.len() as u64);
    if let Ok(footer) = &parsed {
        let tail = footer.encode();
        let again = ObjectFooter::parse(&tail, object.len() as u64);
        assert_eq!(
            again.ok().as_ref(),
            Some(footer),
            "what was read is written the same"
        );
        // Half of it is too short, or says how much is needed.
        assert!(ObjectFooter::parse(&tail[tail.len() / 2..], object.len() as u64).is_err());
    }
    let told = describe(&Bytes::copy_from_slice(object));
    assert!(told.is_err() || parsed.is_ok());
}

/// The fuzzer would hardly ever find it.
fn with_right_crc(data: &[u8]) -> Vec<u8> {
    let mut object = data.to_vec();
    let Some(end) = object.len().checked_sub(TRAILER_BYTES) else {
        return object;
    };
    let length = u32::from_be_bytes(object[end + 4..end + 8].try_into().expect("four bytes"));
    if let Some(from) = end.checked_sub(length as usize) {
        let crc = crc32c::crc32c(&object[from..end]);
        object[end..end + 4].copy_from_slice(&crc.to_be_bytes());
    }
    object
}

/// Rows that can be read are written the same.
fn rows(data: &[u8]) {
    if let Ok(row) = Head::decode(data) {
        assert_eq!(Head::decode(&row.encode()).ok(), Some(row));
    }
    if let Ok(row) = Extent::decode(data) {
        assert_eq!(Extent::decode(&row.encode()).ok(), Some(row));
    }
    if let Ok(row) = Fate::decode(data) {
        assert_eq!(Fate::decode(&row.encode()).ok(), Some(row));
    }
    if let Ok(row) = ProducerState::decode(data) {
        assert_eq!(ProducerState::decode(&row.encode()).ok(), Some(row));
    }
}
