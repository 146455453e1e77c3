//! Several agents on one store: what each may believe, and what it must ask.
use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use sh_base::ErrorCode;
use sh_blob::{Bucket, ObjectKey};
use sh_log::{Extent, Place, ReadConfig, ReadError};
use sh_meta::{MetaStore, SqliteStore};
use tokio::time::timeout;

use crate::world::{Agent, World, bases, batch, env, partition, values};

#[tokio::test]
async fn a_reader_that_moves_to_an_agent_that_lags_is_not_sent_back() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let tp = partition(0);
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    assert_eq!(values(&b.read(tp, 0).await.unwrap()), ["0"]);
    a.write(&[(tp, vec![batch(2, &["1"])])]).await;
    a.write(&[(tp, vec![batch(3, &["2"])])]).await;
    assert_eq!(
        b.read(tp, 2).await.unwrap().ends.next,
        3,
        "b has heard of nothing, and asks"
    );
    assert_eq!(b.reader.ends(tp).await.unwrap().next, 3);
}

#[tokio::test]
async fn another_agents_new_object_is_fetched_once_for_everybody() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let tps: Vec<_> = (0..20).map(partition).collect();
    for tp in &tps {
        b.read(*tp, 0).await.unwrap();
    }
    let runs: Vec<_> = tps.iter().map(|tp| (*tp, vec![batch(1, &["v"])])).collect();
    a.write(&runs).await;
    b.reader.poll_feed().await.unwrap();
    let answers = join_all(tps.iter().map(|tp| b.read(*tp, 0))).await;
    assert!(
        answers
            .iter()
            .all(|answer| values(answer.as_ref().unwrap()) == ["v"])
    );
    assert_eq!(world.bucket.gets(), 1);
}

#[tokio::test]
async fn commits_of_two_agents_are_heard_in_any_order_and_none_is_jumped_over() {
    let world = World::new();
    let (a, b, c) = (world.agent(0), world.agent(1), world.agent(2));
    let tp = partition(0);
    c.read(tp, 0).await.unwrap();
    let mut entries = Vec::new();
    for (n, agent) in [&a, &b, &a, &b].into_iter().enumerate() {
        let value = n.to_string();
        let built = agent.upload(&[(tp, vec![batch(1, &[&value])])]).await;
        entries.push(agent.commit(&built).await);
    }
    for heard in [3, 1, 0, 2] {
        c.reader.hear(&entries[heard]);
        let answer = c.read(tp, 0).await.unwrap();
        let read = bases(&answer);
        assert_eq!(
            read,
            (0..read.len() as i64).collect::<Vec<_>>(),
            "a prefix, without a hole"
        );
    }
    assert_eq!(c.read_all(tp, 0).await.len(), 4);
}

#[tokio::test]
async fn a_waiter_is_woken_by_its_own_agent_and_by_another_ones_commit() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let tp = partition(0);
    let follower = tokio::spawn({
        let reader = b.reader.clone();
        async move { reader.run_follower().await }
    });
    let ends = b.read(tp, 0).await.unwrap().ends;
    let waiter = b.reader.waiter(&[(partition(7), 0), (tp, ends.next)]);
    b.write(&[(tp, vec![batch(1, &["0"])])]).await;
    timeout(Duration::from_millis(100), waiter.wait())
        .await
        .expect("its own commit");

    let ends = b.read(tp, 0).await.unwrap().ends;
    assert_eq!(ends.next, 1);
    let waiter = b.reader.waiter(&[(tp, ends.next)]);
    a.write(&[(tp, vec![batch(1, &["1"])])]).await;
    timeout(Duration::from_secs(3), waiter.wait())
        .await
        .expect("by the feed");
    assert_eq!(bases(&b.read(tp, 1).await.unwrap()), [1]);
    follower.abort();
}

#[tokio::test]
async fn a_waiter_does_not_miss_what_came_before_it_was_made_and_sleeps_otherwise() {
    let agent = World::new().agent(0);
    let tp = partition(0);
    let seen = agent.read(tp, 0).await.unwrap().ends.next;
    let idle = agent.reader.waiter(&[(tp, seen)]);
    assert!(
        timeout(Duration::from_millis(20), idle.wait())
            .await
            .is_err()
    );
    drop(idle);
    agent.write(&[(tp, vec![batch(1, &["0"])])]).await;
    let late = agent.reader.waiter(&[(tp, seen)]);
    timeout(Duration::from_millis(20), late.wait())
        .await
        .expect("it is there already");
}

#[tokio::test(start_paused = true)]
async fn news_between_agents_take_a_short_poll_while_somebody_waits() {
    let world = World::new();
    let config = ReadConfig::default();
    let (a, b) = (world.agent(0), world.agent(1));
    let tp = partition(0);
    let follower = tokio::spawn({
        let reader = b.reader.clone();
        async move { reader.run_follower().await }
    });
    let seen = b.read(tp, 0).await.unwrap().ends.next;
    a.write(&[(partition(1), vec![batch(1, &["so that b knows of a"])])])
        .await;
    tokio::time::sleep(2 * config.poll_idle).await;
    let waiter = b.reader.waiter(&[(tp, seen)]);
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    let begun = tokio::time::Instant::now();
    waiter.wait().await;
    assert!(
        begun.elapsed() <= 2 * config.poll_waiting,
        "{:?}",
        begun.elapsed()
    );
    follower.abort();
}

#[tokio::test]
async fn heads_are_told_to_listeners_also_of_partitions_that_nobody_reads() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let mut heads = b.reader.on_head();
    b.reader.poll_feed().await.unwrap();
    a.write(&[(partition(3), vec![batch(1, &["0"])])]).await;
    b.reader.poll_feed().await.unwrap();
    let change = heads.recv().await.unwrap();
    assert_eq!(
        (change.partition, change.version, change.head.next_offset),
        (partition(3), 1, 1)
    );
}

