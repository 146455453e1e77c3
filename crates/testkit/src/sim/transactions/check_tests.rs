//! Histories of transactions by hand: each anomaly, and beside it what only looks like one.
use sh_client::Acks;

use super::*;
use crate::{
    sim::{reads::Timestamps, transactions::Copied},
    torture::history::{Found, PartitionLog, Sent},
};

const PRODUCER: i64 = 7;
const OTHER: i64 = 8;

/// One partition, told from its beginning: what stands at each offset, and what became of it.
#[derive(Default)]
struct Story {
    history: History,
    transactions: Transactions,
    reads: Reads,
    reading: Reading,
    offsets: BTreeMap<usize, i64>,
    next: i64,
}

fn txn(number: u32) -> TxnId {
    TxnId { source: 1, number }
}

fn batch(position: u32) -> BatchId {
    BatchId {
        source: 1,
        position,
    }
}

fn found(offset: i64, position: u32) -> Found {
    let batch = batch(position);
    Found {
        offset,
        id: Some(RecordId { batch, index: 0 }),
        digest: u64::from(position),
    }
}

impl Story {
    fn new() -> Story {
        let mut story = Story::default();
        for log in [&mut story.reading.log, &mut story.reading.committed] {
            log.insert(0, PartitionLog::default());
        }
        story.reading.timestamps = Timestamps::new();
        story.reading.transactional.insert(0, Vec::new());
        story
    }

    /// A transaction of these batches, of a record each, that was asked to end so.
    fn asked(mut self, number: u32, batches: &[u32], asked: Option<Ending>, told: bool) -> Story {
        let transaction = Transaction {
            batches: batches.iter().map(|position| batch(*position)).collect(),
            asked,
            told,
            copied: None,
        };
        for position in batches {
            let sent = Sent::new(0, Acks::All, vec![u64::from(*position)]);
            self.history.batches.insert(batch(*position), sent);
        }
        self.transactions.all.insert(txn(number), transaction);
        self
    }

    fn copied(mut self, number: u32, from: i64, to: i64) -> Story {
        let transaction = self.transactions.all.get_mut(&txn(number)).unwrap();
        transaction.copied = Some(Copied { group: 3, from, to });
        self
    }

    /// The record of a batch stands at the next offset; `shown`: read_committed shows it.
    fn stored(self, position: u32, shown: bool) -> Story {
        self.stored_by(PRODUCER, position, shown)
    }

    fn stored_by(mut self, producer: i64, position: u32, shown: bool) -> Story {
        let record = found(self.next, position);
        let both = [&mut self.reading.log, &mut self.reading.committed];
        for log in both.into_iter().take(1 + usize::from(shown)) {
            log.get_mut(&0).unwrap().records.push(record);
        }
        self.place(producer, None)
    }

    fn marker(self, committed: bool) -> Story {
        self.place(PRODUCER, Some(committed))
    }

    fn place(mut self, producer: i64, marker: Option<bool>) -> Story {
        let placed = Placed {
            offset: self.next,
            producer,
            marker,
            timestamp: 0,
        };
        self.reading.transactional.get_mut(&0).unwrap().push(placed);
        self.next += 1;
        for log in [&mut self.reading.log, &mut self.reading.committed] {
            log.get_mut(&0).unwrap().end = self.next;
        }
        self
    }

    fn held_up_at(mut self, stable: i64) -> Story {
        self.reading.committed.get_mut(&0).unwrap().end = stable;
        self
    }

    /// A consumer is sent all from 0 to `next`, and given these records.
    fn fetch(mut self, given: &[(i64, u32)], next: i64, stable: i64, end: i64) -> Story {
        self.reads.fetches.push(Fetch {
            consumer: 5,
            partition: 0,
            from: 0,
            records: given
                .iter()
                .map(|(o, position)| found(*o, *position))
                .collect(),
            next,
            high_watermark: end,
            stable,
            committed: true,
        });
        self
    }

