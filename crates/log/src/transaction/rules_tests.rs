use sh_base::TopicId;
use uuid::Uuid;

use super::*;

const PRODUCER: ProducerId = ProducerId(40);

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(7)), partition)
}

fn ask(expected: Option<(i64, i16)>) -> InitAsk {
    InitAsk {
        timeout_ms: 1_000,
        expected: expected.map(|(id, epoch)| (ProducerId(id), epoch)),
        fresh: None,
    }
}

fn ready(outcome: Result<InitOutcome, Failure>) -> TransactionRow {
    match outcome {
        Ok(InitOutcome::Ready(row)) => row,
        other => panic!("{other:?}"),
    }
}

/// A session that has just begun: producer 40, epoch 0.
fn fresh() -> TransactionRow {
    let first = InitAsk {
        fresh: Some(PRODUCER),
        ..ask(None)
    };
    assert_eq!(init(None, &ask(None), 0), Ok(InitOutcome::NeedsId));
    ready(init(None, &first, 0))
}

fn batch(epoch: i16) -> BatchProducer {
    BatchProducer {
        id: PRODUCER,
        epoch,
        base_sequence: 0,
    }
}

/// A transaction of version 2 with one partition, begun at time 100.
fn ongoing() -> TransactionRow {
    let opened = admit_batch(Some(&fresh()), &batch(0), tp(0), true, 100);
    opened.unwrap().expect("it opens the transaction")
}

fn end_ask(epoch: i16, commit: bool, version2: bool) -> EndAsk {
    EndAsk {
        producer: PRODUCER,
        epoch,
        commit,
        version2,
        fresh: None,
    }
}

