//! Histories by hand: each anomaly, and beside it what only looks like one.
use super::*;

/// A world of one topic, told in short words.
#[derive(Default)]
struct Story {
    history: History,
    log: Log,
    seen: Vec<(i32, Found)>,
}

fn batch(source: u32, position: u32) -> BatchId {
    BatchId { source, position }
}

fn record(source: u32, position: u32, index: u32) -> RecordId {
    let batch = batch(source, position);
    RecordId { batch, index }
}

fn digest(id: RecordId) -> u64 {
    u64::from(id.batch.source) << 40 | u64::from(id.batch.position) << 20 | u64::from(id.index)
}

impl Story {
    /// A batch of two records to partition 0.
    fn sent(mut self, source: u32, position: u32, acks: Acks, told: &[i64]) -> Story {
        let digests = (0..2)
            .map(|i| digest(record(source, position, i)))
            .collect();
        let told = told.to_vec();
        let sent = Sent {
            told,
            ..Sent::new(0, acks, digests)
        };
        self.history.batches.insert(batch(source, position), sent);
        self
    }
    fn refused(mut self, source: u32, position: u32) -> Story {
        self = self.sent(source, position, Acks::All, &[]);
        self.history
            .batches
            .get_mut(&batch(source, position))
            .unwrap()
            .refused = true;
        self
    }
    /// On which connections it was sent.
    fn on(mut self, source: u32, position: u32, connections: &[u32]) -> Story {
        let sent = self.history.batches.get_mut(&batch(source, position));
        sent.unwrap().connections = connections.to_vec();
        self
    }
    /// Both records of a batch at the next offsets.
    fn stored(self, source: u32, position: u32) -> Story {
        self.found(record(source, position, 0))
            .found(record(source, position, 1))
    }
    fn found(mut self, id: RecordId) -> Story {
        let part = self.log.entry(0).or_default();
        let offset = part.end;
        part.records.push(Found {
            offset,
            id: Some(id),
            digest: digest(id),
        });
        part.end += 1;
        self
    }
    fn skip(mut self, offsets: i64) -> Story {
        self.log.entry(0).or_default().end += offsets;
        self
    }
    fn seen(mut self, offset: i64, id: RecordId) -> Story {
        let digest = digest(id);
        self.seen.push((
            0,
            Found {
                offset,
                id: Some(id),
                digest,
            },
        ));
        self
    }
    fn check(&self, leases: Leases) -> Vec<Anomaly> {
        check(&self.history, &self.log, &self.seen, leases)
    }
    fn is_fine(&self) {
        assert_eq!(self.check(Leases::Kept), []);
    }
    fn shows(&self, wanted: Anomaly) {
        let anomalies = self.check(Leases::Kept);
        assert!(anomalies.contains(&wanted), "{wanted} not in {anomalies:?}");
    }
    fn shows_only(&self, wanted: Anomaly) {
        assert_eq!(self.check(Leases::Kept), [wanted]);
    }
}

#[test]
fn what_is_stored_as_told_is_fine() {
    Story::default()
        .sent(1, 0, Acks::All, &[0])
        .sent(2, 0, Acks::Leader, &[2])
        .sent(1, 1, Acks::None, &[])
        .stored(1, 0)
        .stored(2, 0)
        .stored(1, 1)
        .is_fine();
}

#[test]
fn an_acknowledged_record_that_is_missing_is_lost() {
    let id = record(1, 0, 0);
    let story = Story::default().sent(1, 0, Acks::Leader, &[0]).skip(0);
    story.shows(Anomaly::Lost { id, acks: "leader" });
}

#[test]
fn a_record_without_an_answer_may_be_missing_and_may_be_there() {
    Story::default()
        .sent(1, 0, Acks::All, &[])
        .sent(1, 1, Acks::All, &[])
        .stored(1, 1)
        .is_fine();
}

#[test]
fn half_a_batch_is_torn_even_without_an_answer() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[])
        .found(record(1, 0, 0));
    story.shows_only(Anomaly::Torn { batch: batch(1, 0) });
}

