//! The crash matrix: every call of every seam in a small story is a point at which the agent dies, before and after the call
//! takes effect (see [`super::life`]); each is tried, alone and in pairs.
use super::{
    Outcome, Plan,
    plan::{AcksPlan, ConsumerPlan, CrashPoint, Fault, Lies, ProducerPlan, What},
    run,
};

/// How long an agent that died stays away.
const DOWN_MS: u64 = 200;

/// A small story without chance: two agents start, take a lease, flush, upload, commit, one stops cleanly and starts again.
pub fn story() -> Plan {
    let producer = |acks, idempotent| ProducerPlan {
        acks,
        idempotent,
        batches: 4,
        pace_ms: 40,
        in_flight: 3,
        hangs_up: 0,
    };
    let consumer = ConsumerPlan {
        session: true,
        read_committed: false,
        max_bytes: 1_000_000,
        wanders: 0,
    };
    let calm = Lies {
        slow_ms: 2,
        ..Lies::default()
    };
    let stop = Fault {
        at_ms: 600,
        agent: 0,
        what: What::Stop { down_ms: 100 },
    };
    Plan {
        seed: 4,
        agents: 2,
        partitions: 1,
        length_ms: 1_500,
        producers: vec![
            producer(AcksPlan::Leader, false),
            producer(AcksPlan::All, true),
            producer(AcksPlan::Leader, true),
        ],
        consumers: vec![consumer],
        bucket: calm,
        store: calm,
        faults: vec![stop],
        wal_file_bytes: 2_000,
        cache_bytes: 64_000,
        memory_bytes: super::plan::much_memory(),
        crash_points: Vec::new(),
        transactional: Vec::new(),
        groups: Vec::new(),
    }
}

/// How many points the story has when nobody dies.
pub fn points() -> u64 {
    run(&story(), false).points
}

/// The story with deaths at these points.
pub fn plan(numbers: &[u64]) -> Plan {
    let crash = |number: &u64| CrashPoint {
        number: *number,
        down_ms: DOWN_MS,
    };
    Plan {
        crash_points: numbers.iter().map(crash).collect(),
        ..story()
    }
}

/// Runs the story with deaths at these points.
pub fn crash_at(numbers: &[u64]) -> Outcome {
    run(&plan(numbers), false)
}
