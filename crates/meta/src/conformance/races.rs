//! What updates do to each other.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::{join, join_all, join3};
use tokio::sync::Notify;

use super::story::*;
use crate::{Key, KeyRange, Plan, View, Write};

pub async fn the_same_request_at_the_same_time_runs_once(store: Store) {
    for seq in 1..=30 {
        let ask = |who: &'static str| {
            store.update(update(request(1, seq), &[&counter("runs")], move |view| {
                let runs = number(view, &counter("runs")) + 1;
                decide(vec![put(&counter("runs"), runs)], who)
            }))
        };
        let (a, b, c) = join3(ask("a"), ask("b"), ask("c")).await;
        let a = a.unwrap();
        assert_eq!(
            (&a, &a),
            (&b.unwrap(), &c.unwrap()),
            "all get the same entry"
        );
        assert_eq!(value(&store, &counter("runs")).await, Some(seq.to_string()));
    }
}

/// The agent's commit, its retry from a second connection, and the reconciler's abort meet at an object nobody knows.
pub async fn commit_abort_and_retry_of_one_absent_key_have_one_winner(store: Store) {
    let lanes = [lane(&store, 1), lane(&store, 2), lane(&store, 3)];
    for round in 1..=40 {
        let decide_fate = |n: usize, fate: &'static str| {
            let id = object(round);
            commit(&lanes[n], locking(&[&id]), move |view| {
                match view.value(&id) {
                    Some(fate) => decide(vec![], String::from_utf8_lossy(fate)),
                    None => decide(vec![put(&id, fate)], fate),
                }
            })
        };
        let (commit, retry, abort) = join3(
            decide_fate(0, "committed"),
            decide_fate(1, "committed again"),
            decide_fate(2, "aborted"),
        )
        .await;
        let entries = [&commit, &retry, &abort];
        let writers = entries
            .iter()
            .filter(|entry| !entry.changes.is_empty())
            .count();
        assert_eq!(writers, 1, "exactly one decides");
        let fate = value(&store, &object(round)).await.map(text);
        assert!(
            entries
                .iter()
                .all(|entry| Some(&entry.reply) == fate.as_ref()),
            "{entries:?}"
        );
        assert_eq!(version(&store, &object(round)).await, 1);
    }
}

/// Starts `second` while `first` sits inside its own apply, with its locks held.
async fn while_it_holds_its_locks<A, B>(
    first: impl AsyncFnOnce(Arc<dyn Fn() + Send + Sync>) -> A,
    second: impl AsyncFnOnce() -> B,
) -> (A, B) {
    let inside = Arc::new(Notify::new());
    let signal = inside.clone();
    let hold: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        signal.notify_one();
        std::thread::sleep(Duration::from_millis(150));
    });
    let second = async {
        inside.notified().await;
        second().await
    };
    join(first(hold), second).await
}

pub async fn a_row_inserted_while_an_updater_waits_is_seen_by_it(store: Store) {
    let (writer, waiter) = (lane(&store, 1), lane(&store, 2));
    // `spawn` on both sides: a store may block its thread while it waits.
    let insert = async |hold: Arc<dyn Fn() + Send + Sync>| {
        let insert = async move {
            commit(&writer, locking(&[&head(1)]), move |_| {
                hold();
                decide(
                    vec![put(&head(1), 10), covered(&extent(1, 0), "late", 1)],
                    "",
                )
            })
            .await
        };
        tokio::spawn(insert).await.unwrap()
    };
    let wait = async || {
        let scans = vec![(KeyRange::extents(partition(1), 0, i64::MAX), 10)];
        let plan = Plan {
            scans,
            reads: vec![extent(1, 0)],
            ..locking(&[&head(1)])
        };
        let look = |view: &View| {
            let seen = (view.row(&head(1)).version, view.scans[0].len());
            decide(
                vec![],
                format!("{seen:?} {}", view.value(&extent(1, 0)).is_some()),
            )
        };
        tokio::spawn(async move { commit(&waiter, plan, look).await })
            .await
            .unwrap()
    };
    let (_, seen) = while_it_holds_its_locks(insert, wait).await;
    assert_eq!(
        seen.reply,
        text("(1, 1) true"),
        "the head, and the extent by scan and by read"
    );
}

