//! The WAL on real files: what is on the disk after a crash at any byte, and what a full or failing disk does.
use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use bytes::Bytes;
use sh_base::{
    AgentId, Incarnation, ObjectId, Org, TopicId, TopicPartition,
    batch::{BatchBuilder, Codec},
};

use super::{
    Journal, Order, Outcome, Recovered, Wal, WalBatch, WalConfig, WalError, WalRecord, segment,
};

const FILE_BYTES: u64 = 4096;
/// Four of these records fill a file.
const BATCH_BYTES: usize = 850;

fn id(epoch: u32, seq: u64) -> ObjectId {
    ObjectId {
        by: Incarnation {
            agent: AgentId(1),
            epoch,
            nonce: 7,
        },
        seq,
    }
}

fn batch(object: ObjectId) -> WalRecord {
    WalRecord::Batch(WalBatch {
        object,
        ordinal: 0,
        partition: TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), 0),
        org: Org::default(),
        lease_epoch: 1,
        base_offset: 0,
        appended_ms: 0,
        bytes: Bytes::from(vec![object.seq as u8; BATCH_BYTES]),
    })
}

fn moved(to: ObjectId, numbers: &[u64]) -> WalRecord {
    WalRecord::Moved {
        to,
        batches: numbers.iter().map(|n| (*n, 0)).collect(),
    }
}

/// An open WAL and what it reports.
struct Open {
    wal: Wal,
    reports: Receiver<Outcome>,
    recovered: Recovered,
    next: u64,
}

fn config(dir: &Path) -> WalConfig {
    WalConfig {
        dir: dir.to_owned(),
        file_bytes: FILE_BYTES,
        nonce: 9,
    }
}

fn try_open(dir: &Path, prepare: super::Prepare) -> Result<Open, WalError> {
    let (tell, reports) = channel();
    let (wal, recovered) =
        Wal::open_on(config(dir), Box::new(move |o| drop(tell.send(o))), prepare)?;
    let next = recovered.last + 1;
    Ok(Open {
        wal,
        reports,
        recovered,
        next,
    })
}

fn open(dir: &Path) -> Open {
    try_open(dir, Arc::new(segment::prepare)).unwrap()
}

impl Open {
    /// Queues a record and tells its number.
    fn queue(&mut self, record: WalRecord) -> u64 {
        let number = self.next;
        self.next += 1;
        self.wal.submit(vec![Order::Append(number, record)]);
        number
    }

    fn finish(&self, number: u64) {
        self.wal.submit(vec![Order::Finish(number)]);
    }

    /// Writes a record and waits until it is synced.
    fn write(&mut self, record: WalRecord) -> u64 {
        let number = self.queue(record);
        self.wait_for(&Outcome::Synced(number));
        number
    }

    fn report(&self) -> Outcome {
        self.reports
            .recv_timeout(Duration::from_secs(10))
            .expect("the WAL reports")
    }

    /// Everything reported up to this.
    fn wait_for(&self, wanted: &Outcome) -> Vec<Outcome> {
        let mut seen = Vec::new();
        loop {
            let outcome = self.report();
            seen.push(outcome.clone());
            if outcome == *wanted {
                return seen;
            }
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.recovered.records.iter().map(|(n, _)| *n).collect()
    }

    /// Ends the writer, as a process that ends does.
    fn close(self) {
        drop(self.wal);
        while self.reports.recv().is_ok() {}
    }
}

fn wal_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|x| x == "wal"));
    files.sort();
    files
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn what_was_synced_is_there_after_any_number_of_restarts() {
    let dir = tempfile::tempdir().unwrap();
    for life in 1..=12u64 {
        let mut wal = open(dir.path());
        assert_eq!(wal.numbers(), (1..life).collect::<Vec<_>>());
        assert_eq!(wal.recovered.oldest, (life > 1).then(|| id(1, 1)));
        wal.write(batch(id(life as u32, life)));
        wal.close();
    }
}

#[test]
fn a_torn_tail_is_cut_at_whatever_byte_it_was_torn() {
    let source = tempfile::tempdir().unwrap();
    let mut wal = open(source.path());
    wal.write(batch(id(1, 1)));
    wal.write(batch(id(1, 2)));
    wal.close();
    let bytes = fs::read(&wal_files(source.path())[0]).unwrap();
    let record = record_bytes(&bytes, segment::HEADER_BYTES);
    for cut in (0..=2 * record).step_by(37) {
        let dir = tempfile::tempdir().unwrap();
        let mut torn = bytes.clone();
        torn[segment::HEADER_BYTES + cut..].fill(0);
        fs::write(dir.path().join("00000000000000000001.wal"), &torn).unwrap();
        let mut wal = open(dir.path());
        assert_eq!(
            wal.numbers().len(),
            cut / record,
            "torn {cut} bytes into the records"
        );
        let number = wal.write(batch(id(2, 1)));
        wal.close();
        assert_eq!(
            open(dir.path()).numbers().last(),
            Some(&number),
            "and it goes on from there"
        );
    }
}