    fn bad(&self) -> Vec<TxnAnomaly> {
        let end = End {
            reading: &self.reading,
            offsets: &self.offsets,
        };
        check(&self.history, &self.transactions, &self.reads, &end)
    }
}

const COMMIT: Option<Ending> = Some(Ending::Commit);
const ABORT: Option<Ending> = Some(Ending::Abort);

#[test]
fn a_committed_and_an_aborted_transaction_are_fine() {
    let story = Story::new()
        .asked(0, &[0, 1], COMMIT, true)
        .asked(1, &[2], ABORT, true)
        .stored(0, true)
        .stored(1, true)
        .marker(true)
        .stored(2, false)
        .marker(false)
        .fetch(&[(0, 0), (1, 1)], 5, 5, 5);
    assert_eq!(story.bad(), []);
}

#[test]
fn a_record_whose_client_aborted_or_never_asked_is_not_shown() {
    let read = TxnAnomaly::AbortedRead {
        txn: txn(0),
        partition: 0,
        offset: 0,
    };
    for asked in [ABORT, None] {
        let story = |shown| {
            let story = Story::new().asked(0, &[0], asked, false);
            story.stored(0, shown).marker(shown)
        };
        assert_eq!(story(true).bad(), std::slice::from_ref(&read), "{asked:?}");
        assert_eq!(story(false).bad(), [], "{asked:?}");
    }
}

#[test]
fn a_commit_that_was_never_confirmed_may_have_happened_or_not() {
    for shown in [true, false] {
        let story = Story::new().asked(0, &[0], COMMIT, false);
        assert_eq!(story.stored(0, shown).marker(shown).bad(), []);
    }
}

#[test]
fn a_confirmed_commit_is_shown() {
    let story = Story::new().asked(0, &[0], COMMIT, true);
    let lost = TxnAnomaly::LostTransaction { txn: txn(0) };
    assert_eq!(story.stored(0, false).marker(false).bad(), [lost]);
}

#[test]
fn a_transaction_is_shown_as_a_whole() {
    let torn = TxnAnomaly::TornTransaction { txn: txn(0) };
    for told in [true, false] {
        let story = Story::new().asked(0, &[0, 1], COMMIT, told);
        let story = story.stored(0, true).marker(true).stored(1, false);
        assert_eq!(story.marker(false).bad(), std::slice::from_ref(&torn));
    }
    // A batch that never got in is as bad as one that was aborted: the client committed because both were acknowledged.
    let story = Story::new().asked(0, &[0, 1], COMMIT, true);
    assert_eq!(story.stored(0, true).marker(true).bad(), [torn]);
}

#[test]
fn what_a_consumer_was_given_stays() {
    let story = |given: &[(i64, u32)]| {
        let story = Story::new().asked(0, &[0], ABORT, true);
        let story = story.stored(0, false).marker(false);
        story.fetch(given, 2, 2, 2)
    };
    let dirty = TxnAnomaly::DirtyRead {
        consumer: 5,
        partition: 0,
        offset: 0,
    };
    assert_eq!(story(&[(0, 0)]).bad(), [dirty]);
    assert_eq!(story(&[]).bad(), []);
}

#[test]
fn read_uncommitted_sees_what_is_aborted_later() {
    let mut story = Story::new().asked(0, &[0], ABORT, true);
    story = story.stored(0, false).marker(false);
    story = story.fetch(&[(0, 0)], 1, 0, 1);
    story.reads.fetches[0].committed = false;
    assert_eq!(story.bad(), []);
}