#[test]
fn a_record_at_two_offsets_is_duplicated() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[0])
        .stored(1, 0)
        .stored(1, 0);
    let offsets = vec![0, 2];
    story.shows(Anomaly::Duplicated {
        id: record(1, 0, 0),
        offsets,
    });
}

#[test]
fn what_a_plain_producer_sends_again_on_another_connection_is_another_record() {
    Story::default()
        .sent(1, 0, Acks::All, &[])
        .sent(2, 0, Acks::All, &[2])
        .stored(1, 0)
        .stored(2, 0)
        .is_fine();
}

#[test]
fn a_later_batch_of_a_source_before_an_earlier_one_is_reordered() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[2])
        .sent(1, 1, Acks::All, &[0])
        .stored(1, 1)
        .stored(1, 0);
    story.shows(Anomaly::Reordered {
        partition: 0,
        earlier: record(1, 0, 0),
        later: record(1, 1, 1),
    });
}

#[test]
fn what_did_not_wait_for_all_acks_keeps_the_order_of_a_connection_alone() {
    let on = |connections: [&[u32]; 2]| {
        Story::default()
            .sent(1, 0, Acks::Leader, &[2])
            .sent(1, 1, Acks::Leader, &[0])
            .on(1, 0, connections[0])
            .on(1, 1, connections[1])
            .stored(1, 1)
            .stored(1, 0)
    };
    let earlier = record(1, 0, 0);
    let later = record(1, 1, 1);
    on([&[7], &[7]]).shows(Anomaly::Reordered {
        partition: 0,
        earlier,
        later,
    });
    on([&[7], &[8]]).is_fine();
    on([&[7, 8], &[7]]).is_fine();
    on([&[7, 7], &[7]]).is_fine();
}

#[test]
fn records_of_one_batch_out_of_order_are_reordered() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[])
        .found(record(1, 0, 1))
        .found(record(1, 0, 0));
    story.shows_only(Anomaly::Reordered {
        partition: 0,
        earlier: record(1, 0, 0),
        later: record(1, 0, 1),
    });
}

#[test]
fn two_sources_may_interleave_as_they_like() {
    Story::default()
        .sent(1, 0, Acks::All, &[2])
        .sent(1, 1, Acks::All, &[4])
        .sent(2, 9, Acks::All, &[0])
        .stored(2, 9)
        .stored(1, 0)
        .stored(1, 1)
        .is_fine();
}

#[test]
fn a_record_that_nobody_sent_is_a_phantom() {
    let story = Story::default().found(record(1, 0, 0));
    story.shows_only(Anomaly::Phantom {
        partition: 0,
        offset: 0,
        id: Some(record(1, 0, 0)),
    });
}

#[test]
fn a_record_that_was_refused_is_a_phantom() {
    let story = Story::default().refused(1, 0).stored(1, 0);
    story.shows(Anomaly::Phantom {
        partition: 0,
        offset: 1,
        id: Some(record(1, 0, 1)),
    });
}

#[test]
fn a_refused_record_that_is_not_there_is_fine() {
    Story::default().refused(1, 0).is_fine();
}

#[test]
fn other_bytes_and_other_partitions_are_altered() {
    let id = record(1, 0, 1);
    let altered = Anomaly::Altered {
        partition: 0,
        offset: 1,
        id,
    };
    let mut story = Story::default().sent(1, 0, Acks::All, &[0]).stored(1, 0);
    story.log.get_mut(&0).unwrap().records[1].digest ^= 1;
    story.shows_only(altered.clone());
    let mut story = Story::default().sent(1, 0, Acks::All, &[0]).stored(1, 0);
    story
        .history
        .batches
        .get_mut(&batch(1, 0))
        .unwrap()
        .partition = 1;
    story.shows(altered);
}

#[test]
fn an_offset_told_must_be_the_offset() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[2])
        .sent(2, 0, Acks::All, &[])
        .stored(1, 0)
        .stored(2, 0);
    story.shows(Anomaly::Misplaced {
        id: record(1, 0, 0),
        told: 2,
        found: vec![0],
    });
}

