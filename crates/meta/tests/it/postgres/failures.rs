//! What an answer is worth when the connection or the server breaks.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use sh_meta::{Decision, FeedEntry, MetaError, View, conformance::story::*};
use tokio::{runtime::Handle, task::block_in_place, time::Instant};

use super::{proxy::Proxy, server};

fn add(view: &View) -> Decision {
    decide(vec![put(&head(1), number(view, &head(1)) + 1)], "added")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_stops_between_the_trips_holds_a_head_no_longer_than_the_idle_timeout() {
    let _shared = server::shared().await;
    let url = server::fresh_url().await;
    let other = server::open(&url).await;
    other.feed_end().await.unwrap();
    let (inside, is_inside) = tokio::sync::oneshot::channel();
    let stopping = std::thread::spawn(move || stop_between_the_trips(&url, inside));
    is_inside.await.unwrap();
    let start = Instant::now();
    set(&lane(&other, 2), &head(1), 7).await;
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(3), "it waited {waited:?}");
    let answer = stopping.join().unwrap();
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        value(&other, &head(1)).await.as_deref(),
        Some("7"),
        "the stopped one wrote nothing"
    );
}

/// A client with a runtime of its own, so that nothing but itself stands still.
#[tokio::main(flavor = "current_thread")]
async fn stop_between_the_trips(
    url: &str,
    inside: tokio::sync::oneshot::Sender<()>,
) -> Result<FeedEntry, MetaError> {
    let inside = Mutex::new(Some(inside));
    let update = update(request(1, 1), &[&head(1)], move |view| {
        inside.lock().unwrap().take().map(|inside| inside.send(()));
        std::thread::sleep(Duration::from_secs(4));
        add(view)
    });
    server::open(url).await.update(update).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_answer_to_the_commit_is_a_maybe_and_asking_again_tells() {
    let _shared = server::shared().await;
    let proxy = Arc::new(Proxy::start(Duration::ZERO).await);
    let store = server::open(&proxy.url(&server::schema().await)).await;
    let breaking = proxy.clone();
    let ask = |lose: bool| {
        let proxy = breaking.clone();
        update(request(1, 1), &[&head(1)], move |view| {
            if lose {
                proxy.lose_answers();
            }
            add(view)
        })
    };
    let answer = store.update(ask(true)).await;
    assert!(matches!(answer, Err(MetaError::Maybe(_))), "{answer:?}");
    proxy.heal();
    let entry = store.update(ask(false)).await.unwrap();
    assert_eq!(
        (entry.reply, entry.changes[0].version),
        (text("added"), 1),
        "it had happened"
    );
    assert_eq!(value(&store, &head(1)).await.as_deref(), Some("1"), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_commit_did_not_happen_and_nobody_claims_it_did() {
    let _shared = server::shared().await;
    let proxy = Arc::new(Proxy::start(Duration::ZERO).await);
    let store = server::open(&proxy.url(&server::schema().await)).await;
    let breaking = proxy.clone();
    let losing = update(request(1, 1), &[&head(1)], move |view| {
        breaking.lose_requests();
        add(view)
    });
    let answer = store.update(losing).await;
    assert!(matches!(answer, Err(MetaError::Maybe(_))), "{answer:?}");
    proxy.heal();
    assert_eq!(value(&store, &head(1)).await, None);
    let entry = store
        .update(update(request(1, 1), &[&head(1)], add))
        .await
        .unwrap();
    assert_eq!(entry.changes[0].version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_killed_between_the_trips_has_written_nothing() {
    let _shared = server::shared().await;
    let schema = server::schema().await;
    let store = server::open(&server::with_schema(&server::url(), &schema)).await;
    let admin = server::admin().await;
    let killing = update(request(1, 1), &[&head(1)], move |view| {
        block_in_place(|| Handle::current().block_on(server::kill_backends(&admin, &schema)));
        std::thread::sleep(Duration::from_millis(100));
        add(view)
    });
    let answer = store.update(killing).await;
    assert!(
        matches!(answer, Err(MetaError::Definite(_))),
        "COMMIT was never sent: {answer:?}"
    );
    assert_eq!(value(&store, &head(1)).await, None);
}

/// At whatever moment a session dies: `Ok` is there, `Definite` is not, and asking again ends every doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_is_honest_whenever_the_session_is_killed() {
    let _shared = server::shared().await;
    let schema = server::schema().await;
    let store = server::open(&server::with_schema(&server::url(), &schema)).await;
    let (admin, env, mut doubts, mut done) = (server::admin().await, env(5), 0, 0);
    for seq in 1..=100 {
        let asking = {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .update(update(request(1, seq), &[&head(1)], add))
                    .await
            })
        };
        tokio::time::sleep(Duration::from_micros(env.next_u64() % 1000)).await;
        server::kill_backends(&admin, &schema).await;
        let answer = asking.await.unwrap();
        let there = value_again(&store).await >= seq;
        match &answer {
            Ok(_) => assert!(there, "{seq}: it said that it had happened"),
            Err(MetaError::Definite(_)) => assert!(!there, "{seq}: {answer:?}, and it is there"),
            Err(MetaError::Maybe(_)) => doubts += 1,
            Err(MetaError::Foreign(why)) => panic!("{why}"),
        }
        done += u64::from(there);
        while store
            .update(update(request(1, seq), &[&head(1)], add))
            .await
            .is_err()
        {}
        assert_eq!(
            value_again(&store).await,
            seq,
            "each request has happened once"
        );
    }
    println!("killed 100 times: {done} had happened, {doubts} were in doubt");
}

async fn value_again(store: &Store) -> u64 {
    loop {
        if let Ok(rows) = store.get(&[head(1)]).await {
            return rows[0].value.as_ref().map_or(0, parse);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lanes_write_on_through_a_restart_of_the_database_and_nothing_is_lost_or_doubled() {
    let _alone = server::alone().await;
    let store = server::open(&server::fresh_url().await).await;
    let (written, stop) = (
        Arc::new(AtomicU64::new(0)),
        Instant::now() + Duration::from_secs(6),
    );
    let writers = (1..=4).map(|n| {
        let (lane, written) = (lane(&store, n), written.clone());
        tokio::spawn(async move {
            while Instant::now() < stop {
                match lane.update(locking(&[&head(1)]), PATIENCE, add).await {
                    Ok(_) => written.fetch_add(1, Ordering::Relaxed),
                    Err(MetaError::Definite(_)) => 0,
                    Err(e) => panic!("{e}"),
                };
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = written.load(Ordering::Relaxed);
    tokio::task::spawn_blocking(server::restart).await.unwrap();
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let written = written.load(Ordering::Relaxed);
    assert!(
        before > 0 && written > before,
        "it wrote before ({before}) and after ({written})"
    );
    assert_eq!(value_again(&store).await, written);
    let entries: u64 = store.feed_end().await.unwrap().values().sum();
    assert_eq!(entries, written);
}
