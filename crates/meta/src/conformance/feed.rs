//! What the feed tells.
use std::collections::BTreeMap;

use futures::future::join_all;

use super::story::*;
use crate::{Cursor, FeedEntry, FeedReader, Key, LaneId, Row};

/// Eight lanes write while a reader follows that has never heard of any of them.
pub async fn a_reader_that_follows_misses_nothing(store: Store) {
    const UPDATES: u64 = 25;
    let write = |n: u32| {
        let lane = lane(&store, n);
        tokio::spawn(async move {
            for _ in 0..UPDATES {
                add_one(&lane, vec![head(n as i32 % 3), counter("all")])
                    .await
                    .unwrap();
            }
        })
    };
    let writers: Vec<_> = (1..=8).map(write).collect();
    let mut reader = FeedReader::new(store.clone(), Cursor::new());
    let mut seen: BTreeMap<LaneId, Vec<u64>> = BTreeMap::new();
    while seen.values().map(Vec::len).sum::<usize>() < 8 * UPDATES as usize {
        for entry in reader.poll().await.unwrap() {
            seen.entry(entry.request.lane)
                .or_default()
                .push(entry.request.seq);
        }
        tokio::task::yield_now().await;
    }
    let complete: Vec<u64> = (1..=UPDATES).collect();
    assert!(
        seen.values().all(|seqs| *seqs == complete),
        "in order, no hole, nothing twice: {seen:?}"
    );
    assert_eq!(reader.poll().await.unwrap(), []);
    assert_eq!(*reader.cursor(), store.feed_end().await.unwrap());
    for writer in join_all(writers).await {
        writer.unwrap();
    }
}

pub async fn a_busy_lane_does_not_hide_the_others(store: Store) {
    let (busy, quiet) = (lane(&store, 1), lane(&store, 2));
    for n in 0..10 {
        set(&busy, &head(1), n).await;
    }
    set(&quiet, &head(2), "x").await;
    let page = store.feed(&Cursor::new(), 2).await.unwrap();
    assert_eq!(places(&page), [(1, 1), (2, 1)]);
}

pub async fn a_page_of_the_feed_is_bounded(store: Store) {
    let lane = lane(&store, 1);
    for n in 0..5 {
        set(&lane, &head(1), n).await;
    }
    let mut cursor = Cursor::new();
    assert_eq!(
        places(&store.feed(&cursor, 3).await.unwrap()),
        [(1, 1), (1, 2), (1, 3)]
    );
    cursor.insert(lane_id(1), 3);
    assert_eq!(
        places(&store.feed(&cursor, 3).await.unwrap()),
        [(1, 4), (1, 5)]
    );
    cursor.insert(lane_id(1), 9);
    assert_eq!(
        store.feed(&cursor, 3).await.unwrap(),
        [],
        "past the end there is nothing"
    );
}

fn places(page: &[FeedEntry]) -> Vec<(u32, u64)> {
    page.iter()
        .map(|entry| (entry.request.lane.by.agent.0, entry.request.seq))
        .collect()
}

pub async fn a_reader_that_starts_at_the_end_sees_only_what_is_new(store: Store) {
    let (old, new) = (lane(&store, 1), lane(&store, 2));
    set(&old, &head(1), "old").await;
    let mut reader = FeedReader::new(store.clone(), store.feed_end().await.unwrap());
    assert_eq!(reader.poll().await.unwrap(), []);
    let heard = set(&old, &head(1), "heard of elsewhere").await;
    assert!(reader.heard(&heard) && !reader.heard(&heard));
    let entries = [
        set(&old, &head(1), "new").await,
        set(&new, &head(2), "newer").await,
    ];
    assert_eq!(reader.poll().await.unwrap(), entries);
}

/// Applying entries is idempotent and order-free: the highest version of a row wins.
pub async fn the_feed_in_any_order_rebuilds_the_rows(store: Store) {
    let writers = (1..=4).map(|n| {
        let lane = lane(&store, n);
        tokio::spawn(async move {
            for round in 0..10 {
                add_one(&lane, vec![head(1), head(2)]).await.unwrap();
                let gone = counter(&n.to_string());
                set(&lane, &gone, round).await;
                let apply = {
                    let gone = gone.clone();
                    move |_: &_| decide(vec![delete(&gone)], "")
                };
                commit(&lane, locking(&[&gone]), apply).await;
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let mut entries = store.feed(&Cursor::new(), usize::MAX).await.unwrap();
    let mut rows = Vec::new();
    store
        .snapshot(100, &mut |page| rows.extend(page))
        .await
        .unwrap();
    for shuffle in 0..3 {
        let env = env(shuffle);
        entries.sort_by_cached_key(|_| env.next_u64());
        let twice = entries.iter().chain(&entries);
        assert_eq!(rebuild(twice), rows);
    }
}

fn rebuild<'a>(entries: impl Iterator<Item = &'a FeedEntry>) -> Vec<(Key, Row)> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    for change in entries.flat_map(|entry| &entry.changes) {
        let row = rows.entry(change.key.clone()).or_default();
        if change.version > row.version {
            *row = Row {
                value: change.value.clone(),
                version: change.version,
            };
        }
    }
    rows.into_iter()
        .filter(|(_, row)| row.value.is_some())
        .collect()
}