fn record_bytes(bytes: &[u8], at: usize) -> usize {
    super::record::FRAME_BYTES + u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn a_write_of_several_records_that_lost_its_first_is_torn_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let salt = segment::Salt::new(9, 1);
    let mut file = segment::header(salt).to_vec();
    let mut into = 0;
    for number in 1..=3 {
        let mut record = super::record::encode(number, into, &batch(id(1, number)));
        into += record.len() as u32;
        file.extend(record.salted(salt).concat());
    }
    file[40] ^= 1;
    fs::write(dir.path().join("00000000000000000001.wal"), &file).unwrap();
    assert!(
        open(dir.path()).numbers().is_empty(),
        "none of them was ever acknowledged"
    );
}

#[test]
fn damage_before_what_was_synced_later_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    (1..=3).for_each(|n| assert_eq!(wal.write(batch(id(1, n))), n));
    wal.close();
    flip(&wal_files(dir.path())[0], 16 + 100);
    let refused = try_open(dir.path(), Arc::new(segment::prepare)).err();
    assert!(
        matches!(refused, Some(WalError::Damaged { at: 16, .. })),
        "{refused:?}"
    );
    assert!(super::inspect(dir.path()).unwrap()[0].contains("damaged"));
}

#[test]
fn damage_in_an_older_file_and_of_a_header_is_reported() {
    for at in [16 + 100, 2] {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = open(dir.path());
        (1..=6).for_each(|n| assert_eq!(wal.write(batch(id(1, n))), n));
        wal.close();
        let files = wal_files(dir.path());
        assert!(files.len() > 1);
        flip(&files[0], at);
        assert!(matches!(
            try_open(dir.path(), Arc::new(segment::prepare)),
            Err(WalError::Damaged { .. })
        ));
    }
}

#[test]
fn files_go_oldest_first_and_only_when_all_in_them_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let numbers: Vec<u64> = (1..=9).map(|n| wal.write(batch(id(1, n)))).collect();
    let all = wal_files(dir.path());
    assert_eq!(all.len(), 3);
    numbers[4..8].iter().for_each(|n| wal.finish(*n));
    numbers[..3].iter().for_each(|n| wal.finish(*n));
    wal.write(batch(id(1, 10)));
    assert_eq!(
        wal_files(dir.path()),
        all,
        "the first file still has a record that is needed"
    );
    wal.finish(numbers[3]);
    let told = {
        let number = wal.queue(batch(id(1, 11)));
        wal.wait_for(&Outcome::Synced(number))
    };
    assert_eq!(
        wal_files(dir.path()),
        all[2..],
        "the file that is written to stays"
    );
    assert!(told.contains(&Outcome::Holds(Some(id(1, 9)))), "{told:?}");
}

#[test]
fn a_move_is_found_in_a_later_file_than_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let numbers: Vec<u64> = (1..=5).map(|n| wal.write(batch(id(1, n)))).collect();
    wal.write(moved(id(1, 50), &numbers[..2]));
    wal.close();
    let mut wal = open(dir.path());
    assert_eq!(
        wal.recovered.records.last().unwrap().1,
        moved(id(1, 50), &numbers[..2])
    );
    wal.write(moved(id(2, 1), &numbers[..1]));
    numbers[1..].iter().for_each(|n| wal.finish(*n));
    wal.write(batch(id(2, 2)));
    wal.close();
    let wal = open(dir.path());
    assert_eq!(
        wal.recovered.records[0].0, numbers[0],
        "its file stays as long as one batch in it is needed"
    );
    assert_eq!(wal.recovered.records.len(), 8);
}

/// A process that stopped between naming its file and writing to it left a file named after the next record. The next life
/// gave its own file that name, and trimmed it when the old one was finished: what was in it was lost.
#[test]
fn a_file_without_a_record_does_not_take_the_next_one_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let first = wal.write(batch(id(1, 1)));
    wal.close();
    let empty = segment::prepare(&dir.path().join("00000000000000000002.wal"), FILE_BYTES).unwrap();
    let header = segment::header(segment::Salt::new(9, 2));
    empty.write_all_at(&header, 0).unwrap();
    let old = &wal_files(dir.path())[0];
    let header = segment::HEADER_BYTES;
    segment::seal(
        old,
        (header + record_bytes(&fs::read(old).unwrap(), header)) as u64,
        segment::Salt::new(9, 1),
    )
    .unwrap();

    let mut wal = open(dir.path());
    let second = wal.write(batch(id(2, 1)));
    wal.finish(first);
    let third = wal.write(batch(id(2, 2)));
    wal.close();
    assert_eq!(open(dir.path()).numbers(), [second, third]);
}

#[test]
fn numbers_begin_anew_only_when_no_file_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let first = wal.write(batch(id(1, 1)));
    wal.close();
    let mut wal = open(dir.path());
    assert_eq!((wal.recovered.last, wal.next), (first, first + 1));
    wal.finish(first);
    wal.wait_for(&Outcome::Holds(None));
    assert_eq!(wal_files(dir.path()), Vec::<PathBuf>::new());
    wal.write(batch(id(2, 1)));
    wal.close();
    let wal = open(dir.path());
    assert_eq!(wal.numbers(), [2]);
    wal.finish(2);
    wal.wait_for(&Outcome::Holds(None));
    wal.close();
    assert_eq!(open(dir.path()).recovered.last, 0);
}