/// The waiter has its first lock at once and waits for its second; what the holder wrote meanwhile under either must be
/// what it decides on.
pub async fn values_are_read_after_the_last_lock_is_held(store: Store) {
    let (writer, waiter) = (lane(&store, 1), lane(&store, 2));
    set(&writer, &head(2), 1).await;
    let write = async |hold: Arc<dyn Fn() + Send + Sync>| {
        let write = async move {
            commit(&writer, locking(&[&head(2)]), move |_| {
                hold();
                decide(vec![put(&head(2), 2), covered(&extent(1, 0), "new", 2)], "")
            })
            .await
        };
        tokio::spawn(write).await.unwrap()
    };
    let wait = async || {
        let plan = Plan {
            reads: vec![extent(1, 0)],
            ..locking(&[&head(1), &head(2)])
        };
        let add = |view: &View| {
            assert!(view.value(&extent(1, 0)).is_some(), "it waited, so it sees");
            decide(vec![put(&head(2), number(view, &head(2)) + 1)], "")
        };
        tokio::spawn(async move { commit(&waiter, plan, add).await })
            .await
            .unwrap()
    };
    while_it_holds_its_locks(write, wait).await;
    assert_eq!(
        value(&store, &head(2)).await.as_deref(),
        Some("3"),
        "nothing was lost"
    );
    assert_eq!(version(&store, &head(2)).await, 3);
}

/// Commits share-lock the agent row and look at its epoch; once a bump has returned, none of the old epoch comes in.
pub async fn a_bump_of_the_agent_row_fences_every_later_commit(store: Store) {
    set(&lane(&store, 100), &agent(1), "epoch 1").await;
    let done = Arc::new(AtomicU64::new(0));
    let committers = (1..=4).map(|n| {
        let (lane, done) = (lane(&store, n), done.clone());
        tokio::spawn(async move {
            let mine = head(n as i32);
            let plan = Plan {
                shares: vec![agent(1)],
                ..locking(&[&mine])
            };
            let apply = move |view: &View| match view.value(&agent(1)) {
                Some(epoch) if epoch == "epoch 1" => {
                    decide(vec![put(&mine, number(view, &mine) + 1)], "")
                }
                _ => decide(vec![], "fenced"),
            };
            while commit(&lane, plan.clone(), apply.clone()).await.reply != text("fenced") {
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let committers: Vec<_> = committers.collect();
    while done.load(Ordering::Relaxed) < 20 {
        tokio::task::yield_now().await;
    }
    set(&lane(&store, 101), &agent(1), "epoch 2").await;
    let heads: Vec<Key> = (1..=4).map(head).collect();
    let at_the_bump = store.get(&heads).await.unwrap();
    for committer in committers {
        committer.await.unwrap();
    }
    assert_eq!(store.get(&heads).await.unwrap(), at_the_bump);
}

/// Each takes four of twelve rows, in an order of its own, and adds one to all of them; some rows share, some delete.
pub async fn thirty_two_updaters_never_deadlock_and_lose_nothing(store: Store) {
    const UPDATES: u64 = 12;
    let rows: Vec<Key> = (0..6)
        .map(head)
        .chain((0..6).map(|n| counter(&n.to_string())))
        .collect();
    let updaters =
        (0..32).map(|n| tokio::spawn(add_to_random_rows(store.clone(), n, rows.clone(), UPDATES)));
    for done in join_all(updaters).await {
        done.unwrap();
    }
    let found = store.get(&rows).await.unwrap();
    let sum: u64 = found
        .iter()
        .filter_map(|row| row.value.as_ref())
        .map(parse)
        .sum();
    assert_eq!(sum, 32 * UPDATES * 4);
    assert_eq!(
        found.iter().map(|row| row.version).sum::<u64>(),
        sum,
        "a version a write"
    );
}

async fn add_to_random_rows(store: Store, n: u32, rows: Vec<Key>, updates: u64) {
    let (lane, env) = (lane(&store, n + 1), env(u64::from(n) << 32));
    for _ in 0..updates {
        let mut left = rows.clone();
        let mut pick = || left.swap_remove(env.next_u64() as usize % left.len());
        let (mine, shared): (Vec<Key>, Key) = ((0..4).map(|_| pick()).collect(), pick());
        let plan = Plan {
            locks: mine.clone(),
            shares: vec![shared, agent(7)],
            ..Plan::default()
        };
        let entry = commit(&lane, plan, move |view| {
            let add = |key: &Key| -> Write { put(key, number(view, key) + 1) };
            decide(mine.iter().map(add).collect(), "")
        });
        assert_eq!(entry.await.changes.len(), 4);
    }
}
