//! A lane writes in order, once, and leaves no hole, whatever the store says or does not say.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use sh_meta::{FeedEntry, Lane, MetaError, MetaStore, conformance::story::*};

use super::fake::{
    FakeStore,
    Fate::{self, *},
};

const SHORT: Duration = Duration::from_millis(200);

fn lane_of(fates: impl IntoIterator<Item = Fate>) -> (Arc<FakeStore>, Lane) {
    let store = Arc::new(FakeStore::with(fates));
    (store.clone(), Lane::new(store, env(1), lane_id(1), 0))
}

async fn add(lane: &Lane, patience: Duration) -> Result<FeedEntry, MetaError> {
    lane.update(locking(&[&head(1)]), patience, |view| {
        decide(vec![put(&head(1), number(view, &head(1)) + 1)], "")
    })
    .await
}

async fn written(store: &FakeStore) -> (u64, u64) {
    let row = store.now().get(&[head(1)]).await.unwrap().remove(0);
    let entries = store
        .now()
        .feed_end()
        .await
        .unwrap()
        .get(&lane_id(1))
        .copied();
    (row.value.as_ref().map_or(0, parse), entries.unwrap_or(0))
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_update_is_asked_again_until_it_is_known_and_happens_once() {
    for fates in [
        vec![HappensUnheard],
        vec![Vanishes],
        vec![Vanishes, Fails, Vanishes, HappensUnheard, Fails, Vanishes],
        vec![HappensUnheard, Fails, Fails, Vanishes],
    ] {
        let (store, lane) = lane_of(fates.clone());
        let entry = add(&lane, PATIENCE).await.unwrap();
        assert_eq!(entry.request.seq, 1, "{fates:?}");
        assert_eq!(written(&store).await, (1, 1), "{fates:?}");
        assert_eq!(add(&lane, PATIENCE).await.unwrap().request.seq, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_definite_error_is_the_callers_and_takes_no_place() {
    let (store, lane) = lane_of([Fails]);
    assert!(matches!(
        add(&lane, PATIENCE).await,
        Err(MetaError::Definite(_))
    ));
    assert_eq!(add(&lane, PATIENCE).await.unwrap().request.seq, 1);
    assert_eq!(written(&store).await, (1, 1));
}

/// The trap: after a lost answer, "no connection" speaks of the second attempt and not of the first.
#[tokio::test(start_paused = true)]
async fn a_definite_error_after_a_doubt_does_not_end_the_doubt() {
    let (_, lane) = lane_of([HappensUnheard].into_iter().chain([Fails; 50]));
    let answer = add(&lane, SHORT).await;
    assert!(matches!(answer, Err(MetaError::Maybe(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_gave_up_on_is_settled_before_anything_else() {
    for (fate, first_seq) in [(HappensUnheard, 2), (Vanishes, 1), (HappensAndHangs, 2)] {
        let (store, lane) = lane_of([fate].into_iter().chain([Fails; 50]));
        assert!(matches!(add(&lane, SHORT).await, Err(MetaError::Maybe(_))));
        assert!(
            matches!(add(&lane, SHORT).await, Err(MetaError::Definite(_))),
            "not before"
        );
        store.fates.lock().unwrap().clear();
        let before = written(&store).await;
        let entry = add(&lane, PATIENCE).await.unwrap();
        assert_eq!(entry.request.seq, first_seq, "{fate:?}");
        assert_eq!(
            written(&store).await,
            (before.0 + 1, before.1 + 1),
            "the lost one is not run"
        );
        assert_eq!(lane.last_seq(PATIENCE).await.unwrap(), first_seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_dropped_in_the_middle_leaves_no_hole() {
    let (store, lane) = lane_of([HappensAndHangs]);
    assert!(
        add(&lane, PATIENCE).now_or_never().is_none(),
        "it hangs, and is dropped"
    );
    assert_eq!(add(&lane, PATIENCE).await.unwrap().request.seq, 2);
    assert_eq!(written(&store).await, (2, 2));
}

#[tokio::test(start_paused = true)]
async fn hooks_hear_of_every_entry_once_and_in_order() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (hook, store) = (
        heard.clone(),
        FakeStore::with([Works, HappensUnheard, Fails]),
    );
    let lane = Lane::new(Arc::new(store), env(1), lane_id(1), 0).on_entry(Arc::new(move |entry| {
        hook.lock().unwrap().push(entry.request.seq)
    }));
    for _ in 0..3 {
        add(&lane, SHORT).await.unwrap();
    }
    commit(&lane, locking(&[&head(1)]), |_| decide(vec![], "nothing")).await;
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_others_of_the_lane_waits_no_longer_than_its_patience() {
    let (_, lane) = lane_of([HappensAndHangs]);
    let (first, second) = tokio::join!(add(&lane, PATIENCE), add(&lane, SHORT));
    assert!(matches!(first, Err(MetaError::Maybe(_))));
    assert!(
        matches!(second, Err(MetaError::Definite(_))),
        "it was never begun"
    );
}
