use proptest::prelude::*;
use sh_base::{AgentId, Incarnation, ObjectId, ProducerId};

use super::*;
use crate::row::{OpenTransaction, Place};

fn extent(base: Offset, end: Offset) -> (Offset, Extent) {
    let by = Incarnation {
        agent: AgentId(0),
        epoch: 0,
        nonce: 0,
    };
    let place = Place {
        object: ObjectId {
            by,
            seq: base as u64,
        },
        start: 8,
        len: 100,
    };
    let extent = Extent {
        end,
        place: Some(place),
        marker: None,
        leader_epoch: 0,
        min_timestamp: 0,
        max_timestamp: 0,
    };
    (base, extent)
}

fn head(log_start: Offset, next_offset: Offset) -> Head {
    Head {
        log_start,
        next_offset,
        ..Head::default()
    }
}

fn change(version: u64, head: Head, extents: Vec<(Offset, Option<Extent>)>) -> PartChange {
    PartChange {
        version,
        head: Arc::new(head),
        extents,
        heard: Some(Heard {
            at: Duration::ZERO,
            whole: true,
        }),
    }
}

/// The update that appends `[base, end)` as the `version`-th.
fn append(version: u64, base: Offset, end: Offset) -> PartChange {
    let (base, extent) = extent(base, end);
    change(version, head(0, end), vec![(base, Some(extent))])
}

/// A chain that has scanned an empty partition.
fn empty() -> Chain {
    let mut chain = Chain::default();
    let scan = Snapshot::of_scan(0, Head::default(), vec![], true).unwrap();
    chain.install(scan);
    chain
}

/// The offsets of the extents that are served from `offset` on; `None` where the store must be asked.
fn served(chain: &Chain, offset: Offset) -> Option<Vec<(Offset, Offset)>> {
    match chain.look(offset)? {
        Found::Here { extents, .. } => {
            Some(extents.iter().map(|k| (k.base, k.extent.end)).collect())
        }
        Found::Older { .. } => None,
    }
}

#[test]
fn a_fetch_never_jumps_over_a_commit_that_was_not_heard_of() {
    let mut chain = empty();
    chain.hear(append(1, 0, 5));
    chain.hear(append(3, 7, 9));
    assert_eq!(served(&chain, 0), Some(vec![(0, 5)]), "up to the break");
    assert_eq!(served(&chain, 5), None, "past the break the store is asked");
    chain.hear(append(2, 5, 7));
    assert_eq!(served(&chain, 0), Some(vec![(0, 5), (5, 7), (7, 9)]));
    assert_eq!(served(&chain, 9), Some(vec![]), "the log end");
}

#[test]
fn records_of_a_transaction_are_not_stable_because_its_marker_was_heard_of_first() {
    let mut chain = empty();
    let open = Head {
        open: vec![OpenTransaction {
            producer: ProducerId(1),
            first_offset: 0,
        }],
        ..head(0, 3)
    };
    let (base, first) = extent(0, 3);
    chain.hear(append(2, 3, 4));
    chain.hear(change(1, open.clone(), vec![(base, Some(first))]));
    assert_eq!(
        chain.head().unwrap().last_stable_offset(),
        4,
        "both, or none of them"
    );

    let mut chain = empty();
    chain.hear(change(1, open, vec![(base, Some(extent(0, 3).1))]));
    chain.hear(append(3, 4, 5));
    assert_eq!(chain.head().unwrap().last_stable_offset(), 0);
}

#[test]
fn an_offset_past_the_end_that_is_known_is_a_question_for_the_store() {
    let mut chain = empty();
    chain.hear(append(1, 0, 5));
    assert_eq!(served(&chain, 6), None);
    assert_eq!(served(&chain, -1), None);
    assert_eq!(served(&Chain::default(), 0), None);
}

#[test]
fn what_is_older_than_a_scan_changes_nothing() {
    let mut chain = Chain::default();
    chain.hear(append(1, 0, 5));
    chain.hear(append(3, 7, 9));
    let scan = vec![extent(0, 5), extent(5, 7)];
    chain.install(Snapshot::of_scan(2, head(0, 7), scan, true).unwrap());
    assert_eq!(
        served(&chain, 4),
        Some(vec![(0, 5), (5, 7), (7, 9)]),
        "heard while it ran"
    );
    chain.hear(append(2, 5, 7));
    assert_eq!(served(&chain, 5), Some(vec![(5, 7), (7, 9)]));
    let late = Snapshot::of_scan(1, head(0, 5), vec![extent(0, 5)], true).unwrap();
    chain.install(late);
    assert_eq!(served(&chain, 9), Some(vec![]));
}

#[test]
fn a_scan_that_does_not_tile_is_torn() {
    let torn = |extents| Snapshot::of_scan(1, head(0, 9), extents, true).is_err();
    assert!(torn(vec![extent(0, 5), extent(6, 9)]), "a hole");
    assert!(torn(vec![extent(0, 5)]), "too short");
    assert!(torn(vec![extent(2, 9)]), "no beginning");
    assert!(torn(vec![]), "nothing");
    assert!(!torn(vec![extent(0, 5), extent(5, 9)]));
    let newest = vec![extent(2, 9)];
    assert!(
        Snapshot::of_scan(1, head(0, 9), newest, false).is_ok(),
        "there are older ones"
    );
}

#[test]
fn a_change_that_does_not_fit_makes_the_store_be_asked() {
    let mut chain = empty();
    chain.hear(append(1, 0, 5));
    chain.hear(append(2, 6, 9));
    assert_eq!(served(&chain, 0), None);
    let scan = vec![extent(0, 9)];
    chain.install(Snapshot::of_scan(2, head(0, 9), scan, true).unwrap());
    assert_eq!(served(&chain, 0), Some(vec![(0, 9)]));
}

