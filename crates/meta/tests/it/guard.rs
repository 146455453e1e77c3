//! A store that went back in time, or is another one, is noticed and never used again.
use std::{sync::Arc, time::Duration};

use sh_meta::{Guard, MemoryStore, MetaError, conformance::story::*};

use super::fake::{FakeStore, Fate};

async fn guarded() -> (Arc<FakeStore>, Arc<Guard>, Store) {
    let store = Arc::new(FakeStore::default());
    let guard = Guard::new(store.clone()).await.unwrap();
    (store, guard.clone(), guard)
}

async fn every_call_is_foreign(store: &Store) {
    let foreign = |answer: Result<(), MetaError>| {
        assert!(matches!(answer, Err(MetaError::Foreign(_))), "{answer:?}");
    };
    foreign(store.get(&[head(1)]).await.map(drop));
    foreign(
        store
            .scan(sh_meta::KeyRange::all(), 1, false)
            .await
            .map(drop),
    );
    foreign(store.feed(&Default::default(), 1).await.map(drop));
    foreign(store.feed_end().await.map(drop));
    foreign(store.snapshot(1, &mut |_| {}).await.map(drop));
    foreign(store.identity().await.map(drop));
    foreign(
        store
            .update(update(request(9, 1), &[], |_| decide(vec![], "")))
            .await
            .map(drop),
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_store_stays_in_use() {
    let (fake, guard, store) = guarded().await;
    let lane = lane(&store, 1);
    set(&lane, &head(1), "x").await;
    fake.fates.lock().unwrap().push_back(Fate::HappensUnheard);
    set(&lane, &head(1), "y").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    set(&lane, &head(1), "z").await;
    assert_eq!(guard.verdict(), None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_our_newest_entry_is_noticed_within_ten_seconds() {
    let (fake, guard, store) = guarded().await;
    let lane = lane(&store, 1);
    set(&lane, &head(1), "kept").await;
    let backup = fake.now().copy();
    set(&lane, &head(1), "lost").await;
    fake.swap(backup.clone());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(guard.verdict().unwrap().contains("went back in time"));
    every_call_is_foreign(&store).await;
    fake.swap(MemoryStore::default());
    every_call_is_foreign(&store).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_error_the_store_is_looked_at_before_it_is_used() {
    let (fake, _, store) = guarded().await;
    let lane = lane(&store, 1);
    set(&lane, &head(1), "kept").await;
    let backup = fake.now().copy();
    set(&lane, &head(1), "lost").await;
    fake.fates.lock().unwrap().push_back(Fate::Fails);
    let nothing = |_: &_| decide(vec![], "");
    assert!(lane.update(locking(&[]), PATIENCE, nothing).await.is_err());
    fake.swap(backup);
    every_call_is_foreign(&store).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_update_of_a_lane_notices_by_itself() {
    let (fake, _, store) = guarded().await;
    let lane = lane(&store, 1);
    set(&lane, &head(1), "kept").await;
    let backup = fake.now().copy();
    set(&lane, &head(1), "lost").await;
    fake.swap(backup);
    let answer = add_one(&lane, vec![head(1)]).await;
    assert!(matches!(answer, Err(MetaError::Foreign(_))), "{answer:?}");
    every_call_is_foreign(&store).await;
}

#[tokio::test(start_paused = true)]
async fn another_identity_is_another_store() {
    let (fake, guard, store) = guarded().await;
    fake.swap(MemoryStore::new("another"));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(guard.verdict().unwrap().contains("another"));
    every_call_is_foreign(&store).await;
}
