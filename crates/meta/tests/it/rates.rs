//! How many updates a second: printed, not judged (`cargo test -p sh-meta --test it rates -- --nocapture`).
use std::time::Duration;

use futures::future::join_all;
use sh_meta::conformance::story::*;
use tokio::time::Instant;

use super::{postgres::server, sqlite};

const TIME: Duration = Duration::from_secs(2);

/// Each of `writers` commits to heads of its own, as agents do that share nothing: fate, agent, head, producer's counter.
async fn updates_per_second(store: &Store, first: u32, writers: u32) -> f64 {
    let start = Instant::now();
    let write = |n: u32| {
        let lane = lane(store, n);
        tokio::spawn(async move {
            let mut done = 0;
            while start.elapsed() < TIME {
                let fate = object(u64::from(n) << 32 | done);
                let rows = vec![fate, head(n as i32), counter(&n.to_string())];
                add_one(&lane, rows).await.unwrap();
                done += 1;
            }
            done
        })
    };
    let done: u64 = join_all((first..first + writers).map(write))
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    done as f64 / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_per_second_of_one_and_of_eight() {
    let (_folder, sqlite) = sqlite::fresh().await;
    let (_server, postgres) = server::fresh().await;
    for (name, store) in [("SQLite", sqlite), ("Postgres", postgres)] {
        let alone = updates_per_second(&store, 1, 1).await;
        let eight = updates_per_second(&store, 11, 8).await;
        println!("{name}: {alone:.0} updates/s alone, {eight:.0} by eight");
        assert!(alone > 0.0 && eight > 0.0);
    }
}
