use std::sync::Arc;

use sh_blob::{
    Bucket, MemoryBucket,
    conformance::{conformance, far_ranges_are_of_one_content},
};

use crate::world;

#[tokio::test]
async fn memory_keeps_every_promise() {
    let bucket = Arc::new(MemoryBucket::new(&world::env()));
    conformance(bucket.clone()).await;
    far_ranges_are_of_one_content(bucket).await;
}

#[tokio::test]
async fn clones_share_their_objects() {
    let one = MemoryBucket::new(&world::env());
    let other = one.clone();
    one.put("a", vec!["x".into()]).await.unwrap();
    assert_eq!(other.get_all("a").await.unwrap(), "x");
}
