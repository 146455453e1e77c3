//! What reads see.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::story::*;
use crate::{Cursor, Family, Key, KeyRange, Row, Write};

pub async fn a_row_that_never_existed_is_empty_and_has_version_zero(store: Store) {
    assert_eq!(
        store.get(&[head(1), counter("x")]).await.unwrap(),
        vec![Row::default(); 2]
    );
    assert_eq!(store.get(&[]).await.unwrap(), vec![]);
    assert_eq!(store.feed_end().await.unwrap(), Cursor::new());
}

pub async fn a_write_is_seen_by_every_later_read(store: Store) {
    let lane = lane(&store, 1);
    set(&lane, &head(1), "one").await;
    set(&lane, &counter("x"), "two").await;
    let rows = store.get(&[counter("x"), head(2), head(1)]).await.unwrap();
    let values: Vec<_> = rows.into_iter().map(|row| row.value).collect();
    assert_eq!(
        values,
        [Some(text("two")), None, Some(text("one"))],
        "in the order of the keys"
    );
    let heads = store
        .scan(KeyRange::family(Family::Head), 10, false)
        .await
        .unwrap();
    assert_eq!(
        heads,
        [(
            head(1),
            Row {
                value: Some(text("one")),
                version: 1
            }
        )]
    );
}

pub async fn a_version_grows_by_one_at_each_write(store: Store) {
    let lane = lane(&store, 1);
    for expected in 1..=3 {
        set(&lane, &head(1), "same").await;
        assert_eq!(version(&store, &head(1)).await, expected);
    }
}

pub async fn a_deleted_row_is_a_tombstone_that_keeps_counting(store: Store) {
    let lane = lane(&store, 1);
    set(&lane, &head(1), "here").await;
    commit(&lane, locking(&[&head(1)]), |_| {
        decide(vec![delete(&head(1))], "")
    })
    .await;
    let gone = Row {
        value: None,
        version: 2,
    };
    assert_eq!(store.get(&[head(1)]).await.unwrap()[0], gone);
    assert_eq!(
        store
            .scan(KeyRange::family(Family::Head), 10, false)
            .await
            .unwrap(),
        []
    );

    let seen = commit(&lane, locking(&[&head(1)]), move |view| {
        assert_eq!(view.row(&head(1)), &gone);
        decide(vec![put(&head(1), "back")], "")
    });
    assert_eq!(
        seen.await.changes[0].version,
        3,
        "a row that comes back goes on counting"
    );
}

pub async fn a_covered_row_takes_the_version_of_its_cover(store: Store) {
    let lane = lane(&store, 1);
    set(&lane, &head(1), "v1").await;
    commit(&lane, locking(&[&head(1)]), |view| {
        let version = view.row(&head(1)).version + 1;
        decide(
            vec![
                put(&head(1), "v2"),
                covered(&extent(1, 0), "batches", version),
            ],
            "",
        )
    })
    .await;
    assert_eq!(version(&store, &extent(1, 0)).await, 2);
    commit(&lane, locking(&[&head(1)]), |view| {
        let version = Some(view.row(&head(1)).version + 1);
        let merged = Write {
            key: extent(1, 0),
            value: None,
            version,
        };
        decide(vec![put(&head(1), "v3"), merged], "")
    })
    .await;
    let tombstone = Row {
        value: None,
        version: 3,
    };
    assert_eq!(store.get(&[extent(1, 0)]).await.unwrap(), [tombstone]);
}

pub async fn a_scan_is_ordered_bounded_and_half_open(store: Store) {
    let lane = lane(&store, 1);
    commit(&lane, locking(&[&head(1)]), |_| {
        let offsets = [300, 0, 200, 100, 400];
        let extents = offsets
            .iter()
            .map(|base| covered(&extent(1, *base), base, 1));
        decide(
            extents
                .chain([put(&head(1), ""), covered(&extent(2, 0), 0, 1)])
                .collect(),
            "",
        )
    })
    .await;
    let scan = async |from, to, limit, reverse| -> Vec<i64> {
        let range = KeyRange::extents(partition(1), from, to);
        let rows = store.scan(range, limit, reverse).await.unwrap();
        rows.iter()
            .map(|(key, _)| {
                if let Key::Extent(_, base) = key {
                    *base
                } else {
                    -1
                }
            })
            .collect()
    };
    assert_eq!(scan(0, i64::MAX, 100, false).await, [0, 100, 200, 300, 400]);
    assert_eq!(
        scan(100, 300, 100, false).await,
        [100, 200],
        "the end is not in the range"
    );
    assert_eq!(scan(0, i64::MAX, 2, false).await, [0, 100]);
    assert_eq!(
        scan(0, i64::MAX, 2, true).await,
        [400, 300],
        "backwards from the end"
    );
    assert_eq!(scan(0, i64::MAX, 0, false).await, [] as [i64; 0]);
    assert_eq!(
        scan(300, 100, 10, false).await,
        [] as [i64; 0],
        "a range that holds nothing"
    );

    let all = KeyRange::all();
    let keys = |rows: Vec<(Key, Row)>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let forward = keys(store.scan(all.clone(), 2, false).await.unwrap());
    assert_eq!(
        forward,
        [head(1), extent(1, 0)],
        "a range may span families"
    );
    assert_eq!(
        keys(store.scan(all, 2, true).await.unwrap()),
        [extent(2, 0), extent(1, 400)]
    );
}

/// A writer keeps two rows of different families equal; whoever reads both sees them equal.
pub async fn a_get_reads_all_its_rows_at_one_moment(store: Store) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(keep_writing(store.clone(), stop.clone()));
    for _ in 0..100 {
        let rows = store.get(&[head(1), counter("twin")]).await.unwrap();
        assert_eq!(rows[0], rows[1]);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

pub async fn a_snapshot_is_one_moment_of_rows_and_feed(store: Store) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(keep_writing(store.clone(), stop.clone()));
    for _ in 0..20 {
        let mut rows = Vec::new();
        let end = store
            .snapshot(1, &mut |page| rows.extend(page))
            .await
            .unwrap();
        let written = end.get(&lane_id(1)).copied().unwrap_or(0);
        let row = Row {
            value: Some(text(written)),
            version: written,
        };
        let expected = [(head(1), row.clone()), (counter("twin"), row)];
        assert_eq!(
            rows,
            if written == 0 {
                vec![]
            } else {
                expected.to_vec()
            }
        );
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

async fn keep_writing(store: Store, stop: Arc<AtomicBool>) {
    let lane = lane(&store, 1);
    while !stop.load(Ordering::Relaxed) {
        add_one(&lane, vec![head(1), counter("twin")])
            .await
            .unwrap();
    }
}

pub async fn a_value_of_a_megabyte_comes_back_whole(store: Store) {
    let value = "x".repeat(1 << 20);
    set(&lane(&store, 1), &Key::Cluster, &value).await;
    assert!(super::story::value(&store, &Key::Cluster).await == Some(value));
}

pub async fn the_identity_stays(store: Store) {
    let before = store.identity().await.unwrap();
    assert!(!before.system.is_empty());
    set(&lane(&store, 1), &head(1), "x").await;
    assert_eq!(store.identity().await.unwrap(), before);
}
