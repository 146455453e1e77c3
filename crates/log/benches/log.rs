//! The pure parts of the write path and the index: a window becomes an object, its commit is decided, an offset is found.
use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    sync::Arc,
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sh_base::{
    AgentId, Incarnation, ObjectId, Org, TopicId, TopicPartition,
    batch::{Batch, BatchBuilder, Codec},
};
use sh_log::{
    Extent, Head, Place,
    agent::AgentRow,
    commit::{BatchPlan, CommitPlan, RunPlan, WindowPlan, commit},
    index::{Heard, PartChange, chain::Chain},
    object::ObjectBuilder,
};
use sh_meta::{Key, Row, View};

const ME: Incarnation = Incarnation {
    agent: AgentId(1),
    epoch: 1,
    nonce: 7,
};
/// Of one window.
const PARTITIONS: i32 = 512;
const BATCH_BYTES: usize = 16 * 1024;

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), index)
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, Some(&vec![7; BATCH_BYTES]), &[]);
    builder.build().expect("a valid batch")
}

fn window_build(c: &mut Criterion) {
    let batch = batch();
    let mut group = c.benchmark_group("window build");
    let bytes = batch.bytes().len() as u64 * PARTITIONS as u64;
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function(format!("{PARTITIONS} partitions, 8 MiB"), |b| {
        b.iter(|| {
            let mut builder = ObjectBuilder::new(ObjectId { by: ME, seq: 1 }, vec![], vec![]);
            for index in 0..PARTITIONS {
                builder.run(
                    Org::default(),
                    partition(index),
                    std::slice::from_ref(&batch),
                );
            }
            black_box(builder.finish())
        });
    });
    group.finish();
}

fn plan() -> CommitPlan {
    let run = |index: i32| RunPlan {
        partition: partition(index),
        batches: vec![BatchPlan {
            transaction: None,
            start: index as u64 * BATCH_BYTES as u64,
            len: BATCH_BYTES as u32,
            offsets: 1,
            records: 1,
            producer: None,
            min_timestamp: 0,
            max_timestamp: 0,
            promised: None,
            replayed: false,
        }],
    };
    CommitPlan {
        by: ME,
        windows: vec![WindowPlan {
            id: ObjectId { by: ME, seq: 1 },
            runs: (0..PARTITIONS).map(run).collect(),
        }],
        held: HashSet::new(),
        now_ms: 0,
        producer_expiry_ms: i64::MAX,
    }
}

/// A store that knows the agent and the heads.
fn view() -> View {
    let agent = AgentRow {
        epoch: ME.epoch,
        nonce: format!("{:016x}", ME.nonce),
        host: String::new(),
        port: 0,
        zone: None,
        http: None,
        heartbeat_ms: 0,
        serving: true,
        needs_from: (0, 0),
    };
    let row = |value| Row {
        value: Some(value),
        version: 1,
    };
    let heads = (0..PARTITIONS).map(|index| {
        let head = Head {
            next_offset: 1_000,
            ..Head::default()
        };
        (Key::Head(partition(index)), row(head.encode()))
    });
    let mut rows: HashMap<Key, Row> = heads.collect();
    rows.insert(Key::Agent(ME.agent), row(agent.encode()));
    View {
        rows,
        ..View::default()
    }
}

fn commit_function(c: &mut Criterion) {
    let (plan, view) = (plan(), view());
    c.bench_function(&format!("commit function, {PARTITIONS} partitions"), |b| {
        b.iter(|| black_box(commit(black_box(&plan), &view).expect("rows of ours")));
    });
}

/// A partition of so many extents of ten offsets each.
fn chain(extents: i64) -> Chain {
    let mut chain = Chain::default();
    for number in 0..extents {
        chain.hear(append(number));
    }
    chain
}

fn append(number: i64) -> PartChange {
    let object = ObjectId {
        by: ME,
        seq: number as u64,
    };
    let extent = Extent {
        end: (number + 1) * 10,
        place: Some(Place {
            object,
            start: 8,
            len: 100,
        }),
        marker: None,
        leader_epoch: 0,
        min_timestamp: 0,
        max_timestamp: 0,
    };
    let head = Head {
        next_offset: (number + 1) * 10,
        ..Head::default()
    };
    PartChange {
        version: number as u64 + 1,
        head: Arc::new(head),
        extents: vec![(number * 10, Some(extent))],
        heard: Some(Heard {
            at: Duration::ZERO,
            whole: true,
        }),
    }
}

fn index_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    for extents in [10, 1_000, 100_000] {
        let chain = chain(extents);
        group.bench_function(format!("lookup among {extents} extents"), |b| {
            // The tail, which is what most ask for.
            b.iter(|| black_box(chain.look(black_box(extents * 10 - 5))));
        });
    }
    group.bench_function("an append heard", |b| {
        b.iter_batched(
            || (chain(1), append(1)),
            |(mut chain, change)| {
                chain.hear(change);
                chain
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, window_build, commit_function, index_lookup);
criterion_main!(benches);