fn closed(ending: Result<Ending, Failure>) -> Close {
    match ending {
        Ok(Ending::Close(close)) => close,
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> ErrorCode {
    outcome.unwrap_err().code
}

#[test]
fn a_row_reads_back_from_its_json() {
    let mut row = ongoing();
    row.groups.insert("g".into());
    assert_eq!(TransactionRow::decode(&row.encode()), Ok(row.clone()));
    assert_eq!(row.partitions().collect::<Vec<_>>(), [tp(0)]);
    assert!(TransactionRow::decode(b"{}").is_err());
}

#[test]
fn every_session_raises_the_epoch() {
    let row = fresh();
    assert_eq!((row.producer(), row.epoch), (PRODUCER, 0));
    let next = ready(init(Some(&row), &ask(None), 1));
    assert_eq!((next.producer(), next.epoch), (PRODUCER, 1));
    mutant::with("txn_no_bump", || {
        let same = ready(init(Some(&row), &ask(None), 1));
        assert_eq!(same.epoch, 0, "noticed");
    });
}

#[test]
fn a_session_that_names_its_epoch_is_answered_once_and_again() {
    let row = fresh();
    let next = ready(init(Some(&row), &ask(Some((40, 0))), 1));
    assert_eq!((next.epoch, next.last_epoch), (1, 0));
    // The answer was lost: asked again, it is the same.
    assert_eq!(ready(init(Some(&next), &ask(Some((40, 0))), 2)), next);
    // Another session has begun since.
    let later = ready(init(Some(&next), &ask(None), 3));
    assert_eq!(
        code(init(Some(&later), &ask(Some((40, 0))), 4)),
        ErrorCode::ProducerFenced
    );
    assert_eq!(
        code(init(Some(&row), &ask(Some((41, 0))), 4)),
        ErrorCode::ProducerFenced
    );
}

#[test]
fn an_open_transaction_is_aborted_before_a_session_begins() {
    assert_eq!(
        init(Some(&ongoing()), &ask(None), 1),
        Ok(InitOutcome::AbortFirst)
    );
    let close = fence(&ongoing(), 5);
    assert!(!close.commit);
    assert_eq!((close.marker_epoch, close.next.epoch), (1, 1));
    assert_eq!(close.next.state, TransactionState::CompleteAbort);
    assert_eq!(ready(init(Some(&close.next), &ask(None), 6)).epoch, 2);
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_id() {
    let row = TransactionRow {
        epoch: i16::MAX - 1,
        ..fresh()
    };
    assert_eq!(init(Some(&row), &ask(None), 1), Ok(InitOutcome::NeedsId));
    let fresh = InitAsk {
        fresh: Some(ProducerId(41)),
        ..ask(Some((40, i16::MAX - 1)))
    };
    let next = ready(init(Some(&row), &fresh, 1));
    assert_eq!((next.producer_id, next.epoch), (41, 0));
    assert_eq!(
        (next.previous_producer_id, next.last_epoch),
        (40, i16::MAX - 1)
    );
    // Asked again with the old id.
    assert_eq!(
        ready(init(Some(&next), &ask(Some((40, i16::MAX - 1))), 2)),
        next
    );
}

#[test]
fn a_batch_must_match_the_epoch_and_an_open_state() {
    let admit = |row: Option<&TransactionRow>, epoch, partition, adds| {
        admit_batch(row, &batch(epoch), tp(partition), adds, 0)
    };
    let row = ongoing();
    assert_eq!(admit(Some(&row), 0, 0, false), Ok(None));
    assert_eq!(
        admit(Some(&row), 1, 0, true),
        Err(Refusal::InvalidProducerEpoch)
    );
    assert_eq!(
        admit(None, 0, 0, true),
        Err(Refusal::InvalidProducerIdMapping)
    );
    assert_eq!(
        admit(Some(&row), 0, 1, false),
        Err(Refusal::TransactionAbortable)
    );
    assert_eq!(
        admit(Some(&fresh()), 0, 0, false),
        Err(Refusal::TransactionAbortable)
    );
    let more = admit(Some(&row), 0, 1, true).unwrap().unwrap();
    assert_eq!((more.partition_count(), more.started_ms), (2, 100));
    mutant::with("txn_no_epoch", || {
        assert_eq!(admit(Some(&row), 1, 0, true), Ok(None), "noticed")
    });
    mutant::with("txn_batch_unlocked", || {
        assert_eq!(admit(Some(&row), 1, 5, false), Ok(None), "noticed")
    });
}

#[test]
fn a_transaction_has_no_more_partitions_than_one_update_can_mark() {
    let producer = (PRODUCER, 0);
    let all: Vec<_> = (0..PARTITIONS_MAX as i32).map(tp).collect();
    let full = add(Some(&fresh()), producer, &all, None, 0)
        .unwrap()
        .unwrap();
    let one_more = tp(PARTITIONS_MAX as i32);
    assert_eq!(
        code(add(Some(&full), producer, &[one_more], None, 0)),
        ErrorCode::TransactionAbortable
    );
    assert_eq!(
        admit_batch(Some(&full), &batch(0), one_more, true, 0),
        Err(Refusal::TransactionAbortable)
    );
}

#[test]
fn partitions_and_groups_are_added_once() {
    let producer = (PRODUCER, 0);
    let row = add(Some(&fresh()), producer, &[tp(1)], None, 9)
        .unwrap()
        .unwrap();
    assert!(row.is_ongoing() && !row.version2);
    assert_eq!(add(Some(&row), producer, &[tp(1)], None, 10), Ok(None));
    let row = add(Some(&row), producer, &[], Some("g"), 11)
        .unwrap()
        .unwrap();
    assert_eq!((row.started_ms, row.groups.len()), (9, 1));
    assert_eq!(
        code(add(Some(&row), (PRODUCER, 1), &[], None, 0)),
        ErrorCode::ProducerFenced
    );
    assert_eq!(
        code(add(Some(&row), (ProducerId(1), 0), &[], None, 0)),
        ErrorCode::InvalidProducerIdMapping
    );
    assert_eq!(verify(Some(&row), producer, tp(1)), Ok(()));
    assert_eq!(
        code(verify(Some(&row), producer, tp(2))),
        ErrorCode::TransactionAbortable
    );
}

#[test]
fn offsets_belong_to_an_open_transaction_with_their_group() {
    let admit = |row: Option<&TransactionRow>, epoch, adds| {
        admit_offsets(row, (PRODUCER, epoch), "g", adds, 7)
    };
    assert_eq!(
        admit(None, 0, true),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        admit(Some(&fresh()), 1, true),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    assert_eq!(
        admit(Some(&fresh()), 0, false),
        Err(ErrorCode::TransactionAbortable)
    );
    let row = admit(Some(&fresh()), 0, true).unwrap().unwrap();
    assert!(row.is_ongoing() && row.groups.contains("g"));
    assert_eq!(admit(Some(&row), 0, false), Ok(None));
}

#[test]
fn in_version_2_an_end_raises_the_epoch_and_is_answered_again() {
    let close = closed(end(Some(&ongoing()), &end_ask(0, true, true), 200));
    assert_eq!((close.marker_epoch, close.next.epoch), (1, 1));
    assert_eq!(close.next.state, TransactionState::CompleteCommit);
    assert_eq!(
        (close.next.started_ms, close.next.partition_count()),
        (100, 0)
    );
    let next = close.next;
    assert_eq!(
        end(Some(&next), &end_ask(0, true, true), 201),
        Ok(Ending::Done)
    );
    // It was a commit; it will never have been an abort.
    assert_eq!(
        code(end(Some(&next), &end_ask(0, false, true), 201)),
        ErrorCode::InvalidTxnState
    );
    // The next transaction is open: the late request is not about it.
    let open = admit_batch(Some(&next), &batch(1), tp(0), true, 300)
        .unwrap()
        .unwrap();
    assert_eq!(
        code(end(Some(&open), &end_ask(0, true, true), 301)),
        ErrorCode::ProducerFenced
    );
}

#[test]
fn in_version_2_an_abort_without_batches_raises_the_epoch_too() {
    let close = closed(end(Some(&fresh()), &end_ask(0, false, true), 1));
    assert_eq!(
        close.next.epoch, 1,
        "a late batch of epoch 0 finds no transaction"
    );
    assert_eq!(
        code(end(Some(&fresh()), &end_ask(0, true, true), 1)),
        ErrorCode::InvalidTxnState
    );
}

#[test]
fn in_the_classic_flow_the_epoch_stays() {
    let row = add(Some(&fresh()), (PRODUCER, 0), &[tp(0)], None, 0)
        .unwrap()
        .unwrap();
    let close = closed(end(Some(&row), &end_ask(0, false, false), 1));
    assert_eq!((close.marker_epoch, close.next.epoch), (0, 0));
    assert_eq!(
        end(Some(&close.next), &end_ask(0, false, false), 2),
        Ok(Ending::Done)
    );
    assert_eq!(
        code(end(Some(&close.next), &end_ask(0, true, false), 2)),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(
        code(end(Some(&row), &end_ask(1, true, false), 2)),
        ErrorCode::ProducerFenced
    );
    assert_eq!(
        code(end(None, &end_ask(0, true, false), 2)),
        ErrorCode::InvalidProducerIdMapping
    );
}

#[test]
fn a_producer_that_begins_anew_over_its_own_transaction_is_not_fenced_by_itself() {
    let open = ongoing();
    let own = (open.producer_id, open.epoch);
    let closed = fence_for(&open, ask(Some(own)).expected, 5).next;
    assert_eq!(closed.epoch, open.epoch + 1);
    let ready = ready(init(Some(&closed), &ask(Some(own)), 6));
    assert_eq!(ready.epoch, closed.epoch, "the epoch that fenced it");
    let closed = fence_for(&open, None, 5).next;
    assert!(
        init(Some(&closed), &ask(Some(own)), 6).is_err(),
        "another session began"
    );
}

#[test]
fn the_last_epoch_of_a_producer_ends_with_another_producer_id() {
    let row = TransactionRow {
        epoch: i16::MAX - 1,
        ..ongoing()
    };
    let asked = end_ask(i16::MAX - 1, true, true);
    assert_eq!(end(Some(&row), &asked, 1), Ok(Ending::NeedsId));
    let fresh = EndAsk {
        fresh: Some(ProducerId(41)),
        ..asked
    };
    let close = closed(end(Some(&row), &fresh, 1));
    assert_eq!(close.marker_epoch, i16::MAX);
    assert_eq!((close.next.producer_id, close.next.epoch), (41, 0));
    assert_eq!(end(Some(&close.next), &asked, 2), Ok(Ending::Done));
}

#[test]
fn a_transaction_that_takes_too_long_fences_its_producer() {
    let row = ongoing();
    assert!(!is_overdue(&row, 1_100) && is_overdue(&row, 1_101));
    assert!(!is_overdue(&fresh(), i64::MAX), "none is open");
    let close = fence(&row, 1_101);
    assert_eq!(
        code(end(Some(&close.next), &end_ask(0, true, false), 0)),
        ErrorCode::ProducerFenced
    );
    mutant::with("txn_timeout_no_bump", || {
        assert_eq!(fence(&row, 1_101).next.epoch, 0, "noticed")
    });
}

#[test]
fn an_id_that_nobody_uses_is_forgotten_unless_its_transaction_is_open() {
    assert!(is_expired(&fresh(), 1_000, 1_000) && !is_expired(&fresh(), 999, 1_000));
    assert!(!is_expired(&ongoing(), i64::MAX, 1_000));
}
