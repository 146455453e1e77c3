use sh_base::{
    AgentId, TopicId,
    batch::{BatchBuilder, Codec},
};

use super::*;
use crate::api::Charge;

const NOW: Duration = Duration::from_secs(1);

fn machine() -> Machine {
    let me = Incarnation {
        agent: AgentId(1),
        epoch: 1,
        nonce: 7,
    };
    Machine::new(IngestConfig::default(), me, Restored::default(), NOW, 0)
}

fn append(machine: &mut Machine, partition: i32, bytes: usize) {
    append_at(machine, Duration::ZERO, partition, bytes);
}

fn append_at(machine: &mut Machine, at: Duration, partition: i32, bytes: usize) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, Some(&vec![0; bytes]), &[]);
    let memory = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let append = Append {
        transaction: None,
        partition: TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), partition),
        org: Org::default(),
        ack: Ack::Durable,
        batch: builder.build().unwrap(),
        charge: Charge::new(memory.try_acquire_owned().unwrap()),
        lease_allowed: true,
    };
    let (reply, _) = tokio::sync::oneshot::channel();
    machine.handle(NOW + at, 0, Event::Append(append, reply));
}

fn uploads(machine: &mut Machine) -> Vec<Sealed> {
    uploads_at(machine, Duration::ZERO)
}

fn uploads_at(machine: &mut Machine, at: Duration) -> Vec<Sealed> {
    machine.tick(NOW + at);
    let upload = |effect| match effect {
        Effect::Upload(sealed) => Some(sealed),
        _ => None,
    };
    machine
        .take_effects()
        .into_iter()
        .filter_map(upload)
        .collect()
}

/// One update takes so many rows; a window of more partitions could never be committed.
#[test]
fn ten_thousand_partitions_make_windows_that_can_be_committed() {
    let mut machine = machine();
    (0..10_000).for_each(|partition| append(&mut machine, partition, 10));
    machine.handle(NOW, 0, Event::Drain);
    let windows = uploads(&mut machine);
    assert_eq!(windows.iter().map(|w| w.runs.len()).sum::<usize>(), 10_000);
    assert!(
        windows
            .iter()
            .all(|w| w.runs.len() <= crate::commit::WINDOW_WRITERS_MAX)
    );
}

#[test]
fn a_batch_larger_than_a_window_goes_out_at_once_and_alone() {
    let mut machine = machine();
    append(
        &mut machine,
        0,
        IngestConfig::default().window_bytes_max + 1,
    );
    append(&mut machine, 1, 10);
    assert_eq!(
        uploads(&mut machine)
            .iter()
            .map(|w| w.runs.len())
            .collect::<Vec<_>>(),
        [1]
    );
}

/// The object of a window is there after 100 ms and its commit after 105.
fn stored_and_committed(machine: &mut Machine, window: &Sealed) {
    let (took, starts) = (Duration::from_millis(100), vec![8]);
    let id = window.id;
    let stored = Event::Uploaded { id, starts, took };
    machine.handle(NOW + took, 0, stored);
    let answers = vec![Answer::Stored { base_offset: 0 }];
    let partition = window.runs[0].partition;
    let committed = Committed {
        fates: vec![Fate::Committed(vec![RunAnswers { partition, answers }])],
        log_starts: HashMap::new(),
    };
    machine.handle(
        NOW + Duration::from_millis(105),
        0,
        Event::Committed(committed),
    );
}

/// Half of a producer's requests came while the other half was uploaded: the halves must not take turns for ever.
#[test]
fn those_who_were_just_answered_join_the_window_of_those_who_wait() {
    let mut machine = machine();
    let ms = Duration::from_millis;
    append(&mut machine, 0, 10);
    let first = uploads_at(&mut machine, ms(1))
        .pop()
        .expect("nobody else was there");
    append_at(&mut machine, ms(20), 1, 10);
    assert!(uploads_at(&mut machine, ms(90)).is_empty());
    stored_and_committed(&mut machine, &first);
    assert!(uploads_at(&mut machine, ms(106)).is_empty());
    append_at(&mut machine, ms(108), 0, 10);
    let both = uploads_at(&mut machine, ms(114))
        .pop()
        .expect("all is calm again");
    assert_eq!(both.runs.len(), 2);
}

#[test]
fn an_agent_that_must_stop_is_not_drained_and_says_why() {
    let mut machine = machine();
    append(&mut machine, 0, 10);
    machine.handle(NOW, 0, Event::Drain);
    assert_eq!(machine.drained(), None);
    let why = Failure::new(ErrorCode::StorageUnavailable, "the disk failed");
    machine.handle(NOW, 0, Event::Fatal(why.clone()));
    assert_eq!(machine.drained(), Some(Err(why)));
}
