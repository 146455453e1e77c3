use super::*;
use crate::torture::history::BatchId;

fn id(n: u32) -> RecordId {
    let batch = BatchId {
        source: 0,
        position: n,
    };
    RecordId { batch, index: 0 }
}

fn name(number: u32) -> TransactionName {
    TransactionName { copier: 1, number }
}

/// The copy of record `n`, at `offset`, by transaction `by`.
fn copy(n: u32, offset: i64, by: u32) -> Copy {
    let digest = u64::from(n);
    Copy {
        found: Found {
            offset,
            id: Some(id(n)),
            digest,
        },
        digest: digest + 1_000,
        transaction: Some(name(by)),
    }
}

fn topic(copies: &[Copy]) -> Copies {
    Copies(BTreeMap::from([(0, copies.to_vec())]))
}

/// Records 0 to 2.
fn originals() -> Copies {
    topic(&[0, 1, 2].map(|n| copy(n, i64::from(n), 0)))
}

fn outcomes(of: &[(u32, Outcome)]) -> BTreeMap<TransactionName, Outcome> {
    of.iter().map(|(n, o)| (name(*n), *o)).collect()
}

fn judged(copies: &[Copy], ended: &[(u32, Outcome)], seen: &[(i32, Found)]) -> Vec<CopyAnomaly> {
    check_copies(&originals(), &topic(copies), &outcomes(ended), seen)
}

fn saw(copy: Copy) -> (i32, Found) {
    let Copy { found, digest, .. } = copy;
    (0, Found { digest, ..found })
}

#[test]
fn every_record_once_and_in_order_is_right_with_markers_in_between() {
    let good = [copy(0, 0, 1), copy(1, 2, 2), copy(2, 3, 2)];
    let ended = [
        (1, Outcome::Committed(1)),
        (2, Outcome::Unknown),
        (3, Outcome::Aborted),
    ];
    assert_eq!(judged(&good, &ended, &[saw(good[1])]), []);
}

#[test]
fn what_is_missing_is_not_copied() {
    let found = judged(&[copy(0, 0, 1), copy(2, 1, 1)], &[], &[]);
    assert_eq!(
        found,
        [CopyAnomaly::NotCopied {
            partition: 0,
            id: id(1)
        }]
    );
}

#[test]
fn a_record_of_two_transactions_is_copied_twice() {
    let copies = [copy(0, 0, 1), copy(1, 1, 1), copy(1, 2, 2), copy(2, 3, 2)];
    let by = vec![Some(name(1)), Some(name(2))];
    let found = judged(&copies, &[], &[]);
    assert_eq!(
        found,
        [CopyAnomaly::CopiedTwice {
            partition: 0,
            id: id(1),
            by
        }]
    );
}

#[test]
fn copies_in_another_order_are_out_of_order() {
    let found = judged(&[copy(1, 0, 1), copy(0, 1, 1), copy(2, 2, 1)], &[], &[]);
    assert_eq!(
        found,
        [CopyAnomaly::OutOfOrder {
            partition: 0,
            earlier: id(1),
            later: id(0)
        }]
    );
}

#[test]
fn a_copy_of_something_else_or_of_nothing_is_altered() {
    let mut other = copy(1, 1, 1);
    other.found.digest += 1;
    let mut nobodys = copy(9, 3, 1);
    nobodys.found.id = None;
    let found = judged(&[copy(0, 0, 1), other, copy(2, 2, 1), nobodys], &[], &[]);
    let altered = |offset| CopyAnomaly::Altered {
        partition: 0,
        offset,
    };
    assert_eq!(found, [altered(3), altered(1)]);
}

#[test]
fn what_was_aborted_is_not_to_be_read() {
    let found = judged(
        &[copy(0, 0, 1), copy(1, 1, 1), copy(2, 2, 2)],
        &[(2, Outcome::Aborted)],
        &[],
    );
    let transaction = name(2);
    assert_eq!(
        found,
        [CopyAnomaly::AbortedRead {
            partition: 0,
            offset: 2,
            transaction
        }]
    );
}

#[test]
fn a_committed_transaction_is_there_as_a_whole() {
    let good = [copy(0, 0, 1), copy(1, 1, 1), copy(2, 2, 1)];
    let found = judged(
        &good,
        &[(1, Outcome::Committed(4)), (2, Outcome::Committed(1))],
        &[],
    );
    let torn = |n, written, found| CopyAnomaly::Torn {
        transaction: name(n),
        written,
        found,
    };
    assert_eq!(found, [torn(1, 4, 3), torn(2, 1, 0)]);
}

#[test]
fn what_a_reader_of_committed_records_saw_stays() {
    let good = [copy(0, 0, 1), copy(1, 1, 1), copy(2, 2, 1)];
    let gone = saw(copy(7, 5, 9));
    let found = judged(&good, &[], &[saw(good[0]), gone]);
    assert_eq!(
        found,
        [CopyAnomaly::Changed {
            partition: 0,
            before: gone.1
        }]
    );
}

#[test]
fn names_are_read_as_they_are_written() {
    assert_eq!(
        TransactionName::read(name(7).to_string().as_bytes()),
        Some(name(7))
    );
    assert_eq!(TransactionName::read(b"7"), None);
}