#[test]
fn a_duplicate_answered_twice_with_its_first_offset_is_fine() {
    Story::default()
        .sent(1, 0, Acks::All, &[0, 0, -1])
        .stored(1, 0)
        .is_fine();
}

#[test]
fn a_duplicate_answered_with_a_second_offset_is_misplaced() {
    let story = Story::default().sent(1, 0, Acks::All, &[0, 2]).stored(1, 0);
    story.shows(Anomaly::Misplaced {
        id: record(1, 0, 1),
        told: 3,
        found: vec![1],
    });
}

#[test]
fn one_offset_told_to_two_batches_is_reused() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[0])
        .sent(2, 0, Acks::Leader, &[1])
        .stored(1, 0)
        .stored(2, 0);
    story.shows(Anomaly::Reused {
        partition: 0,
        offset: 1,
        first: batch(1, 0),
        second: batch(2, 0),
    });
}

#[test]
fn what_a_reader_saw_must_stay() {
    let story = Story::default().sent(1, 0, Acks::All, &[0]).stored(1, 0);
    let story = story
        .seen(0, record(1, 0, 0))
        .seen(1, record(9, 0, 0))
        .seen(2, record(8, 0, 0));
    let changed = |offset, source, after| Anomaly::Changed {
        partition: 0,
        before: Found {
            offset,
            id: Some(record(source, 0, 0)),
            digest: digest(record(source, 0, 0)),
        },
        after,
    };
    let after = story.log[&0].records[1];
    assert_eq!(
        story.check(Leases::Kept),
        [changed(1, 9, Some(after)), changed(2, 8, None)]
    );
}

#[test]
fn offsets_without_records_are_a_gap_in_the_middle_and_at_the_end() {
    let story = Story::default()
        .sent(1, 0, Acks::All, &[3])
        .skip(3)
        .stored(1, 0)
        .skip(2);
    let gap = |from, to| Anomaly::Gap {
        partition: 0,
        from,
        to,
    };
    assert_eq!(story.check(Leases::Kept), [gap(0, 3), gap(5, 7)]);
}

#[test]
fn a_gap_before_a_leader_acknowledged_record_is_explained_by_its_promise() {
    Story::default()
        .sent(1, 0, Acks::All, &[])
        .sent(2, 0, Acks::Leader, &[2])
        .skip(2)
        .stored(2, 0)
        .is_fine();
}

#[test]
fn offsets_that_go_back_are_told() {
    let mut story = Story::default().sent(1, 0, Acks::All, &[0]).stored(1, 0);
    story.log.get_mut(&0).unwrap().records.swap(0, 1);
    story.shows(Anomaly::Backwards {
        partition: 0,
        offset: 0,
    });
}

#[test]
fn a_lost_lease_moves_leader_acknowledged_records_and_no_others() {
    let story = |acks| {
        Story::default()
            .sent(1, 0, acks, &[0])
            .sent(2, 0, Acks::All, &[0])
            .stored(2, 0)
            .stored(1, 0)
    };
    assert_eq!(story(Acks::Leader).check(Leases::MayBeLost), []);
    assert_ne!(story(Acks::All).check(Leases::MayBeLost), []);
}

#[test]
fn a_lost_lease_excuses_neither_loss_nor_repetition_nor_order() {
    let lost = Story::default().sent(1, 0, Acks::Leader, &[0]);
    assert_eq!(lost.check(Leases::MayBeLost).len(), 2);
    let twice = Story::default()
        .sent(1, 0, Acks::Leader, &[0])
        .stored(1, 0)
        .stored(1, 0);
    assert_eq!(twice.check(Leases::MayBeLost).len(), 2);
    let turned = Story::default()
        .sent(1, 0, Acks::Leader, &[0])
        .sent(1, 1, Acks::Leader, &[2])
        .stored(1, 1)
        .stored(1, 0);
    assert_eq!(turned.check(Leases::MayBeLost).len(), 1);
}