#[test]
fn the_last_stable_offset_waits_for_the_marker() {
    let story = |stable, end| {
        let story = Story::new().asked(0, &[0], COMMIT, true);
        let story = story.stored(0, true).stored_by(OTHER, 9, true).marker(true);
        let mut story = story.fetch(&[], 0, stable, end);
        // Of another producer: its marker is of no interest here.
        story.reading.transactional.get_mut(&0).unwrap().remove(1);
        story.bad()
    };
    assert_eq!(story(0, 2), [], "before the marker it stays in front");
    assert_eq!(story(3, 3), [], "the marker is there");
    let past = TxnAnomaly::PastStable {
        consumer: 5,
        partition: 0,
        offset: 0,
        stable: 2,
    };
    assert_eq!(story(2, 2), [past]);
}

#[test]
fn the_marker_of_another_producer_settles_nothing() {
    let story = Story::new().asked(0, &[0], COMMIT, false);
    let story = story.stored_by(OTHER, 0, false).marker(true);
    let bad = story.held_up_at(0).fetch(&[], 0, 2, 2).bad();
    let kinds = |bad: &[TxnAnomaly]| bad.iter().map(|b| format!("{b:?}")).collect::<Vec<_>>();
    assert!(kinds(&bad)[0].starts_with("PastStable"), "{bad:?}");
    assert!(kinds(&bad)[1].starts_with("Hanging"), "{bad:?}");
}

#[test]
fn a_read_committed_consumer_is_sent_nothing_past_the_last_stable_offset() {
    let story = |next| {
        let story = Story::new().asked(0, &[0], COMMIT, true);
        let story = story.stored(0, true).marker(true);
        story.fetch(&[(0, 0)], next, 1, 5).bad()
    };
    assert_eq!(story(1), []);
    let beyond = TxnAnomaly::BeyondStable {
        consumer: 5,
        partition: 0,
        next: 2,
        stable: 1,
    };
    assert_eq!(story(2), [beyond]);
}

#[test]
fn a_transaction_that_nobody_ends_hangs() {
    let story = Story::new().asked(0, &[0], None, false).stored(0, false);
    let hanging = TxnAnomaly::Hanging {
        partition: 0,
        stable: 0,
        end: 1,
    };
    assert_eq!(story.held_up_at(0).bad(), [hanging]);
}

/// Three transactions of a copier; the second is aborted.
fn copies(inputs: [(i64, i64); 3], committed: i64) -> Vec<TxnAnomaly> {
    let mut story = Story::new()
        .asked(0, &[0], COMMIT, true)
        .asked(1, &[1], ABORT, true)
        .asked(2, &[2], COMMIT, true);
    for (number, (from, to)) in (0..).zip(inputs) {
        story = story.copied(number, from, to);
    }
    story.offsets.insert(3, committed);
    let story = story.stored(0, true).marker(true);
    let story = story.stored(1, false).marker(false);
    story.stored(2, true).marker(true).bad()
}

#[test]
fn each_input_is_copied_once() {
    assert_eq!(copies([(0, 2), (2, 5), (2, 3)], 3), []);
    let twice = TxnAnomaly::CopiedTwice { group: 3, input: 1 };
    assert_eq!(copies([(0, 2), (2, 5), (1, 3)], 3), [twice]);
    let hole = TxnAnomaly::NotCopied { group: 3, input: 2 };
    assert_eq!(copies([(0, 2), (2, 3), (3, 4)], 4), [hole]);
}

#[test]
fn offsets_are_committed_with_their_transaction() {
    let wrong = |committed| TxnAnomaly::WrongOffset {
        group: 3,
        committed,
        copied: 3,
    };
    for committed in [2, 5] {
        assert_eq!(
            copies([(0, 2), (2, 5), (2, 3)], committed),
            [wrong(committed)]
        );
    }
}

#[test]
fn a_committed_offset_does_not_move_back() {
    let mut story = Story::new();
    let seen = |least, told| Seen {
        group: 3,
        least,
        told,
    };
    story.transactions.seen = vec![seen(2, 2), seen(2, 4), seen(4, 3)];
    let back = TxnAnomaly::WentBack {
        group: 3,
        least: 4,
        told: 3,
    };
    assert_eq!(story.bad(), [back]);
}
