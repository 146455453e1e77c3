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
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, Some(&vec![0; bytes]), &[]);
    let memory = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let append = Append {
        partition: TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), partition),
        org: Org::default(),
        ack: Ack::Durable,
        batch: builder.build().unwrap(),
        charge: Charge::new(memory.try_acquire_owned().unwrap()),
        lease_allowed: true,
    };
    let (reply, _) = tokio::sync::oneshot::channel();
    machine.handle(NOW, 0, Event::Append(append, reply));
}

fn uploads(machine: &mut Machine) -> Vec<Sealed> {
    machine.tick(NOW);
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