/// A file that is written again still holds what it held before. Torn at whatever byte, only what was synced of its new
/// content comes back, and what lies behind is not taken for damage.
#[test]
fn what_a_file_held_before_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let mut written_again = None;
    for n in 1..=40 {
        let number = wal.write(batch(id(1, n)));
        let newest = wal_files(dir.path()).pop().unwrap();
        let bytes = fs::read(&newest).unwrap();
        let end = record_bytes(&bytes, segment::HEADER_BYTES) + segment::HEADER_BYTES;
        let is_its_first = newest.ends_with(format!("{number:020}.wal"));
        // Behind the first record of a new file there are zeros.
        if is_its_first && bytes[end..end + 100].iter().any(|byte| *byte != 0) {
            written_again = Some((bytes, end, number));
            break;
        }
        wal.finish(number);
    }
    wal.close();
    let (bytes, end, number) = written_again.expect("a finished file is written again");
    for torn in (0..end).step_by(61) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = bytes.clone();
        file[segment::HEADER_BYTES.max(torn)..end].fill(0xff);
        fs::write(dir.path().join(format!("{number:020}.wal")), &file).unwrap();
        assert!(open(dir.path()).numbers().is_empty(), "torn at {torn}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(format!("{number:020}.wal")), &bytes).unwrap();
    assert_eq!(open(dir.path()).numbers(), [number]);
}

#[test]
fn a_half_made_file_is_in_nobody_s_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("next.tmp"), vec![9; 10_000]).unwrap();
    let mut wal = open(dir.path());
    let number = wal.write(batch(id(1, 1)));
    wal.close();
    assert_eq!(open(dir.path()).numbers(), [number]);
}

#[test]
fn a_batch_larger_than_a_file_gets_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = open(dir.path());
    let WalRecord::Batch(small) = batch(id(1, 1)) else {
        unreachable!()
    };
    let mut large = BatchBuilder::new(Codec::None);
    large.push(1, None, Some(&vec![5; 3 * FILE_BYTES as usize]), &[]);
    let bytes = large.build().unwrap().bytes().clone();
    let number = wal.write(WalRecord::Batch(WalBatch {
        bytes: bytes.clone(),
        ..small
    }));
    wal.write(batch(id(1, 2)));
    wal.close();
    let recovered = open(dir.path()).recovered;
    assert!(
        matches!(&recovered.records[0], (n, WalRecord::Batch(b)) if *n == number && b.bytes == bytes)
    );
}

/// A disk on which no file of a whole size can be made while `full` is set.
fn disk(full: &Arc<AtomicBool>) -> super::Prepare {
    let full = full.clone();
    Arc::new(
        move |path, bytes| match full.load(Ordering::SeqCst) && bytes >= FILE_BYTES {
            true => Err(ErrorKind::StorageFull.into()),
            false => segment::prepare(path, bytes),
        },
    )
}

#[test]
fn a_full_disk_makes_batches_durable_instead_and_moves_find_a_small_place() {
    let (dir, full) = (
        tempfile::tempdir().unwrap(),
        Arc::new(AtomicBool::new(false)),
    );
    let mut wal = try_open(dir.path(), disk(&full)).unwrap();
    let first = wal.write(batch(id(1, 1)));
    wal.close();

    full.store(true, Ordering::SeqCst);
    let mut wal = try_open(dir.path(), disk(&full)).unwrap();
    let skipped = wal.queue(batch(id(2, 1)));
    let told = wal.wait_for(&Outcome::Synced(skipped));
    assert!(told.contains(&Outcome::Skipped(vec![skipped])), "{told:?}");
    let move_number = wal.write(moved(id(2, 2), &[first]));

    full.store(false, Ordering::SeqCst);
    let last = wal.write(batch(id(2, 3)));
    wal.close();
    assert_eq!(open(dir.path()).numbers(), [first, move_number, last]);
}

#[test]
fn a_file_that_cannot_be_written_nor_cut_stops_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    // A file of this kind takes no byte and cannot be cut: what is left of it is unknown, so the agent must stop.
    let prepare: super::Prepare = Arc::new(|path, bytes| {
        segment::prepare(path, bytes)?;
        OpenOptions::new().write(true).open("/dev/full")
    });
    let mut wal = try_open(dir.path(), prepare).unwrap();
    wal.queue(batch(id(1, 1)));
    assert!(matches!(wal.report(), Outcome::Failed(_)));
    wal.close();
    assert!(open(dir.path()).numbers().is_empty());
}

#[test]
fn a_disk_that_fails_stops_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let prepare: super::Prepare = Arc::new(|_, _| Err(io::Error::other("the disk is gone")));
    let mut wal = try_open(dir.path(), prepare).unwrap();
    wal.queue(batch(id(1, 1)));
    assert!(matches!(wal.report(), Outcome::Failed(why) if why.contains("the disk is gone")));
}
