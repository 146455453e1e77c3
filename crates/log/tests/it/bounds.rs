//! What is bounded stays correct when the bound is reached, and what is missed is noticed.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use sh_log::ReadConfig;
use sh_meta::{
    Cursor, FeedEntry, Identity, Key, KeyRange, MemoryStore, MetaError, MetaStore, Row, Update,
};

use crate::world::{World, batch, partition, values};

#[tokio::test]
async fn more_partitions_than_the_index_holds_are_all_read_right() {
    let world = World::new();
    let writer = world.agent(0);
    let small = ReadConfig {
        index_extents: 40,
        cache_bytes: 2_000,
        ..ReadConfig::default()
    };
    let reader = world.agent_with(1, small);
    for round in 0..4 {
        for p in 0..30 {
            let value = format!("{p} {round}");
            writer
                .write(&[(partition(p), vec![batch(1, &[&value])])])
                .await;
        }
        reader.reader.poll_feed().await.unwrap();
        for p in 0..30 {
            let read = reader.read_all(partition(p), 0).await;
            assert_eq!(read.len(), round + 1);
            assert_eq!(read[&(round as i64)], format!("{p} {round}"));
        }
    }
}

/// A store whose feed can lose its oldest entries, as it does when an agent slept for longer than they are kept.
struct Trimmed {
    inner: MemoryStore,
    trim: AtomicBool,
}

#[async_trait]
impl MetaStore for Trimmed {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Row>, MetaError> {
        self.inner.get(keys).await
    }
    async fn scan(
        &self,
        range: KeyRange,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Row)>, MetaError> {
        self.inner.scan(range, limit, reverse).await
    }
    async fn update(&self, update: Update) -> Result<FeedEntry, MetaError> {
        self.inner.update(update).await
    }
    async fn feed(&self, cursor: &Cursor, limit: usize) -> Result<Vec<FeedEntry>, MetaError> {
        let mut entries = self.inner.feed(cursor, limit).await?;
        if self.trim.load(Ordering::Relaxed) {
            entries.retain(|e| e.request.seq > 2);
        }
        Ok(entries)
    }
    async fn feed_end(&self) -> Result<Cursor, MetaError> {
        self.inner.feed_end().await
    }
    async fn snapshot(
        &self,
        page: usize,
        sink: &mut (dyn FnMut(Vec<(Key, Row)>) + Send),
    ) -> Result<Cursor, MetaError> {
        self.inner.snapshot(page, sink).await
    }
    async fn identity(&self) -> Result<Identity, MetaError> {
        self.inner.identity().await
    }
}

#[tokio::test]
async fn a_feed_that_was_trimmed_makes_everything_be_read_anew() {
    let store = Arc::new(Trimmed {
        inner: MemoryStore::default(),
        trim: AtomicBool::new(false),
    });
    let world = World::on(store.clone());
    let (a, b) = (world.agent(0), world.agent(1));
    let (missed, heard) = (partition(0), partition(1));
    assert!(b.read(missed, 0).await.unwrap().batches.is_empty());
    let waiter = b.reader.waiter(&[(missed, 0)]);
    a.write(&[(missed, vec![batch(1, &["0"])])]).await;
    a.write(&[(missed, vec![batch(1, &["1"])])]).await;
    a.write(&[(heard, vec![batch(1, &["2"])])]).await;
    store.trim.store(true, Ordering::Relaxed);
    b.reader.poll_feed().await.unwrap();
    waiter.wait().await;
    assert_eq!(values(&b.read(missed, 0).await.unwrap()), ["0", "1"]);
    assert_eq!(values(&b.read(heard, 0).await.unwrap()), ["2"]);
}

#[tokio::test]
async fn a_large_object_of_which_little_is_wanted_is_not_fetched_whole() {
    let world = World::new();
    let (a, b) = (world.agent(0), world.agent(1));
    let large = "x".repeat(3_000_000);
    b.read(partition(0), 0).await.unwrap();
    a.write(&[
        (partition(0), vec![batch(1, &["small"])]),
        (partition(1), vec![batch(1, &[&large])]),
    ])
    .await;
    b.reader.poll_feed().await.unwrap();
    assert_eq!(values(&b.read(partition(0), 0).await.unwrap()), ["small"]);
    assert_eq!(world.bucket.gets(), 1);
    assert!(
        world.bucket.bytes() < 1_000,
        "{} bytes",
        world.bucket.bytes()
    );
    assert_eq!(values(&b.read(partition(1), 0).await.unwrap()), [large]);
}