#[tokio::test]
async fn an_object_that_was_merged_away_is_looked_up_anew() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let tp = partition(0);
    let mut old = Vec::new();
    for value in ["0", "1"] {
        old.push(a.write(&[(tp, vec![batch(1, &[value])])]).await);
    }
    assert!(
        b.read(tp, 2).await.unwrap().batches.is_empty(),
        "b knows the extents, not their bytes"
    );
    let built = a
        .upload(&[(tp, vec![batch(1, &["0"]), batch(1, &["1"])])])
        .await;
    let extent = Extent {
        end: 2,
        place: Some(Place {
            object: built.id,
            start: built.runs[0].starts[0],
            len: built.runs[0].len as u32,
        }),
        marker: None,
        leader_epoch: 0,
        min_timestamp: 1,
        max_timestamp: 1,
    };
    let merged = vec![(0, Some(extent)), (1, None)];
    a.change(tp, merged, |_| {}).await;
    let keys = old.iter().map(|id| ObjectKey::L0(*id).to_string());
    world
        .bucket
        .delete(&keys.collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(b.read_all(tp, 0).await.len(), 2);
    assert_eq!(a.read_all(tp, 0).await.len(), 2);
}

#[tokio::test]
async fn an_object_that_is_gone_is_an_error_and_never_an_empty_answer() {
    let world = World::new();
    let tp = partition(0);
    let gone = world.agent(0).write(&[(tp, vec![batch(1, &["0"])])]).await;
    world
        .bucket
        .delete(&[ObjectKey::L0(gone).to_string()])
        .await
        .unwrap();
    match world.agent(1).read(tp, 0).await {
        Err(ReadError::Storage(failure)) => {
            assert_eq!(failure.code, ErrorCode::StorageUnavailable);
            assert!(failure.message.contains(&gone.to_string()), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_object_is_an_error() {
    let world = World::new();
    let tp = partition(0);
    let id = world
        .agent(0)
        .write(&[(tp, vec![batch(1, &["0"]), batch(1, &["1"])])])
        .await;
    let key = ObjectKey::L0(id).to_string();
    let whole = world.bucket.get_all(&key).await.unwrap();
    for at in [16, 24, 31] {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x7f;
        world.bucket.put(&key, vec![bytes.into()]).await.unwrap();
        assert!(
            matches!(world.agent(1).read(tp, 0).await, Err(ReadError::Storage(_))),
            "byte {at}"
        );
    }
    world
        .bucket
        .put(&key, vec![whole.slice(..60)])
        .await
        .unwrap();
    assert!(matches!(
        world.agent(1).read(tp, 0).await,
        Err(ReadError::Storage(_))
    ));
}

/// Writers on every agent and a reader that changes agents with each fetch: it sees one log, each offset once, in order.
async fn agents_race(store: Arc<dyn MetaStore>) {
    const AGENTS: u32 = 3;
    const WINDOWS: usize = 40;
    let world = World::on(store);
    let agents: Vec<Agent> = (0..AGENTS).map(|id| world.agent(id)).collect();
    let followers: Vec<_> = agents
        .iter()
        .map(|agent| {
            let reader = agent.reader.clone();
            tokio::spawn(async move { reader.run_follower().await })
        })
        .collect();
    let tp = partition(0);
    let writers: Vec<_> = agents
        .iter()
        .cloned()
        .map(|agent| {
            tokio::spawn(async move {
                for n in 0..WINDOWS {
                    let value = n.to_string();
                    agent.write(&[(tp, vec![batch(1, &[&value, "."])])]).await;
                }
            })
        })
        .collect();
    let total = (AGENTS as usize * WINDOWS * 2) as i64;
    let mut at = 0;
    let mut turn = 0;
    while at < total {
        let agent = &agents[turn % agents.len()];
        turn += 1;
        let answer = agent.read(tp, at).await.unwrap();
        assert!(answer.ends.next >= at, "an end behind what was read");
        for stored in &answer.batches {
            assert_eq!(stored.base_offset, at, "a hole, or a batch twice");
            at += 2;
        }
        if answer.batches.is_empty() {
            let waiter = agent.reader.waiter(&[(tp, answer.ends.next)]);
            let _ = timeout(Duration::from_millis(50), waiter.wait()).await;
        }
    }
    join_all(writers).await;
    followers.iter().for_each(|f| f.abort());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_race_show_one_log_on_a_memory_store() {
    agents_race(Arc::new(sh_meta::MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_race_show_one_log_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("meta.db"), &env()).unwrap();
    agents_race(Arc::new(store)).await;
}

#[tokio::test]
async fn a_waiter_sleeps_while_a_break_of_the_chain_is_read_and_is_woken_by_it() {
    let world = World::new();
    let (a, b, c) = (world.agent(0), world.agent(1), world.agent(2));
    let tp = partition(0);
    a.write(&[(tp, vec![batch(1, &["0"])])]).await;
    assert_eq!(c.read(tp, 0).await.unwrap().ends.next, 1);
    a.write(&[(tp, vec![batch(1, &["1"])])]).await;
    let built = b.upload(&[(tp, vec![batch(1, &["2"])])]).await;
    let last = b.commit(&built).await;
    c.reader.hear(&last);
    assert_eq!(
        bases(&c.read(tp, 0).await.unwrap()),
        [0],
        "what comes before the break"
    );
    let waiter = c.reader.waiter(&[(tp, 1)]);
    timeout(Duration::from_secs(1), waiter.wait())
        .await
        .expect("the store was read");
    assert_eq!(bases(&c.read(tp, 0).await.unwrap()), [0, 1, 2]);
}
