//! What one update does.
use sh_base::limits::UPDATE_EXTENTS_MAX;

use super::story::*;
use crate::{Change, Cursor, Key, KeyRange, MetaError, Row, Write};

pub async fn an_update_that_decides_nothing_leaves_no_trace(store: Store) {
    let nothing = update(request(1, 1), &[&head(1)], |_| decide(vec![], "no"));
    let entry = store.update(nothing).await.unwrap();
    assert_eq!((entry.changes, entry.reply), (vec![], text("no")));
    assert_eq!(store.feed(&Cursor::new(), 10).await.unwrap(), []);

    let other = update(request(1, 1), &[&head(1)], |_| {
        decide(vec![put(&head(1), "x")], "yes")
    });
    assert_eq!(
        store.update(other).await.unwrap().reply,
        text("yes"),
        "its place stayed free"
    );
}

pub async fn a_locked_row_that_is_not_written_stays_absent(store: Store) {
    let lane = lane(&store, 1);
    let both = locking(&[&head(1), &head(2)]);
    commit(&lane, both, |_| decide(vec![put(&head(2), "x")], "")).await;
    assert_eq!(store.get(&[head(1)]).await.unwrap(), [Row::default()]);
    let rows = store.scan(KeyRange::all(), 10, false).await.unwrap();
    assert_eq!(
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        [head(2)]
    );
    set(&lane, &head(1), "first").await;
    assert_eq!(version(&store, &head(1)).await, 1);
}

pub async fn the_same_request_runs_once_and_answers_the_same(store: Store) {
    let ask = |value: &'static str| {
        update(request(1, 1), &[&head(1)], move |_| {
            decide(vec![put(&head(1), value)], value)
        })
    };
    let first = store.update(ask("first")).await.unwrap();
    let again = store.update(ask("again")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(value(&store, &head(1)).await.as_deref(), Some("first"));

    let next = update(request(1, 2), &[&head(1)], |_| {
        decide(vec![delete(&head(1))], "")
    });
    store.update(next).await.unwrap();
    assert_eq!(
        store.update(ask("late")).await.unwrap(),
        first,
        "also after later ones"
    );
}

pub async fn an_entry_carries_its_changes_and_its_reply(store: Store) {
    let lane = lane(&store, 1);
    set(&lane, &head(1), "old").await;
    let entry = commit(&lane, locking(&[&head(1), &object(1)]), |_| {
        decide(vec![put(&object(1), "committed"), delete(&head(1))], "done")
    })
    .await;
    assert_eq!(
        (entry.request, &entry.reply),
        (request(1, 2), &text("done"))
    );
    let fate = Change {
        key: object(1),
        value: Some(text("committed")),
        version: 1,
    };
    assert_eq!(
        entry.changes,
        [
            fate,
            Change {
                key: head(1),
                value: None,
                version: 2
            }
        ]
    );
    let feed = store
        .feed(&Cursor::from([(lane_id(1), 1)]), 10)
        .await
        .unwrap();
    assert_eq!(feed, [entry], "and the feed holds the same");
}

pub async fn misuse_is_refused_and_changes_nothing(store: Store) {
    type Writes = fn() -> Vec<Write>;
    let cases: [(&str, Writes); 5] = [
        ("a row that is not locked", || vec![put(&head(2), "x")]),
        ("a row twice", || {
            vec![put(&head(1), "x"), put(&head(1), "y")]
        }),
        ("a version for a locked row", || {
            vec![covered(&head(1), "x", 1)]
        }),
        ("a version that nothing locked will have", || {
            vec![put(&head(1), "x"), covered(&extent(1, 0), "x", 9)]
        }),
        ("too many rows", || {
            let extents = 0..=UPDATE_EXTENTS_MAX as i64;
            let extents = extents.map(|base| covered(&extent(1, base), "x", 1));
            extents.chain([put(&head(1), "x")]).collect()
        }),
    ];
    for (what, writes) in cases {
        let wrong = update(request(1, 1), &[&head(1)], move |_| decide(writes(), ""));
        let answer = store.update(wrong).await;
        assert!(
            matches!(answer, Err(MetaError::Definite(_))),
            "{what}: {answer:?}"
        );
    }
    let nowhere = update(request(1, 0), &[&head(1)], |_| {
        decide(vec![put(&head(1), "x")], "")
    });
    assert!(matches!(
        store.update(nowhere).await,
        Err(MetaError::Definite(_))
    ));
    assert_eq!(
        store.get(&[head(1), head(2)]).await.unwrap(),
        vec![Row::default(); 2]
    );
    assert_eq!(store.feed_end().await.unwrap(), Cursor::new());
}

pub async fn a_missing_predecessor_means_that_the_store_went_back(store: Store) {
    set(&lane(&store, 1), &head(1), "x").await;
    let ask = |seq| {
        update(request(1, seq), &[&head(1)], |_| {
            decide(vec![put(&head(1), "y")], "")
        })
    };
    let answer = store.update(ask(3)).await;
    assert!(matches!(answer, Err(MetaError::Foreign(_))), "{answer:?}");
    store.update(ask(2)).await.unwrap();
    store.update(ask(3)).await.unwrap();
}

pub async fn four_thousand_extents_fit_in_one_update(store: Store) {
    let count = UPDATE_EXTENTS_MAX as i64;
    let entry = commit(&lane(&store, 1), locking(&[&head(1)]), move |_| {
        let extents = (0..count).map(|base| covered(&extent(1, base), "place in an object", 1));
        decide(extents.chain([put(&head(1), count)]).collect(), "")
    })
    .await;
    assert_eq!(entry.changes.len(), UPDATE_EXTENTS_MAX + 1);
    let range = KeyRange::extents(partition(1), 0, i64::MAX);
    let rows = store.scan(range, usize::MAX, false).await.unwrap();
    let keys: Vec<Key> = rows.into_iter().map(|(key, _)| key).collect();
    assert!(keys == (0..count).map(|base| extent(1, base)).collect::<Vec<_>>());
    let heads: Vec<Key> = (0..4000).map(head).collect();
    let many = add_one(&lane(&store, 2), heads).await.unwrap();
    assert_eq!(many.changes.len(), 4000, "so do as many locks");
}
