use std::collections::HashMap;

use sh_base::TopicId;
use sh_meta::Row;
use uuid::Uuid;

use super::*;
use crate::{
    row::{AbortedTransaction, Extent, Head, Lease, OpenTransaction, ProducerState},
    transaction::{InitAsk, InitOutcome, add, fence, init},
};

const PRODUCER: ProducerId = ProducerId(40);
const ID: &str = "tx";

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(7)), partition)
}

fn key() -> Key {
    Key::Transaction(Org::default(), ID.into())
}

/// A transaction with these partitions.
fn ongoing(partitions: &[TopicPartition]) -> TransactionRow {
    let ask = InitAsk {
        timeout_ms: 1_000,
        expected: None,
        fresh: Some(PRODUCER),
    };
    let Ok(InitOutcome::Ready(row)) = init(None, &ask, 0) else {
        panic!("a session begins")
    };
    let added = add(Some(&row), (PRODUCER, 0), partitions, None, 0);
    added.unwrap().expect("it opens")
}

fn row(value: bytes::Bytes, version: u64) -> Row {
    Row {
        value: Some(value),
        version,
    }
}

fn head(next_offset: i64, open: &[(i64, i64)]) -> Head {
    let open = open.iter().map(|(producer, first_offset)| OpenTransaction {
        producer: ProducerId(*producer),
        first_offset: *first_offset,
    });
    Head {
        next_offset,
        open: open.collect(),
        ..Head::default()
    }
}

/// The row at version 3, and these heads at version 5.
fn view(transaction: &TransactionRow, heads: &[(TopicPartition, Head)]) -> View {
    let mut rows = HashMap::from([(key(), row(transaction.encode(), 3))]);
    for (tp, head) in heads {
        rows.insert(Key::Head(*tp), row(head.encode(), 5));
    }
    View {
        rows,
        ..View::default()
    }
}

fn plan(transaction: &TransactionRow, close: Close) -> EndPlan {
    EndPlan::new(Org::default(), ID.into(), (3, transaction), close, 900)
}

fn writes(outcome: Result<EndOutcome, Malformed>) -> HashMap<Key, Write> {
    let Ok(EndOutcome::Ended(writes)) = outcome else {
        panic!("{outcome:?}")
    };
    writes.into_iter().map(|w| (w.key.clone(), w)).collect()
}

fn written(writes: &HashMap<Key, Write>, key: Key) -> &[u8] {
    writes[&key].value.as_deref().unwrap()
}

#[test]
fn one_update_marks_all_partitions_and_closes_the_row() {
    let transaction = ongoing(&[tp(0), tp(1)]);
    let plan = plan(&transaction, fence(&transaction, 900));
    assert_eq!(plan.locks().len(), 5, "the row, two heads, two producers");
    let heads = [(tp(0), head(8, &[(40, 6), (41, 2)])), (tp(1), head(0, &[]))];
    let all = writes(plan.decide(&view(&transaction, &heads)));
    let closed = TransactionRow::decode(written(&all, key())).unwrap();
    assert_eq!(closed, plan.close.next);

    let first = Head::decode(written(&all, Key::Head(tp(0)))).unwrap();
    assert_eq!((first.next_offset, first.aborted_end), (9, 9));
    assert_eq!(first.last_stable_offset(), 2, "another transaction is open");
    let marker = Extent::decode(written(&all, Key::Extent(tp(0), 8))).unwrap();
    assert_eq!(
        marker.marker.map(|m| (m.epoch, m.committed)),
        Some((1, false))
    );
    assert_eq!(all[&Key::Extent(tp(0), 8)].version, Some(6), "its head's");
    let aborted = written(&all, Key::AbortedTransaction(tp(0), 8));
    let expected = AbortedTransaction {
        producer: PRODUCER,
        first_offset: 6,
        last_stable_offset: 2,
    };
    assert_eq!(AbortedTransaction::decode(aborted), Ok(expected));
    let state = ProducerState::decode(written(&all, Key::Producer(tp(0), PRODUCER))).unwrap();
    assert_eq!((state.epoch, state.coordinator_epoch), (1, 0));

    let second = Head::decode(written(&all, Key::Head(tp(1)))).unwrap();
    assert_eq!(
        (second.next_offset, second.aborted_end),
        (1, 0),
        "it had no records"
    );
    assert!(!all.contains_key(&Key::AbortedTransaction(tp(1), 0)));
}

#[test]
fn an_end_that_was_planned_on_an_older_row_does_nothing() {
    let transaction = ongoing(&[tp(0)]);
    let plan = plan(&transaction, fence(&transaction, 900));
    // A batch has opened another partition meanwhile.
    let more = ongoing(&[tp(0), tp(1)]);
    let mut view = view(
        &more,
        &[(tp(0), head(1, &[(40, 0)])), (tp(1), head(1, &[(40, 0)]))],
    );
    view.rows.insert(key(), row(more.encode(), 4));
    assert_eq!(plan.decide(&view), Ok(EndOutcome::Changed));
    mutant::with("txn_end_stale", || {
        let all = writes(plan.decide(&view));
        assert!(!all.contains_key(&Key::Head(tp(1))), "noticed: it hangs");
    });
}

#[test]
fn a_marker_waits_for_a_lease_and_not_for_a_topic_that_is_gone() {
    let transaction = ongoing(&[tp(0), tp(1)]);
    let plan = plan(&transaction, fence(&transaction, 900));
    let lease = Some(Lease {
        holder: sh_base::AgentId(1),
        epoch: 1,
    });
    let leased = Head {
        lease,
        ..head(4, &[])
    };
    let gone = Head {
        deleted: true,
        ..head(4, &[])
    };
    let view_of = |first: Head| view(&transaction, &[(tp(0), first), (tp(1), gone.clone())]);
    assert_eq!(
        plan.decide(&view_of(leased)),
        Ok(EndOutcome::Leased(vec![tp(0)]))
    );
    let all = writes(plan.decide(&view_of(head(4, &[(40, 3)]))));
    assert!(all.contains_key(&Key::Head(tp(0))) && !all.contains_key(&Key::Head(tp(1))));

    // A row that was purged: only its version is left.
    let mut purged = view_of(head(4, &[(40, 3)]));
    let tombstone = Row {
        value: None,
        version: 9,
    };
    purged.rows.insert(Key::Head(tp(1)), tombstone);
    assert!(!writes(plan.decide(&purged)).contains_key(&Key::Head(tp(1))));
}
