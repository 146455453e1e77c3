use std::sync::Arc;

use sh_blob::{Bucket, MemoryBucket, conformance::conformance};

use crate::world;

#[tokio::test]
async fn memory_keeps_every_promise() {
    conformance(Arc::new(MemoryBucket::new(&world::env()))).await;
}

#[tokio::test]
async fn clones_share_their_objects() {
    let one = MemoryBucket::new(&world::env());
    let other = one.clone();
    one.put("a", vec!["x".into()]).await.unwrap();
    assert_eq!(other.get_all("a").await.unwrap(), "x");
}
