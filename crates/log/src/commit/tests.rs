use std::collections::HashMap;

use sh_base::{AgentId, TopicId};
use sh_meta::Row;

use super::*;

fn by() -> Incarnation {
    Incarnation {
        agent: AgentId(1),
        epoch: 1,
        nonce: 7,
    }
}

/// A store that knows the agent, and nothing else.
fn view() -> View {
    let row = AgentRow {
        epoch: 1,
        nonce: format!("{:016x}", by().nonce),
        host: String::new(),
        port: 0,
        zone: None,
        http: None,
        heartbeat_ms: 0,
        serving: true,
        needs_from: (0, 0),
    };
    let row = Row {
        value: Some(row.encode()),
        version: 1,
    };
    View {
        rows: HashMap::from([(Key::Agent(by().agent), row)]),
        ..View::default()
    }
}

fn run(partition: usize) -> RunPlan {
    let batch = BatchPlan {
        transaction: None,
        start: partition as u64 * 100,
        len: 100,
        offsets: 1,
        records: 1,
        producer: None,
        min_timestamp: 0,
        max_timestamp: 0,
        promised: None,
        replayed: false,
    };
    let partition = TopicPartition::new(TopicId(uuid::Uuid::from_u128(7)), partition as i32);
    RunPlan {
        partition,
        batches: vec![batch],
    }
}

/// The store takes so many rows of a kind in one update and refuses more: a commit that wrote more was asked again for ever.
#[test]
fn an_update_writes_no_more_extents_than_the_store_takes() {
    let runs = (0..UPDATE_EXTENTS_MAX + 100).map(run).collect();
    let windows = vec![WindowPlan {
        id: ObjectId { by: by(), seq: 1 },
        runs,
    }];
    let plan = CommitPlan {
        by: by(),
        windows,
        held: HashSet::new(),
        now_ms: 0,
        producer_expiry_ms: i64::MAX,
    };
    let decision = commit(&plan, &view()).unwrap();
    let extents = decision
        .writes
        .iter()
        .filter(|w| matches!(w.key, Key::Extent(..)))
        .count();
    assert_eq!(extents, UPDATE_EXTENTS_MAX - 2 * WINDOW_WRITERS_MAX);
    let CommitReply::Fates(fates) = CommitReply::decode(&decision.reply).unwrap() else {
        panic!("fates")
    };
    let Fate::Committed(runs) = &fates[0] else {
        panic!("committed")
    };
    let again = runs
        .iter()
        .filter(|run| run.answers == [Answer::Again])
        .count();
    assert_eq!(
        again + extents,
        UPDATE_EXTENTS_MAX + 100,
        "the others come again"
    );
}