#[test]
fn a_merge_replaces_extents_and_retention_takes_the_oldest() {
    let mut chain = empty();
    for i in 0..5 {
        chain.hear(append(i as u64 + 1, i, i + 1));
    }
    let merged = vec![(1, Some(extent(1, 3).1)), (2, None)];
    chain.hear(change(6, head(0, 5), merged));
    assert_eq!(served(&chain, 2), Some(vec![(1, 3), (3, 4), (4, 5)]));
    let retained = vec![(0, None), (1, None)];
    chain.hear(change(7, head(3, 5), retained));
    assert_eq!(served(&chain, 3), Some(vec![(3, 4), (4, 5)]));
    assert_eq!(served(&chain, 2), None, "before the log start");
    chain.hear(change(8, head(5, 5), vec![(3, None), (4, None)]));
    assert_eq!(served(&chain, 5), Some(vec![]));
    chain.hear(append(9, 5, 6));
    assert_eq!(served(&chain, 5), Some(vec![(5, 6)]));
}

#[test]
fn records_deleted_within_an_extent_leave_the_extent() {
    let mut chain = empty();
    chain.hear(append(1, 0, 5));
    chain.hear(append(2, 5, 9));
    chain.hear(change(3, head(7, 9), vec![(0, None)]));
    assert_eq!(served(&chain, 7), Some(vec![(5, 9)]));
}

#[test]
fn a_deleted_partition_is_final() {
    let mut chain = empty();
    chain.hear(append(1, 0, 5));
    let gone = Head {
        deleted: true,
        ..head(0, 5)
    };
    chain.hear(change(2, gone, vec![]));
    assert_eq!(served(&chain, 77), Some(vec![]));
    assert!(chain.head().unwrap().deleted);
}

#[test]
fn memory_is_bounded_and_older_extents_are_named_as_older() {
    let mut chain = empty();
    for i in 0..1_000 {
        chain.hear(append(i as u64 + 1, i, i + 1));
    }
    assert!(chain.weight() <= EXTENTS_KEPT + 1);
    let kept_from = 1_000 - EXTENTS_KEPT as Offset;
    assert!(matches!(chain.look(0), Some(Found::Older { from, .. }) if from == kept_from));
    assert_eq!(served(&chain, kept_from).unwrap().len(), EXTENTS_KEPT);
    for i in 1_001..2_000 {
        chain.hear(append(i as u64 + 1, i, i + 1));
    }
    assert!(
        chain.weight() <= EXTENTS_KEPT + 1 + 2 * PENDING_MAX,
        "what waits is bounded, too"
    );
}

/// What the model calls an update: one entry of the log, of one offset.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Data,
    OfTransaction,
    Marker,
}

/// The changes that a log of these updates makes, with the head of each.
fn history(kinds: &[Kind]) -> Vec<PartChange> {
    let mut open = Vec::new();
    let changes = kinds.iter().zip(0..).map(|(kind, at)| {
        match kind {
            Kind::OfTransaction if open.is_empty() => open.push(OpenTransaction {
                producer: ProducerId(1),
                first_offset: at,
            }),
            Kind::Marker => open.clear(),
            _ => {}
        }
        let open = open.clone();
        let head = Head {
            open,
            ..head(0, at + 1)
        };
        let (base, extent) = extent(at, at + 1);
        change(at as u64 + 1, head, vec![(base, Some(extent))])
    });
    changes.collect()
}

/// A scan of the store after its first `n` updates.
fn scan_of(changes: &[PartChange], n: usize) -> Snapshot {
    let extents = (0..n as Offset).map(|at| extent(at, at + 1)).collect();
    let head = match n {
        0 => Head::default(),
        n => Head::clone(&changes[n - 1].head),
    };
    Snapshot::of_scan(n as u64, head, extents, true).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Hear(usize),
    Scan(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => any::<usize>().prop_map(Step::Hear), 1 => any::<usize>().prop_map(Step::Scan)]
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Data),
        Just(Kind::OfTransaction),
        Just(Kind::Marker)
    ]
}

proptest! {
    /// The model's `NoHole`, `NoDirty` and `EndNotBehind`, for whatever order an agent hears and scans in.
    #[test]
    fn whatever_the_order_a_reader_sees_a_prefix_of_the_log(
        kinds in prop::collection::vec(any_kind(), 1..12),
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        let changes = history(&kinds);
        let mut chain = Chain::default();
        let mut read_to = 0;
        for step in steps {
            match step {
                Step::Hear(i) => chain.hear(changes[i % changes.len()].clone()),
                Step::Scan(n) => chain.install(scan_of(&changes, n % (changes.len() + 1))),
            }
            let Some(head) = chain.head().cloned() else { continue };
            let as_of = head.next_offset as usize;
            let truth = match as_of {
                0 => Head::default(),
                n => Head::clone(&changes[n - 1].head),
            };
            prop_assert_eq!(&*head, &truth, "end and last stable offset are of one version");
            for offset in 0..=changes.len() as Offset + 1 {
                let Some(seen) = served(&chain, offset) else { continue };
                let whole: Vec<_> = (offset..head.next_offset).map(|o| (o, o + 1)).collect();
                prop_assert_eq!(seen, whole, "no hole");
            }
            prop_assert!(head.next_offset >= read_to, "the end never goes back");
            read_to = head.next_offset;
        }
    }
}
